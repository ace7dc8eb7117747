"""Reading real Optuna databases: ours, other programs', broken ones, and one that is being written."""

import hashlib
import json
import math
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import optuna
import pytest

from dashboards.errors import ResultsError
from dashboards.records import Counts, SweepSummary, to_json
from dashboards.results import list_sweeps, load
from dashboards.uris import expand, hide_password
from tests.studies import Ended, add_sweep

HERE = socket.gethostname()

TRIALS = [
    Ended("complete", 0.5, {"lr": 0.1, "kind": "sgd"}, intermediate={2: 0.5, 1: 0.9}),
    Ended("complete", 0.2, {"lr": 0.2, "kind": "adam", "adam.beta": 0.9}),
    Ended("complete", 0.2, {"lr": 0.3, "kind": "sgd"}),
    Ended("pruned", 0.7, reason="worse than the median", intermediate={1: 0.7}),
    Ended("diverged", None, reason="val_loss became NaN at validation 1", intermediate={1: math.nan}),
    Ended("failed", None, reason="ValueError: é 'quoted' \"twice\""),
    Ended("running", None, intermediate={1: 0.6}),
]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("with {braces} ?and #marks é") / "sweeps.db"
    path_for_optuna = path.parent.parent / "sweeps.db"
    add_sweep(path_for_optuna, "digits", TRIALS, sweep_state="running")
    add_sweep(path_for_optuna, "größe \"x\" 'y'", TRIALS, direction="maximize")
    add_sweep(path_for_optuna, "empty", [])
    optuna.create_study(storage=f"sqlite:///{path_for_optuna}", study_name="foreign")
    shutil.move(path_for_optuna, path)
    return path


@pytest.fixture
def copy(database: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(database, tmp_path / "sweeps.db"))


def test_the_list_holds_our_sweeps_and_no_other_studies(database: Path) -> None:
    assert [sweep.name for sweep in list_sweeps(database)] == ["digits", "größe \"x\" 'y'", "empty"]


def test_a_summary_counts_each_state_and_finds_the_best_trial(database: Path) -> None:
    digits, maximized, empty = list_sweeps(database)
    assert digits.counts == Counts(running=1, complete=3, pruned=1, diverged=1, failed=1)
    assert digits.counts.finished == 6
    assert (digits.best_value, digits.best_number) == (0.2, 1)  # the lower number of two equals
    assert (maximized.best_value, maximized.best_number) == (0.5, 0)
    assert (digits.metric, digits.direction, digits.trials_asked) == ("val_loss", "minimize", 20)
    assert (empty.counts, empty.best_value, empty.best_number) == (Counts(), None, None)


@pytest.mark.parametrize("name", ["digits", "größe \"x\" 'y'", "empty"])
def test_list_and_load_give_the_same_summary(database: Path, name: str) -> None:
    listed = next(sweep for sweep in list_sweeps(database) if sweep.name == name)
    loaded = load(database, name).summary
    ignored = {"duration_seconds"}  # a running sweep's grows in between
    assert {k: v for k, v in to_json(listed).items() if k not in ignored} == {
        k: v for k, v in to_json(loaded).items() if k not in ignored
    }


def test_a_loaded_sweep_has_what_was_persisted(database: Path) -> None:
    sweep = load(database, "digits")
    assert sweep.spec["objective"]["metric"] == "val_loss"
    assert sweep.mlflow["experiment"] == "digits"
    assert [trial.state for trial in sweep.trials] == [trial.state for trial in TRIALS]
    first = sweep.trials[0]
    assert first.params == {"lr": 0.1, "kind": "sgd"}
    assert list(first.intermediate.items()) == [(1, 0.9), (2, 0.5)]
    assert (first.worker, first.device, first.timing["fit_seconds"]) == ("w0", "cpu", 2.0)
    assert sweep.trials[1].params["adam.beta"] == 0.9
    assert sweep.trials[5].reason == "ValueError: é 'quoted' \"twice\""
    assert sweep.best is sweep.trials[1]
    assert [trial.number for trial in sweep.ranking()] == [1, 2, 0]
    assert load(database, "empty").best is None


def test_times_carry_a_zone_and_follow_each_other(database: Path) -> None:
    summary = load(database, "digits").summary
    assert summary.started is not None
    assert summary.updated is not None
    assert summary.started < summary.updated


@pytest.mark.parametrize("url", [pytest.param(False, id="path"), pytest.param(True, id="url")])
def test_the_json_form_is_plain_json_without_nan(copy: Path, url: bool) -> None:
    storage = f"sqlite:///{copy}" if url else copy
    text = json.dumps(to_json(load(storage, "digits")), allow_nan=False)
    again = json.loads(text)
    assert again["trials"][4]["intermediate"] == {"1": None}
    assert again["summary"]["counts"]["finished"] == 6
    assert json.dumps(to_json(list_sweeps(storage)), allow_nan=False)
    assert to_json((math.inf, -math.inf, Path("x"), None, True)) == [None, None, "x", None, True]


@pytest.mark.parametrize(
    ("written", "driver", "shown"),
    [
        pytest.param("running", {"host": HERE, "pid": os.getpid(), "beat": -3600}, "running", id="alive"),
        pytest.param("running", {"host": HERE, "pid": 2**22 - 3, "beat": -3600}, "interrupted", id="dead"),
        pytest.param("running", {"host": "elsewhere", "pid": 7, "beat": -10}, "running", id="elsewhere"),
        pytest.param(
            "running", {"host": "elsewhere", "pid": 7, "beat": -3600}, "interrupted", id="its clock"
        ),
        pytest.param("running", {"host": "elsewhere", "pid": 7, "beat": 1e6}, "interrupted", id="long ago"),
        pytest.param(
            "running",
            {"host": HERE, "space": "a container", "pid": 2**22 - 3, "beat": -10},
            "running",
            id="in a container with this machine's name",
        ),
        pytest.param("running", {"host": "elsewhere", "pid": 7, "beat": 60}, "interrupted", id="lost"),
        pytest.param("running", {"host": HERE, "pid": os.getpid(), "beat": 60}, "interrupted", id="hangs"),
        pytest.param("running", None, "interrupted", id="never driven"),
        pytest.param("finished", {"host": HERE, "pid": 2**22 - 3, "beat": -3600}, "finished", id="finished"),
    ],
)
def test_a_sweep_whose_driver_lost_its_lease_was_interrupted(
    tmp_path: Path, written: str, driver: dict[str, Any] | None, shown: str
) -> None:
    """`beat` is how many seconds ago the lease was renewed; below 0, no slow machine can lose it."""
    lease = driver and driver | {"beat": time.time() - driver["beat"]}
    add_sweep(tmp_path / "sweeps.db", "s", [], sweep_state=written, driver=lease)
    assert list_sweeps(tmp_path / "sweeps.db")[0].state == shown


@pytest.mark.parametrize(("beats", "late"), [(True, 3600), (True, -3600), (False, 3600)])
def test_a_driver_elsewhere_whose_clock_is_another_runs_as_long_as_it_renews_its_lease(
    tmp_path: Path, beats: bool, late: int
) -> None:
    lease = {"host": "elsewhere", "pid": 7, "id": f"{beats} {late}", "beat": time.time() - late}
    study = add_sweep(tmp_path / "sweeps.db", "s", [], sweep_state="running", driver=lease)
    over = threading.Event()

    def renew() -> None:
        while not over.wait(0.2):
            study.set_user_attr("driver", lease | {"beat": time.time() - late})

    if beats:
        threading.Thread(target=renew, daemon=True).start()
    state = "running" if beats else "interrupted"
    assert list_sweeps(tmp_path / "sweeps.db")[0].state == state
    assert load(tmp_path / "sweeps.db", "s").summary.state == state
    over.set()


@pytest.mark.parametrize(
    ("state", "training", "states"),
    [
        pytest.param("running", 4, ["running"] * 3 + ["waiting", "running"], id="one is drawn ahead"),
        pytest.param("running", 5, ["running"] * 5, id="none is drawn ahead"),
        pytest.param("interrupted", 4, ["running"] * 5, id="all go on with a resumption"),
    ],
)
def test_a_trial_that_is_only_drawn_waits(
    tmp_path: Path, state: str, training: int, states: list[str]
) -> None:
    trials = [Ended("running", None, intermediate=seen) for seen in ({1: 0.6}, {}, {}, {}, {1: 0.7})]
    driver = {"host": HERE, "pid": os.getpid(), "beat": time.time(), "training": training}
    add_sweep(tmp_path / "sweeps.db", "s", trials, sweep_state=state, driver=driver)
    sweep = load(tmp_path / "sweeps.db", "s")
    assert [trial.state for trial in sweep.trials] == states
    assert sweep.summary.counts == Counts(running=states.count("running"), waiting=states.count("waiting"))


def test_a_name_alone_means_the_usual_database(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy.parent)
    copy.rename("sweeps.db")
    monkeypatch.delenv("SWEEPS_STORAGE", raising=False)
    assert load("digits").name == "digits"
    Path("sweeps.db").rename("other.db")
    monkeypatch.setenv("SWEEPS_STORAGE", "sqlite:///other.db")
    assert load("digits").name == "digits"


def test_an_unknown_name_is_answered_with_the_nearest_ones(database: Path) -> None:
    with pytest.raises(
        ResultsError, match=r"no sweep 'digts'; did you mean 'digits'\? it holds: digits, .*empty"
    ):
        load(database, "digts")


def test_a_study_of_another_program_is_named_as_such(database: Path) -> None:
    with pytest.raises(ResultsError, match="'foreign' was not made by `sweeps launch`"):
        load(database, "foreign")


def test_a_newer_format_asks_for_an_update(tmp_path: Path) -> None:
    add_sweep(tmp_path / "sweeps.db", "s", [], lightning_sweeps={"format": 2})
    with pytest.raises(ResultsError, match="has format 2, this version reads up to 1; update"):
        load(tmp_path / "sweeps.db", "s")


def test_a_missing_database_is_not_created(tmp_path: Path) -> None:
    for storage in (tmp_path / "sweeps.db", f"sqlite:///{tmp_path}/sweeps.db"):
        with pytest.raises(ResultsError, match="no such database; run `sweeps launch FILE` here first"):
            list_sweeps(storage)
    assert list(tmp_path.iterdir()) == []


def _text(path: Path) -> None:
    path.write_text("name: digits\n")


def _empty(path: Path) -> None:
    path.touch()


def _other_tables(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE trials (x)")


def _schema(version: str, path: Path) -> None:
    add_sweep(path, "s", [])
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(_text, "not an SQLite database", id="text"),
        pytest.param(_empty, "not one of Optuna's", id="empty-file"),
        pytest.param(_other_tables, "not one of Optuna's", id="other-tables"),
        pytest.param(Path.mkdir, "a folder; name the database file in it", id="folder"),
        pytest.param(lambda path: _schema("v2.6.0.a", path), "optuna storage upgrade", id="older-schema"),
        pytest.param(lambda path: _schema("v99.0.0.a", path), "update optuna", id="newer-schema"),
    ],
)
def test_what_is_no_database_of_sweeps_is_refused_unchanged(tmp_path: Path, make, message: str) -> None:
    path = tmp_path / "sweeps.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(ResultsError, match=message) as caught:
        list_sweeps(path)
    assert "\n" not in str(caught.value)
    assert (path.read_bytes() if path.is_file() else None) == before
    assert [file.name for file in tmp_path.iterdir()] == ["sweeps.db"]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:s3cret@localhost:1/db",
        "postgresql+nodriver://me:s3cret@localhost/db",
        "mysql://me:s3:cr@et@localhost/db",
        "nonsense://me:s3cret@x/db",
        "postgresql://localhost/db?password=s3cret",
    ],
)
def test_a_database_out_of_reach_is_one_line_without_the_password(url: str) -> None:
    with pytest.raises(ResultsError) as caught:
        list_sweeps(url)
    assert "s3" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_references_come_from_the_environment(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPS_HOME", str(copy.parent))
    assert len(list_sweeps("sqlite:///${SWEEPS_HOME}/sweeps.db")) == 3
    monkeypatch.delenv("SWEEPS_HOME")
    with pytest.raises(ResultsError, match="the environment variable SWEEPS_HOME is not set"):
        expand("sqlite:///${SWEEPS_HOME}/sweeps.db")
    assert hide_password("x postgresql://me:a@b:c@host/db y") == "x postgresql://me:***@host/db y"


def test_reading_changes_no_byte(copy: Path) -> None:
    before = hashlib.sha256(copy.read_bytes()).digest()
    list_sweeps(copy)
    load(copy, "digits")
    assert hashlib.sha256(copy.read_bytes()).digest() == before
    assert [file.name for file in copy.parent.iterdir()] == ["sweeps.db"]


def test_a_running_writer_is_neither_waited_for_nor_disturbed(copy: Path) -> None:
    writer = sqlite3.connect(copy, isolation_level=None, timeout=0.1)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE studies SET study_name = 'renamed' WHERE study_name = 'digits'")
    assert load(copy, "digits").name == "digits"
    writer.execute("COMMIT")
    assert load(copy, "renamed").name == "renamed"
    writer.close()


_READ_AS_NOBODY = """
import os, sys
from dashboards.results import list_sweeps
list_sweeps(sys.argv[1])  # the other user may not be allowed to import
os.setuid(65534)
print(len(list_sweeps(sys.argv[1])))
"""


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="needs root to become another user")
def test_a_quiet_database_in_a_read_only_folder_can_be_read(copy: Path) -> None:
    with sqlite3.connect(copy) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    for folder in (copy.parent, *(p for p in copy.parents if p.name.startswith(("pytest-", "popen-")))):
        folder.chmod(0o755)
    command = [sys.executable, "-c", _READ_AS_NOBODY, str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "3\n", done.stderr


def test_two_thousand_trials_are_listed_and_loaded(tmp_path: Path) -> None:
    path = tmp_path / "sweeps.db"
    add_sweep(path, "big", [])
    with sqlite3.connect(path) as connection:  # through Optuna this takes 20 s
        rows = [(i + 1, i, 1, "COMPLETE" if i % 4 else "PRUNED") for i in range(2000)]
        connection.executemany("INSERT INTO trials VALUES (?, ?, ?, ?, '2024-05-01 10:00:00', NULL)", rows)
        connection.executemany(
            "INSERT INTO trial_values VALUES (?, ?, 0, ?, 'FINITE')", [(i, i, float(i)) for i, *_ in rows]
        )
        diverged = [
            (i, i, "outcome", json.dumps({"state": "diverged"})) for i, _, _, s in rows if s == "PRUNED"
        ]
        connection.executemany("INSERT INTO trial_user_attributes VALUES (?, ?, ?, ?)", diverged)
    summary = list_sweeps(path)[0]
    assert summary.counts == Counts(complete=1500, diverged=500)
    assert (summary.best_value, summary.best_number) == (2.0, 1)
    assert load(path, "big").summary == summary


def test_infinite_values_keep_their_order(tmp_path: Path) -> None:
    trials = [Ended("complete", math.inf), Ended("complete", 1.0), Ended("complete", -math.inf)]
    add_sweep(tmp_path / "sweeps.db", "s", trials)
    summary = list_sweeps(tmp_path / "sweeps.db")[0]
    assert isinstance(summary, SweepSummary)
    assert (summary.best_value, summary.best_number) == (-math.inf, 2)
    assert load(tmp_path / "sweeps.db", "s").best is not None
    assert to_json(summary)["best_value"] is None


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, dashboards, dashboards.server\n"
        "heavy = {'optuna', 'mlflow', 'sqlalchemy', 'yaml', 'torch', 'lightning', 'ray', 'plotly'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "import dashboards.export as _\n"
        "from dashboards import export, load\n"
        "print(callable(export), callable(load))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\nTrue True\n"
