"""Where studies are kept: URLs, SQLite's settings, and databases that are not ours."""

import contextlib
import multiprocessing
import os
import sqlite3
import threading
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy

from sweeps.errors import UserError
from sweeps.storages.checks import check_storage, check_tracking
from sweeps.storages.sqlite import folder_lock
from sweeps.storages.storage import open_storage, rehearse
from sweeps.storages.uris import absolute, expand, masked, sqlite_path, study_url


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test starts in its own empty folder, without a setting of the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SWEEPS_STORAGE", raising=False)
    return tmp_path


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refusal(url: str) -> str:
    """The line with which both the check and the opening refuse a database."""
    messages = set()
    for look in (check_storage, open_storage):
        with pytest.raises(UserError) as caught:
            look(url)
        messages.add(str(caught.value))
    [message] = messages
    assert "\n" not in message
    return message


def foreign(path: Path) -> None:
    """A database that looks like MLflow's."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        for table in ("alembic_version", "experiments", "runs"):
            database.execute(f"CREATE TABLE {table} (id INTEGER)")


def test_variables_in_a_url_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_USER", "me")
    monkeypatch.setenv("DB_PASSWORD", "p${X}w")
    assert expand("postgresql://${DB_USER}:${DB_PASSWORD}@host/db") == "postgresql://me:p${X}w@host/db"
    assert expand("sqlite:///$HOME/x.db") == "sqlite:///$HOME/x.db"


def test_a_missing_variable_is_named_and_no_password_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DB_HOST", raising=False)
    with pytest.raises(UserError, match="the environment variable DB_HOST is not set") as caught:
        expand("postgresql://me:secret@${DB_HOST}/db")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        pytest.param("postgresql://me:secret@host/db", "postgresql://me:***@host/db", id="a password"),
        pytest.param("postgresql://me:${PW}@host/db", "postgresql://me:${PW}@host/db", id="a variable"),
        pytest.param("postgresql://me@host:5432/db", "postgresql://me@host:5432/db", id="no password"),
        pytest.param("postgresql://host:5432/db", "postgresql://host:5432/db", id="a port"),
        pytest.param("redis://:secret@host", "redis://:***@host", id="no user"),
        pytest.param("mysql://me:se@cr@et@host/db", "mysql://me:***@host/db", id="signs not encoded"),
        pytest.param("mysql://me:se?cr@host/db", "mysql://me:***@host/db", id="a question mark"),
        pytest.param("pg://h/db?user=me&password=secret&ssl=1", "pg://h/db?user=me&password=***&ssl=1",
                     id="a password in the query"),
        pytest.param("pg://me:secret@h/db?x=a@b", "pg://me:***@h/db?x=a@b", id="a sign in the query"),
        pytest.param("sqlite:////data/a@b:c.db", "sqlite:////data/a@b:c.db", id="a file"),
    ],
)  # fmt: skip
def test_passwords_are_masked_and_nothing_else(url: str, shown: str) -> None:
    assert masked(url) == shown


def test_the_option_wins_over_the_variable_over_the_file_over_the_default(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert study_url() == url_of(here / "sweeps.db")
    assert study_url(None, "sqlite:///file.db") == url_of(here / "file.db")
    monkeypatch.setenv("SWEEPS_STORAGE", "sqlite:///variable.db")
    assert study_url(None, "sqlite:///file.db") == url_of(here / "variable.db")
    assert study_url("sqlite:///option.db", "sqlite:///file.db") == url_of(here / "option.db")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        pytest.param("sqlite:///a/b.db", "a/b.db", id="relative"),
        pytest.param("sqlite:////a/b.db", "/a/b.db", id="absolute"),
        pytest.param("sqlite:///b.db?timeout=5", "b.db", id="with a query"),
        pytest.param("sqlite:///a?b/c.db", "a?b/c.db", id="a folder with a question mark"),
        pytest.param("postgresql://host/db", None, id="another database"),
    ],
)
def test_the_file_of_an_sqlite_url(url: str, path: str | None) -> None:
    assert sqlite_path(url) == (None if path is None else Path(path))


def test_paths_become_absolute_and_other_urls_stay(here: Path) -> None:
    assert absolute("sqlite:///x.db") == url_of(here / "x.db")
    assert absolute("sqlite:////data/x.db") == "sqlite:////data/x.db"
    assert absolute("postgresql://host/db") == "postgresql+psycopg://host/db"
    assert study_url("sub/x.db") == url_of(here / "sub/x.db")
    assert study_url("/data/x.db") == "sqlite:////data/x.db"


def pragmas(storage: optuna.storages.RDBStorage) -> tuple[Any, ...]:
    with storage.engine.connect() as connection:
        names = ("journal_mode", "synchronous", "busy_timeout")
        return tuple(connection.execute(sqlalchemy.text(f"PRAGMA {name}")).scalar() for name in names)


def test_sqlite_runs_with_a_write_ahead_log_and_waits_for_locks(here: Path) -> None:
    normal = 1
    storage = open_storage(url_of(here / "x.db"))
    assert pragmas(storage) == ("wal", normal, 5_000)
    again = open_storage(url_of(here / "x.db"))
    assert pragmas(again) == ("wal", normal, 5_000)


def test_every_connection_of_the_storage_is_set_up(here: Path) -> None:
    storage = open_storage(url_of(here / "x.db"))
    with storage.engine.connect(), storage.engine.connect():
        assert pragmas(storage)[:2] == ("wal", 1)


@pytest.mark.parametrize(
    "name",
    ["it's", 'a "b"', "a b", "größe ü 数", "a?b", "what?x=1", "a#b", "100%", "a%20b", "{x}", "a&b=c;d"],
)
def test_a_folder_may_have_any_name(here: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    folder = here / name
    folder.mkdir()
    monkeypatch.chdir(folder)
    url = study_url()
    optuna.create_study(storage=open_storage(url), study_name="s")
    assert optuna.get_all_study_names(open_storage(url)) == ["s"]
    assert "sweeps.db" in names_in(folder)
    assert names_in(here) == [name]


def test_checking_creates_nothing(here: Path) -> None:
    check_storage(url_of(here / "x.db"))
    check_storage("postgresql://host/db")
    assert names_in(here) == []


def test_an_empty_file_becomes_a_database(here: Path) -> None:
    (here / "x.db").touch()
    check_storage(url_of(here / "x.db"))
    assert optuna.get_all_study_names(open_storage(url_of(here / "x.db"))) == []


def test_another_programs_database_is_refused_and_stays_as_it_is(here: Path) -> None:
    path = here / "mlflow.db"
    foreign(path)
    before = path.read_bytes()
    message = refusal(url_of(path))
    assert "mlflow.db: not an Optuna database (it holds alembic_version, experiments, runs" in message
    assert "--storage" in message
    assert path.read_bytes() == before
    assert names_in(here) == ["mlflow.db"]


def test_a_text_file_is_refused_and_stays_as_it_is(here: Path) -> None:
    path = here / "notes.txt"
    path.write_text("not a database at all\n" * 10)
    assert "not a usable SQLite database" in refusal(url_of(path))
    assert path.read_text() == "not a database at all\n" * 10
    assert names_in(here) == ["notes.txt"]


def test_a_folder_is_refused(here: Path) -> None:
    (here / "sweeps.db").mkdir()
    assert "a folder; name a database file in it" in refusal(url_of(here / "sweeps.db"))


def test_a_folder_that_is_not_there_is_named(here: Path) -> None:
    assert refusal(url_of(here / "no" / "x.db")).endswith(f"the folder {here / 'no'} does not exist")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere: permissions are not enforced")
@pytest.mark.parametrize("exists", [pytest.param(False, id="new"), pytest.param(True, id="existing")])
def test_a_folder_that_cannot_be_written_is_refused(here: Path, exists: bool) -> None:
    folder = here / "read-only"
    folder.mkdir()
    if exists:
        open_storage(url_of(folder / "x.db")).engine.dispose()
    folder.chmod(0o500)
    try:
        assert "no permission to write it" in refusal(url_of(folder / "x.db"))
    finally:
        folder.chmod(0o700)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        pytest.param("nonsense://me:secret@host/db", "nonsense", id="an unknown kind of database"),
        pytest.param("not a url", "cannot be opened", id="not a URL"),
    ],
)
def test_a_url_that_cannot_be_opened_is_one_line_without_its_password(url: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        open_storage(url)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_database_that_is_just_being_made_is_waited_for(here: Path) -> None:
    path = here / "x.db"
    refused: list[UserError] = []

    def check() -> None:
        try:
            check_storage(url_of(path))
        except UserError as error:
            refused.append(error)

    with folder_lock(here), contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE studies (study_id INTEGER)")
        other = threading.Thread(target=check)
        other.start()
        other.join(0.1)  # long enough to see the first table and to wait for the lock
        assert other.is_alive()
        database.execute("CREATE TABLE trials (trial_id INTEGER)")
        database.execute("CREATE TABLE version_info (version_info_id INTEGER)")
    other.join()
    assert refused == []


def test_what_a_removed_database_leaves_beside_it_does_not_get_into_the_next_one(here: Path) -> None:
    path = here / "x.db"
    killed = open_storage(url_of(path))
    optuna.create_study(study_name="old", storage=killed)
    assert (here / "x.db-wal").stat().st_size > 0
    path.unlink()  # and only this, as who does not know of the rest
    again = open_storage(url_of(path))
    assert optuna.get_all_study_names(again) == []
    optuna.create_study(study_name="new", storage=again)
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def _create(url: str, barrier: Barrier, name: str) -> None:
    barrier.wait()
    optuna.create_study(storage=open_storage(url), study_name=name)


def test_processes_that_create_the_same_database_at_once_all_succeed(here: Path) -> None:
    context = multiprocessing.get_context("spawn")
    url, names = url_of(here / "x.db"), ["a", "b", "c"]
    barrier = context.Barrier(len(names))
    processes = [context.Process(target=_create, args=(url, barrier, name)) for name in names]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert sorted(optuna.get_all_study_names(open_storage(url))) == names


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        pytest.param("mlruns", "MLflow does not write to folders any more", id="the old file store"),
        pytest.param(
            "file:/data/mlruns", "MLflow does not write to folders any more", id="the same as a URI"
        ),
        pytest.param("htp://host:5000", "keeps no records at htp://, did you mean http://?", id="a typo"),
        pytest.param("ftp://host/x", "MLflow keeps no records at ftp://", id="no such store"),
        pytest.param("sqlite:///{here}/no/mlflow.db", "the folder {here}/no does not exist", id="no folder"),
        pytest.param("sqlite:///{here}/notes.txt", "not a usable SQLite database", id="a text file"),
        pytest.param(
            "sqlite:///{here}/other.db", "not MLflow's database (it holds things, ...)", id="foreign"
        ),
        pytest.param("sqlite:///{here}/a?b/mlflow.db", "MLflow takes a '?' in a path for the end", id="a ?"),
    ],
)
def test_what_mlflow_could_not_write_to_is_refused_and_left_alone(here: Path, uri: str, message: str) -> None:
    (here / "notes.txt").write_text("not a database at all\n" * 10)
    with sqlite3.connect(here / "other.db") as database:
        database.execute("CREATE TABLE things (name TEXT)")
    before = {path.name: path.read_bytes() for path in here.iterdir()}
    with pytest.raises(UserError) as error:
        check_tracking(uri.format(here=here))
    assert message.format(here=here) in str(error.value)
    assert {path.name: path.read_bytes() for path in here.iterdir()} == before


def test_a_new_database_and_a_server_suit_mlflow(here: Path) -> None:
    check_tracking(f"sqlite:///{here}/mlflow.db")
    check_tracking("http://127.0.0.1:5000")
    assert list(here.iterdir()) == []


def test_the_rehearsal_of_a_new_database_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rehearse()
    assert list(tmp_path.iterdir()) == []
