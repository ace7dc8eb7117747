"""A study database that is locked, full or damaged: waiting is said, then one line; nothing is corrupt."""

import contextlib
import errno
import functools
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest
import sqlalchemy

from sweeps.control import Lease
from sweeps.errors import UserError
from sweeps.executors.scripted import ScriptedExecutor
from sweeps.interruption import Interrupted
from sweeps.records import News, Request
from sweeps.runner import run
from sweeps.storages.patience import (
    DEFAULT_SECONDS,
    DRIVER_SECONDS,
    StudyGone,
    StudyUnwritable,
    current,
    driver_seconds,
    hurry,
    patient,
)
from sweeps.storages.storage import open_storage
from sweeps.study.persistence import create_study
from sweeps.study.study import Study
from tests import fakes
from tests.browser import wait_for

LOCK = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
database.execute("COMMIT")
"""


@contextlib.contextmanager
def locked(path: Path, seconds: float) -> Iterator[None]:
    """Another process holds the database for so long."""
    holder = subprocess.Popen(
        [sys.executable, "-c", LOCK, str(path), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    try:
        yield
    finally:
        holder.kill()
        holder.wait()


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> optuna.Study:
    monkeypatch.setattr("sweeps.storages.sqlite.WRITE_WAIT_SECONDS", 0.2)
    return create_study(SPEC, open_storage(f"sqlite:///{tmp_path}/s.db"), validations=4)


SPEC = fakes.spec(budget={"trials": 60})
PLENTY = 1_000_000


def engine_of(study: optuna.Study) -> sqlalchemy.Engine:
    engine: sqlalchemy.Engine = study._storage._backend.engine  # type: ignore[attr-defined]
    return engine


class Disk:
    """Limits the pages that a study's database may have to those that it has, until `pages` is raised."""

    def __init__(self, study: optuna.Study) -> None:
        engine = engine_of(study)
        with engine.connect() as connection:
            self.pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        sqlalchemy.event.listen(engine, "checkout", self._limit)

    def _limit(self, connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {self.pages}")


def whole(path: Path) -> bool:
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_lock_is_waited_for_and_that_is_said(study: optuna.Study, tmp_path: Path) -> None:
    said: list[str] = []
    with locked(tmp_path / "s.db", 2), patient(30, said.append):
        study.set_user_attr("key", "value")
    assert study.user_attrs["key"] == "value"
    [waiting, over] = said
    assert waiting == f"{tmp_path}/s.db: database is locked; waiting for up to 30 s"
    assert over.startswith(f"{tmp_path}/s.db: works again after ")


def test_a_lock_that_lasts_ends_in_one_line_and_the_rest_does_not_wait_again(
    study: optuna.Study, tmp_path: Path
) -> None:
    with locked(tmp_path / "s.db", 60), patient(1):
        with pytest.raises(StudyUnwritable, match=r"s\.db: database is locked for \d+ s; nothing in it is"):
            study.ask()
        started = time.monotonic()
        with pytest.raises(StudyUnwritable):
            study.set_user_attr("key", "value")
        assert time.monotonic() - started < 1  # SQLite's own 0.2 s
    assert whole(tmp_path / "s.db")
    assert study.trials == []


def test_a_sweep_of_which_the_database_gets_full_goes_on_once_there_is_room(
    study: optuna.Study, tmp_path: Path
) -> None:
    disk = Disk(study)
    said: list[str] = []
    ours = Study(study, SPEC)
    with (
        patient(1, said.append),
        pytest.raises(StudyUnwritable, match=r"database or disk is full for \d+ s; nothing in it is"),
    ):
        run(ours, ScriptedExecutor(fakes.falling, slots=2, length=4))
    assert said == [f"{tmp_path}/s.db: database or disk is full; waiting for up to 1 s"]
    assert whole(tmp_path / "s.db")
    disk.pages = PLENTY
    again = Study(study, SPEC)
    again.adopt()
    run(again, ScriptedExecutor(fakes.falling, slots=2, length=4))
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 60
    assert all(list(trial.intermediate_values) == [1, 2, 3, 4] for trial in study.trials)


def test_room_that_is_made_in_time_ends_the_waiting(study: optuna.Study) -> None:
    disk = Disk(study)
    said: list[str] = []

    def make_room() -> None:
        wait_for(lambda: bool(said))
        disk.pages = PLENTY

    maker = threading.Thread(target=make_room)
    maker.start()
    with patient(30, said.append):
        run(Study(study, SPEC), ScriptedExecutor(fakes.falling, slots=2, length=4))
    maker.join()
    assert len(said) == 2
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 60


def test_who_interrupts_a_sweep_does_not_wait_for_the_trial_that_a_locked_database_holds_up(
    study: optuna.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWEEPS_PATIENCE", "30")
    monkeypatch.setattr("sweeps.runner.hurry", functools.partial(hurry, 1.0))
    monkeypatch.setattr("random.random", lambda: 0.0)  # of the seconds that Optuna itself waits now and then
    said: list[str] = []

    class Desk:
        def requests(self) -> list[Request]:
            if said:
                raise Interrupted
            return []

    executor = ScriptedExecutor(fakes.falling, slots=2, length=4)
    with locked(tmp_path / "s.db", 60), patient(say=said.append):
        started = time.monotonic()
        with pytest.raises(Interrupted):
            run(Study(study, SPEC), executor, desk=Desk(), asks_ahead=True)
        assert time.monotonic() - started < 15
    assert said == [f"{tmp_path}/s.db: database is locked; waiting for up to 30 s"]


def test_a_damaged_database_is_not_waited_for(study: optuna.Study, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    study._storage._backend.engine.dispose()  # type: ignore[attr-defined]
    content = bytearray(path.read_bytes())
    content[4096:] = b"x" * (len(content) - 4096)
    path.write_bytes(content)
    said: list[str] = []
    with patient(30, said.append), pytest.raises(StudyUnwritable, match="malformed"):
        study.set_user_attr("key", "value")
    assert said == []


def test_a_wrong_call_is_no_trouble_of_the_databases(study: optuna.Study) -> None:
    with patient(30), pytest.raises(KeyError):
        study._storage.get_trial(999)


def test_opening_a_locked_database_is_one_line(
    study: optuna.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study._storage._backend.close()  # type: ignore[attr-defined]
    assert [path.name for path in tmp_path.iterdir()] == ["s.db"]  # the log is in it
    with contextlib.closing(sqlite3.connect(tmp_path / "s.db")) as database:
        database.execute("PRAGMA journal_mode=DELETE")  # whose locks keep readers out, too
    with locked(tmp_path / "s.db", 60), pytest.raises(UserError, match="database is locked"):
        open_storage(f"sqlite:///{tmp_path}/s.db")


def test_the_drivers_patience_is_the_users_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, seconds in [("7.5", 7.5), ("-1", 0.0), ("long", DRIVER_SECONDS)]:
        monkeypatch.setenv("SWEEPS_PATIENCE", text)
        assert driver_seconds() == seconds


def test_patience_is_each_threads_own(study: optuna.Study, tmp_path: Path) -> None:
    refused: list[float] = []

    def impatient() -> None:
        began = time.monotonic()
        with patient(0), contextlib.suppress(StudyUnwritable):
            study.set_user_attr("lease", 1)
        refused.append(time.monotonic() - began)

    with locked(tmp_path / "s.db", 3), patient(30):
        thread = threading.Thread(target=impatient)
        thread.start()
        study.set_user_attr("key", "value")
        thread.join()
    assert refused[0] < 3
    with patient(30):
        hurry(0.1)
        with locked(tmp_path / "s.db", 60), pytest.raises(StudyUnwritable):
            study.set_user_attr("key", "other")


def test_a_database_that_is_deleted_is_put_back_with_all_of_its_sweeps(
    study: optuna.Study, tmp_path: Path
) -> None:
    """Somebody types `rm sweeps.db` while a sweep runs: nothing is lost, in no sweep."""
    ours = Study(study, SPEC)

    class Removing:
        def record(self, event: News) -> None:
            if ours.finished == 20:
                for path in tmp_path.glob("s.db*"):
                    path.unlink()

    executor = ScriptedExecutor(fakes.falling, slots=2, length=4)
    with pytest.raises(StudyGone, match=r"s\.db: was deleted while the sweep ran; it is back as it was, so"):
        run(ours, executor, [Removing()])
    assert [path.name for path in tmp_path.iterdir()] == ["s.db"]
    assert whole(tmp_path / "s.db")
    storage = open_storage(f"sqlite:///{tmp_path}/s.db")
    again = optuna.load_study(study_name=study.study_name, storage=storage, pruner=study.pruner)
    assert sum(trial.state.is_finished() for trial in again.trials) == 20
    resumed = Study(again, SPEC)
    resumed.adopt()
    run(resumed, ScriptedExecutor(fakes.falling, slots=2, length=4))
    assert [trial.state.name for trial in again.trials] == ["COMPLETE"] * 60


def test_threads_that_start_while_a_driver_waits_share_its_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds_of_a_new_thread() -> float:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(lambda: current().seconds).result()

    monkeypatch.setenv("SWEEPS_PATIENCE", "7.5")
    with patient():
        assert seconds_of_a_new_thread() == 7.5
        with patient(1.0):  # this thread's own
            assert seconds_of_a_new_thread() == 7.5
        hurry(2.0)
        assert seconds_of_a_new_thread() == 2.0
    assert seconds_of_a_new_thread() == DEFAULT_SECONDS


def test_a_thread_that_waits_no_more_leaves_the_others_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPS_PATIENCE", "7.5")
    began, ends = threading.Event(), threading.Event()

    def wait_for_nothing() -> None:
        with patient(0.0):
            began.set()
            ends.wait()

    other = threading.Thread(target=wait_for_nothing)
    other.start()
    began.wait()
    with patient():
        ends.set()
        other.join()
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(lambda: current().seconds).result() == 7.5


def test_who_hurries_outside_of_a_sweep_hurries_nobody_else() -> None:
    hurry(0.0)
    assert current().seconds == DEFAULT_SECONDS


BACK = r"s\.db: was deleted while the sweep ran; it is back as it was, so `sweeps resume` goes on"


@pytest.fixture
def other(study: optuna.Study, tmp_path: Path) -> optuna.Study:
    """Another sweep's study in the same file, with connections of its own."""
    spec = SPEC.model_copy(update={"name": "other"})
    return create_study(spec, open_storage(f"sqlite:///{tmp_path}/s.db"), validations=4)


def delete_database(folder: Path) -> None:
    for path in folder.glob("s.db*"):
        path.unlink()


def put_back(study: optuna.Study) -> None:
    with pytest.raises(StudyGone, match=BACK):
        study.set_user_attr("unwritten", 1)


def attributes_there(study: optuna.Study, folder: Path) -> dict[str, object]:
    """The study's attributes in the file that has the name now."""
    storage = open_storage(f"sqlite:///{folder}/s.db")
    attributes: dict[str, object] = optuna.load_study(study_name=study.study_name, storage=storage).user_attrs
    return attributes


def test_a_deleted_database_of_two_sweeps_is_put_back_once_and_both_say_so(
    study: optuna.Study, other: optuna.Study, tmp_path: Path
) -> None:
    delete_database(tmp_path)
    for one in (study, other, study, other):
        put_back(one)
    assert [path.name for path in tmp_path.iterdir()] == ["s.db"]
    for one in (study, other):
        assert "unwritten" not in attributes_there(one, tmp_path)


def test_nothing_is_written_to_a_database_that_another_sweep_has_put_back(
    study: optuna.Study, other: optuna.Study, tmp_path: Path
) -> None:
    def lose(*_: object) -> None:  # after `other` has looked, before it writes
        delete_database(tmp_path)
        put_back(study)

    sqlalchemy.event.listen(engine_of(other), "before_cursor_execute", lose, once=True)
    put_back(other)
    assert "unwritten" not in attributes_there(other, tmp_path)


def test_a_database_is_put_back_with_what_another_sweep_is_about_to_write(
    study: optuna.Study, other: optuna.Study, tmp_path: Path
) -> None:
    rescue = threading.Thread(target=put_back, args=[study])

    def lose(*_: object) -> None:  # after the last look of `other`
        delete_database(tmp_path)
        rescue.start()
        time.sleep(0.5)

    sqlalchemy.event.listen(engine_of(other), "commit", lose, once=True)
    other.set_user_attr("key", "value")
    rescue.join()
    assert attributes_there(other, tmp_path)["key"] == "value"


def test_a_database_that_is_replaced_stays_and_the_old_one_is_kept_beside_it(
    study: optuna.Study, tmp_path: Path
) -> None:
    (tmp_path / "s.db").unlink()
    (tmp_path / "s.db").write_text("another")
    with pytest.raises(StudyGone, match="was replaced by another file while the sweep ran; what it held is"):
        study.set_user_attr("key", "value")
    assert (tmp_path / "s.db").read_text() == "another"
    [kept] = tmp_path.glob("s.db.*.rescued")
    assert whole(kept)


def test_where_there_are_no_links_the_copy_stays_and_is_named(
    study: optuna.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    study.set_user_attr("key", "value")
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(StudyGone) as error:
        study.ask()
    [kept] = tmp_path.iterdir()
    assert str(error.value) == (
        f"{tmp_path}/s.db: was deleted while the sweep ran, and cannot be put back (Operation not permitted)"
        f"; what it held is in {kept}"
    )
    open_storage(f"sqlite:///{tmp_path}/s.db")  # which tidies up after processes that died
    there = optuna.load_study(study_name=study.study_name, storage=open_storage(f"sqlite:///{kept}"))
    assert there.user_attrs["key"] == "value"
    assert whole(kept)


def test_a_file_that_cannot_be_looked_at_is_not_taken_for_a_deleted_one(
    study: optuna.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale(_: Path) -> os.stat_result:
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", stale)
        study.set_user_attr("key", "value")
    assert study.user_attrs["key"] == "value"
    assert not list(tmp_path.glob("*.rescued"))


END = """
import atexit, gc, sys
from sweeps.study.persistence import create_study
from sweeps.storages.storage import open_storage, study_names
from tests import fakes
atexit.register(gc.freeze)  # as the command line does
url = f"sqlite:///{sys.argv[1]}/s.db"
study = create_study(fakes.spec(), open_storage(url), validations=4)
others = open_storage(url), study_names(url)
study.ask()
"""


def test_a_process_that_ends_leaves_one_file(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", END, str(tmp_path)], check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["s.db"]
    assert whole(tmp_path / "s.db")


def test_a_folder_that_is_deleted_ends_in_one_line(study: optuna.Study, tmp_path: Path) -> None:
    for path in tmp_path.iterdir():
        path.unlink()
    tmp_path.rmdir()
    with pytest.raises(StudyGone, match="was deleted while the sweep ran, and cannot be put back: unable to"):
        study.ask()


def test_a_study_that_is_deleted_ends_its_sweep_in_one_line_and_no_other(
    study: optuna.Study, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    other = create_study(SPEC.model_copy(update={"name": "other"}), open_storage(url), validations=4)
    lease = Lease(study, url)
    lease.claim()
    optuna.delete_study(study_name=study.study_name, storage=url)
    with pytest.raises(StudyGone) as error:
        study.ask()
    assert str(error.value) == (
        f"{tmp_path}/s.db: the study was deleted from it while the sweep ran; "
        "what was trained is in MLflow and in the files"
    )
    wait_for(lambda: lease._gone is not None)
    with pytest.raises(StudyGone):  # also where no trial has anything to say for hours
        lease.requests()
    assert other.ask().number == 0
