"""What must be on the disk before it replaces something, and what is left of what was damaged."""

import os
from pathlib import Path

import pytest
from mlflow import MlflowClient

from sweeps.driver import drive
from sweeps.durable import sync
from sweeps.executors.scripted import ScriptedExecutor
from sweeps.layout import BEST, LAST, PREVIOUS
from sweeps.planning.places import Places
from sweeps.provenance import run_with
from sweeps.records import Assignment, Point, Report, Started
from sweeps.remote import RemoteFolder
from sweeps.storages.storage import open_storage
from sweeps.storages.uris import write_ahead_log
from sweeps.study.persistence import create_study
from sweeps.tracking.journal import Journal
from sweeps.tracking.recorder import Recorder
from sweeps.tracking.runs import SweepInfo
from sweeps.tracking.writer import Writer
from sweeps.training.checkpoints import Saver
from tests import fakes
from tests.browser import wait_for
from tests.test_resume import curve, train


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What is synced and renamed from now on, in order."""
    seen: list[tuple[str, ...]] = []
    fsync, replace, unlink = os.fsync, Path.replace, Path.unlink

    def synced(handle: int) -> None:
        seen.append(("sync", Path(f"/proc/self/fd/{handle}").readlink().name))
        fsync(handle)

    def renamed(path: Path, target: Path) -> Path:
        seen.append(("rename", path.name, target.name))
        return replace(path, target)

    def removed(path: Path, missing_ok: bool = False) -> None:
        seen.append(("remove", path.name))
        unlink(path, missing_ok)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    monkeypatch.setattr(Path, "unlink", removed)
    return seen


def test_where_the_system_has_no_such_call_nothing_is_waited_for() -> None:
    sync(Path("/dev/null"))  # as a file of some network's file systems: "invalid argument"


def test_a_checkpoint_is_on_the_disk_before_it_gets_its_names_and_the_names_afterwards(
    tmp_path: Path, steps: list[tuple[str, ...]]
) -> None:
    saver = Saver(tmp_path)
    for validation in (1, 2):
        saver._write(b"%d" % validation, validation, is_best=True)
    saver.close()
    new = steps[0][1]
    second = [step for step in steps[steps.index(("sync", tmp_path.name)) + 1 :] if step[0] != "remove"]
    assert second == [
        ("sync", new), ("rename", f"{new}-best", BEST), ("rename", LAST, PREVIOUS), ("rename", new, LAST),
        ("sync", tmp_path.name),
    ]  # fmt: skip
    assert [(tmp_path / name).read_text() for name in (BEST, LAST, PREVIOUS)] == ["2", "2", "1"]


INFO = SweepInfo("s", "loss", "minimize", "sqlite:///unused", "", "", Path())


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    beside = write_ahead_log(f"sqlite:///{tmp_path}/sweeps.db")
    assert beside is not None
    beside.touch()
    return Journal(tmp_path / "journal", beside)


def test_mlflow_hears_of_and_the_journal_drops_what_the_study_has_on_its_disk(
    journal: Journal, steps: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Writer, "connect", lambda _: None)
    monkeypatch.setattr(Writer, "flush", lambda _: steps.append(("flush",)))
    recorder = Recorder(INFO, journal)
    recorder.record(Started(0, 1.0))
    assert recorder.close(status="finished", best=None) == []
    log, first = ("sync", "sweeps.db-wal"), "00000001.jsonl"
    writing = [step for step in steps if step in (log, ("flush",))]  # meanwhile `close` syncs the journal
    assert all(writing[at - 1] == log for at, step in enumerate(writing) if step == ("flush",))
    order = [
        steps.index(("sync", first)),
        len(steps) - 1 - steps[::-1].index(log),
        steps.index(("remove", first)),
    ]
    assert order == sorted(order)
    assert write_ahead_log("postgresql://host/database") is None


def test_while_mlflow_is_away_the_disk_has_events_within_seconds(
    journal: Journal, steps: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def away(_: Writer) -> None:
        tries.append(1)
        raise OSError("away")

    monkeypatch.setattr("sweeps.tracking.recorder.SYNC_SECONDS", 0.1)
    monkeypatch.setattr("sweeps.tracking.recorder.INTERVAL_SECONDS", 60.0)
    monkeypatch.setattr(Writer, "connect", away)
    recorder = Recorder(INFO, journal)
    wait_for(lambda: bool(recorder._trouble))  # the next try is a minute away
    del steps[:]
    for number in range(2):
        recorder.record(Started(number, 1.0))
        wait_for(lambda: steps[-1:] == [("sync", "journal")])
        assert [kind for kind, _ in steps] == ["sync", "sync", "sync"]
        assert steps[0] == ("sync", "sweeps.db-wal")  # the study knows each trial that the journal knows
        assert steps[1][1].endswith(".jsonl")
        del steps[:]
    recorder.abandon()
    recorder._thread.join(10)
    assert len(tries) == 1, "who is abandoned has no further word for MLflow"


def test_events_of_trials_that_a_power_cut_took_from_the_study_are_left_out(tmp_path: Path) -> None:
    written = Journal(tmp_path)
    for number in range(3):
        written.append(Started(number, 1.0))
    assert [event.number for event in Journal(tmp_path, trials=2).left()] == [0, 1]


def test_a_driver_records_nothing_of_trials_that_a_power_cut_took_from_the_study(tmp_path: Path) -> None:
    spec = fakes.spec(budget={"trials": 2}, files=str(tmp_path))
    url, uri = f"sqlite:///{tmp_path}/s.db", f"sqlite:///{tmp_path}/mlflow.db"
    study = create_study(spec, open_storage(url), validations=4, notes={"mlflow": {"key": "key"}})
    journal = Journal(tmp_path / "journal")
    journal.append(Assignment(0, {"model.init_args.x": 7.0}, {}))
    journal.append(Report(0, 1, 0.5, points=(Point("earlier", 0.5, 1, 1),)))
    where = Places(url, uri, str(tmp_path / "artifacts"), tmp_path)
    now = run_with(str(tmp_path))
    drive(study, spec, where, ScriptedExecutor(fakes.falling, slots=1, length=4), [], resumed_with=now)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(spec.name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.trial_number = '0'")
    assert ["earlier" in run.data.metrics for run in runs] == [False]


def test_two_checkpoints_that_are_damaged_in_a_row_leave_a_third(tmp_path: Path) -> None:
    """The first is found out when the trial goes on, the second after it has saved once."""
    expected, _ = train(tmp_path / "whole")
    train(tmp_path, at_answer=3)
    last = tmp_path / "trial-0" / LAST
    damage(last)
    again, _ = train(tmp_path, attempt=1, known_step=3, at_answer=3)
    damage(last)
    reports, outcome = train(tmp_path, attempt=2, known_step=3)
    assert outcome is not None
    # From the checkpoint of validation 2 both times; what is known is left to those who know it.
    assert [curve(found)[0][0] for found in (again, reports)] == [3, 3]
    assert curve(reports) == curve(expected)[2:]


def damage(path: Path) -> None:
    """Cuts a file short."""
    os.truncate(path, path.stat().st_size // 2)


def test_a_damaged_checkpoint_in_a_store_takes_no_other_ones_place(tmp_path: Path) -> None:
    store = RemoteFolder(f"file://{tmp_path}/store")
    source = tmp_path / LAST
    for content in ("first", "second"):
        source.write_text(content)
        store.send_checkpoint(source, is_best=False)
    source.write_text("third")
    store.send_checkpoint(source, is_best=False, replaces=False)
    assert [store.read(name) for name in (LAST, PREVIOUS)] == [b"third", b"first"]
