"""What a sweep was run with, and the line that a person gets when it is something else by now."""

import sqlite3
import sys
from pathlib import Path

import pytest

from sweeps.errors import UserError
from sweeps.provenance import (
    differences,
    last_run_with,
    only_changes,
    run_with,
    sources_of,
    user_sources,
)
from sweeps.storages.checks import check_tracking
from sweeps.storages.storage import open_storage
from sweeps.study.persistence import create_study, load_study
from tests import fakes


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of the user's, imported."""
    path = tmp_path / "my_net_for_provenance.py"
    path.write_text("WIDTH = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    __import__(path.stem)
    monkeypatch.delitem(sys.modules, path.stem, raising=False)
    __import__(path.stem)
    return path


def test_only_the_users_modules_are_digested(module: Path) -> None:
    found = user_sources()
    assert len(found[module.stem]) == 16
    assert not {"torch", "optuna", "json", "sweeps.provenance", "__main__"} & set(found)


def test_changed_code_is_one_line_and_the_same_code_none(module: Path, tmp_path: Path) -> None:
    before = run_with(str(tmp_path), user_sources())
    assert differences(before, run_with(str(tmp_path), user_sources())) == []
    module.write_text("WIDTH = 2\n")
    [note] = differences(before, run_with(str(tmp_path), user_sources()))
    assert note.startswith(f"your code has changed since the last trials: {module.stem}; ")
    new = {"git_commit": None, "versions": {}, "sources": {"net": "1", "aug": "2"}}
    [note] = differences(new | {"sources": {"net": "1"}}, new)
    assert note.startswith("your code has changed since the last trials: aug (new); ")
    assert differences(new | {"sources": {}}, new) == []  # of a study that kept none


def test_another_commit_is_one_line(tmp_path: Path) -> None:
    now = run_with(str(tmp_path)) | {"git_commit": "b" * 40}
    assert differences(now | {"git_commit": "a" * 40}, now) == [
        f"the last trials ran with commit {'a' * 40}, now {'b' * 40}"
    ]
    [note] = differences(now, now | {"git_commit": None})
    assert note == f"the last trials ran with commit {'b' * 40}, now unknown"


def test_of_each_resumption_the_changes_are_kept_and_older_ones_kept_all() -> None:
    now = {"created": "now", "sources": {"a": "2", "c": "1"}}
    assert only_changes({"a": "1", "b": "1"}, now) == {
        "created": "now",
        "changed": {"a": "2", "b": None, "c": "1"},
    }
    assert only_changes(now["sources"], now) == {"created": "now"}  # type: ignore[arg-type]
    older = {"sources": {"a": "1"}, "resumed": [{"sources": {"b": "1"}}, {"changed": {"b": None, "c": "1"}}]}
    assert sources_of(older) == {"c": "1"}
    assert last_run_with(older)["sources"] == {"c": "1"}


def test_another_version_is_one_line(tmp_path: Path) -> None:
    now = run_with(str(tmp_path))
    before = now | {"versions": now["versions"] | {"optuna": "4.9.0", "torch": "2.6.0"}}
    [note] = differences(before, now)
    assert note.startswith("the last trials ran with optuna 4.9.0, now ")
    assert "torch 2.6.0, now " in note


def test_it_is_the_last_run_that_counts() -> None:
    assert last_run_with({"versions": {"a": "1"}}) == {"versions": {"a": "1"}, "sources": {}}
    assert last_run_with({"versions": {}, "resumed": [{"n": 1}, {"n": 2}]}) == {"n": 2, "sources": {}}


@pytest.mark.parametrize(("version", "words"), [("000000000000", "updating")])
def test_a_study_database_of_another_optuna_is_refused_before_anything_runs(
    tmp_path: Path, version: str, words: str
) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    create_study(fakes.spec(), open_storage(url), validations=4)
    with sqlite3.connect(tmp_path / "s.db") as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (version,))
    database.close()
    for attempt in (lambda: load_study("test", url), lambda: open_storage(url)):
        with pytest.raises(UserError) as caught:
            attempt()
        assert "optuna version" in str(caught.value)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("version", "words"), [("451aebb31d03", "an older MLflow than"), ("f" * 12, "a newer MLflow than")]
)
def test_an_mlflow_database_of_another_version_is_refused_untouched(
    tmp_path: Path, version: str, words: str
) -> None:
    path = tmp_path / "mlflow.db"
    with sqlite3.connect(path) as database:
        for table in ("experiments", "runs"):
            database.execute(f"CREATE TABLE {table} (id)")
        database.execute("CREATE TABLE alembic_version (version_num)")
        database.execute("INSERT INTO alembic_version VALUES (?)", (version,))
    database.close()
    before = path.read_bytes()
    with pytest.raises(UserError, match=words):
        check_tracking(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_a_study_of_another_format_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    study = create_study(fakes.spec(), open_storage(url), validations=4)
    for mark in ({"format": 99}, {}, "ours"):
        study.set_user_attr("lightning_sweeps", mark)
        with pytest.raises(UserError, match="written by another version of lightning-sweeps"):
            load_study("test", url)
