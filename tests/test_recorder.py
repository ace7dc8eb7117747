"""The recorder on the real MLflow: what went in is read back with a client of its own."""

import contextlib
import http.client
import http.server
import logging
import math
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import create_engine, text

from sweeps.records import Assignment, News, Outcome, Point, Report, Started, State, Timing
from sweeps.tracking.artifacts import store
from sweeps.tracking.journal import Journal
from sweeps.tracking.mlflow_setup import ENVIRONMENT, prepare_database, without_waiting_for_the_disk
from sweeps.tracking.names import PARAM_LENGTH, Text, batch_length, cut, shown
from sweeps.tracking.recorder import Recorder, pause_after
from sweeps.tracking.refusals import is_final
from sweeps.tracking.runs import Ending, Ledger, SweepInfo
from sweeps.tracking.writer import Writer
from tests.browser import wait_for

CONFIG = {
    "model": {"class_path": "my.Model", "init_args": {"lr": 1e-05, "name": "größe"}},
    "data": [1, None, True],
}


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("database") / 'it\'s "é:x"'  # MLflow writes it into SQL as it is
    here.mkdir()
    path = here / "folder" / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        prepare_database(f"sqlite:///{path}")
    assert list(path.parent.iterdir()) == [path]
    return path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorder writes five times a second."""
    monkeypatch.setattr("sweeps.tracking.recorder.INTERVAL_SECONDS", 0.2)


@pytest.fixture
def info(template: Path, tmp_path: Path) -> SweepInfo:
    shutil.copy(template, tmp_path / "mlflow.db")
    return SweepInfo(
        name="digits 'quick' größe",
        metric="val/loss",
        direction="minimize",
        tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}",
        artifact_location=str(tmp_path / "50%20 #größe"),
        spec_text="name: digits  # größe\n",
        files=tmp_path / "files",
        tags={"git_commit": "abc", "version.torch": "2.13"},
        params={"seed": 7, "budget.trials": 20},
    )


def runs_of(info: SweepInfo) -> tuple[MlflowRun, dict[int, MlflowRun]]:
    """The parent and its children by trial number."""
    client = MlflowClient(info.tracking_uri)
    experiment = client.get_experiment_by_name(info.name)
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) == len(runs) - 1
    by_number = {int(run.data.tags["trial_number"]): run for run in children}
    assert len(by_number) == len(children)
    return parent, by_number


def history(info: SweepInfo, run: MlflowRun, key: str) -> list[tuple[float, int, int]]:
    metrics = MlflowClient(info.tracking_uri).get_metric_history(run.info.run_id, key)
    return sorted((metric.value, metric.step, metric.timestamp) for metric in metrics)


def artifact(info: SweepInfo, run: MlflowRun, path: str) -> Path:
    return Path(info.artifact_location) / run.info.run_id / "artifacts" / path


def points(key: str, count: int, first: int = 0) -> tuple[Point, ...]:
    return tuple(Point(key, 1 / (i + 1), 10 * i, 1_700_000_000_000 + i) for i in range(first, first + count))


def as_history(*logged: Point) -> list[tuple[float, int, int]]:
    return sorted((point.value, point.step, point.time_ms) for point in logged)


def assignment(number: int, **params: object) -> Assignment:
    return Assignment(number, params or {"lr": 0.1}, CONFIG)


def test_mlflow_is_not_asked_where_each_runs_artifacts_are(
    info: SweepInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    get_run = SqlAlchemyStore.get_run

    def noted(store: SqlAlchemyStore, run_id: str) -> MlflowRun:
        asked.append(run_id)
        return get_run(store, run_id)

    monkeypatch.setattr(SqlAlchemyStore, "get_run", noted)
    recorder = Recorder(info)
    for number in range(3):
        recorder.record(assignment(number))
        recorder.record(Outcome(number, State.COMPLETE, 0.25))
    assert recorder.close(status="finished", best=None) == []
    assert asked == []
    _, children = runs_of(info)
    texts = [artifact(info, run, "config.yaml").read_text("utf-8") for run in children.values()]
    assert [yaml.safe_load(text) for text in texts] == [CONFIG] * 3


def test_what_was_recorded_can_be_read_back(info: SweepInfo) -> None:
    checkpoint = info.files / "trial-1" / "best.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"weights")
    params = {
        "optimizer.sgd.init_args.lr": 1e-05,
        "units": 64,
        "act": "relu",
        "bias": True,
        "size": 0.1 + 0.2,
    }
    recorder = Recorder(info)
    recorder.record(Assignment(0, params, CONFIG))
    recorder.record(Assignment(1, params, CONFIG))
    recorder.record(Report(0, 1, 0.5, points=points("val/loss", 3)))
    recorder.record(Report(1, 1, 0.4, points=points("val/loss", 2) + points("acc@1", 2)))
    timing = Timing(started=1_700_000_000.25, slot_seconds=3.5, fit_seconds=2.0, wait_seconds=0.5,
                    earlier_seconds=1.5)  # fmt: skip
    late = points("val/loss", 1, first=3)
    pruned = Outcome(
        0,
        State.PRUNED,
        0.5,
        "too slow",
        points=late,
        timing=timing,
        worker="worker-1",
        device="cpu",
    )
    recorder.record(pruned)
    recorder.record(replace(pruned, number=1, state=State.COMPLETE, value=0.25, reason=""))
    assert recorder.close(status="finished", best=1) == []

    parent, children = runs_of(info)
    run = children[0]
    assert history(info, run, "val/loss") == as_history(*points("val/loss", 4))
    assert history(info, children[1], "acc_1") == as_history(*points("acc@1", 2))
    assert run.data.params == {
        "optimizer.sgd.init_args.lr": "1e-05",
        "units": "64",
        "act": "relu",
        "bias": "True",
        "size": "0.30000000000000004",
    }
    expected = {"state": "pruned", "reason": "too slow", "worker": "worker-1", "device": "cpu"}
    expected |= {"trial_number": "0", "sweep": info.name, "mlflow.runName": "trial-0"}
    assert run.data.tags.items() >= expected.items()
    assert run.data.tags["mlflow.user"]
    assert (run.info.status, run.info.start_time, run.info.end_time) == (
        "FINISHED",
        1_700_000_000_250,
        1_700_000_003_750,
    )
    own = {
        "objective": 0.5,
        "fit_seconds": 2.0,
        "slot_seconds": 3.5,
        "wait_seconds": 0.5,
        "earlier_seconds": 1.5,
    }
    assert run.data.metrics.items() >= own.items()
    assert yaml.safe_load(artifact(info, run, "config.yaml").read_text("utf-8")) == CONFIG

    assert parent.info.status == "FINISHED"
    assert parent.data.params == {"seed": "7", "budget.trials": "20"}
    expected = {"sweep": info.name, "direction": "minimize", "metric": "val/loss", "state": "finished"}
    expected |= {"git_commit": "abc", "version.torch": "2.13", "best_trial": "1", "best.act": "relu"}
    expected |= {"best.optimizer.sgd.init_args.lr": "1e-05"}
    assert parent.data.tags.items() >= expected.items()
    assert parent.data.metrics == {"trials_pruned": 1, "trials_complete": 1, "best_value": 0.25}
    assert [step for _, step, _ in history(info, parent, "best_value")] == [2]
    assert artifact(info, parent, "sweep.yaml").read_text("utf-8") == info.spec_text
    assert (
        artifact(info, parent, "best/config.yaml").read_bytes()
        == artifact(info, children[1], "config.yaml").read_bytes()
    )
    assert artifact(info, parent, "best/best.ckpt").read_bytes() == b"weights"


def test_a_running_trial_is_seen_while_it_runs(info: SweepInfo) -> None:
    recorder = Recorder(info)
    recorder.record(assignment(0))
    recorder.record(Report(0, 1, 0.5, points=points("loss", 2)))
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        time.sleep(0.2)
        client = MlflowClient(info.tracking_uri)
        experiment = client.get_experiment_by_name(info.name)
        if experiment and len(client.search_runs([experiment.experiment_id])) == 2:
            run = runs_of(info)[1][0]
            if run.data.metrics:
                break
    assert (run.info.status, run.data.tags["state"], run.data.metrics["loss"]) == ("RUNNING", "running", 0.5)
    recorder.record(Report(0, 2, 0.25, points=points("loss", 2, first=2)))
    assert recorder.close(status="interrupted", best=None) == []
    parent, children = runs_of(info)
    assert (parent.info.status, parent.data.tags["state"]) == ("KILLED", "interrupted")
    assert (children[0].info.status, children[0].data.tags["state"]) == ("KILLED", "killed")
    assert history(info, children[0], "loss") == as_history(*points("loss", 4))


def test_two_thousand_points_of_one_report_all_arrive(info: SweepInfo) -> None:
    recorder = Recorder(info)
    recorder.record(assignment(0))
    recorder.record(Report(0, 1, 0.5, points=points("loss", 2_000)))
    recorder.record(Outcome(0, State.COMPLETE, 0.5))
    assert recorder.close(status="finished", best=0) == []
    _, children = runs_of(info)
    assert history(info, children[0], "loss") == as_history(*points("loss", 2_000))


def test_names_that_mlflow_refuses_are_replaced_and_stay_apart(info: SweepInfo) -> None:
    names = [
        "acc@1",
        "acc#1",
        "größe",
        'it\'s "it"',
        "a/b",
        "/a//b/",
        "../up",
        "..up",
        "x" * 300,
        "x" * 301,
        "objective",
        "ends\n",
    ]
    recorder = Recorder(info)
    recorder.record(
        Assignment(0, {name: name for name in names} | {"long": "y" * 7_000, "odd": "a\0\ud800"}, CONFIG)
    )
    logged = tuple(Point(name, float(i), 0, 1) for i, name in enumerate(names))
    recorder.record(Outcome(0, State.COMPLETE, 77.0, points=logged))
    assert recorder.close(status="finished", best=0) == []
    parent, children = runs_of(info)
    params, metrics = children[0].data.params, children[0].data.metrics
    readable = ["acc_1", "acc_1_2", "größe", "it_s _it_", "a/b", "_/a/_/b/_", "_/up", "_.up"]
    assert [params[name] for name in readable] == names[:8]
    assert [metrics[name] for name in readable] == [float(i) for i in range(8)]
    assert (metrics["objective"], metrics["objective_2"], params["ends_"]) == (77.0, 10.0, "ends\n")
    assert sorted(metrics.values()) == [*map(float, range(12)), 77.0]
    assert len(params) == len(names) + 2
    assert len(params["long"]) == 6_000
    assert params["long"][-9] == "…"  # before the hash of the whole
    assert params["odd"] == "a\N{REPLACEMENT CHARACTER}?"
    assert parent.data.tags["best.acc_1_2"] == "acc#1"


def test_nan_and_infinity_survive_as_far_as_mlflow_can_keep_them(info: SweepInfo) -> None:
    recorder = Recorder(info)
    recorder.record(assignment(0))
    values = {"nan": math.nan, "up": math.inf, "down": -math.inf}
    logged = tuple(Point(key, value, 5, 1) for key, value in values.items())
    recorder.record(Outcome(0, State.DIVERGED, math.nan, "the objective is NaN", points=logged))
    assert recorder.close(status="finished", best=None) == []
    parent, children = runs_of(info)
    metrics = children[0].data.metrics
    assert math.isnan(metrics["nan"])
    assert (metrics["up"], metrics["down"]) == (sys.float_info.max, -sys.float_info.max)
    assert "objective" not in metrics
    assert "best_value" not in parent.data.metrics
    assert (children[0].info.status, children[0].data.tags["state"]) == ("FINISHED", "diverged")


def test_a_failed_trial_keeps_its_log(info: SweepInfo) -> None:
    log = info.files / "trial-0" / "log.txt"
    log.parent.mkdir(parents=True)
    log.write_text("Traceback")
    recorder = Recorder(info)
    for number in range(2):
        recorder.record(assignment(number))
        recorder.record(Outcome(number, State.FAILED, reason="ValueError: no"))
    assert recorder.close(status="failed", best=None) == []
    parent, children = runs_of(info)
    assert [children[number].info.status for number in range(2)] == ["FAILED", "FAILED"]
    assert artifact(info, children[0], "log.txt").read_text() == "Traceback"
    assert not artifact(info, children[1], "log.txt").exists()
    assert (parent.info.status, parent.data.metrics) == ("FAILED", {"trials_failed": 2})


def test_mlflows_file_alone_holds_all_once_the_sweep_has_ended(info: SweepInfo, tmp_path: Path) -> None:
    recorder = Recorder(info)
    recorder.record(assignment(0))
    recorder.record(Outcome(0, State.COMPLETE, 0.25))
    assert recorder.close(status="finished", best=None) == []
    copy = shutil.copy(tmp_path / "mlflow.db", tmp_path / "copy.db")
    with contextlib.closing(sqlite3.connect(copy)) as database:
        assert database.execute("SELECT count(*) FROM runs").fetchall() == [(2,)]


@pytest.mark.parametrize("deleted", [False, True], ids=["existing", "deleted"])
def test_an_experiment_of_that_name_is_used_again(info: SweepInfo, deleted: bool) -> None:
    client = MlflowClient(info.tracking_uri)
    experiment_id = client.create_experiment(info.name, artifact_location=info.artifact_location)
    if deleted:
        client.delete_experiment(experiment_id)
    assert Recorder(info).close(status="finished", best=None) == []
    parent, _ = runs_of(info)
    assert parent.info.experiment_id == experiment_id


def test_what_cannot_be_written_is_said_in_one_line_each(info: SweepInfo) -> None:
    recorder = Recorder(info)
    recorder.record(Assignment(0, {}, {"odd": object()}))
    recorder.record(Started(0, time.time()))
    recorder.record(assignment(1))
    recorder.record(Outcome(1, State.COMPLETE, 1.0, points=(Point("loss", "high", 0, 1),)))  # type: ignore[arg-type]
    problems = recorder.close(status="finished", best=9)
    assert len(problems) == 3
    assert problems[0].startswith("Assignment of trial 0 is not written: RepresenterError:")
    assert problems[1].startswith("trial-1: a batch of ")
    assert problems[2].startswith(
        f"{info.name}: the best trial is not written: LookupError: trial 9 has no run"
    )
    assert not any("\n" in problem for problem in problems)
    _, children = runs_of(info)
    assert (children[0].info.status, children[1].info.status) == ("KILLED", "FINISHED")


def test_a_locked_database_delays_nobody_and_loses_nothing(
    info: SweepInfo, capfd: pytest.CaptureFixture[str]
) -> None:
    lock = sqlite3.connect(info.tracking_uri.removeprefix("sqlite:///"), isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    recorder = Recorder(info)
    began = time.monotonic()
    recorder.record(assignment(0))
    for step in range(1_000):
        recorder.record(Report(0, step + 1, 0.5, points=points("loss", 1, first=step)))
    recorder.record(Outcome(0, State.COMPLETE, 0.5))
    assert time.monotonic() - began < 10  # and not a thousand times as long as MLflow waits for a lock
    time.sleep(2)
    began = time.monotonic()
    (problem,) = recorder.close(status="finished", best=0, timeout_seconds=0.5)
    assert time.monotonic() - began < 10
    assert "not fully written" in problem
    lock.execute("ROLLBACK")
    lock.close()
    wait_until(lambda: MlflowClient(info.tracking_uri).get_experiment_by_name(info.name) is not None)
    assert capfd.readouterr() == ("", "")


def test_what_waits_for_a_locked_database_is_written_once_it_is_free(info: SweepInfo) -> None:
    lock = sqlite3.connect(
        info.tracking_uri.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False
    )
    recorder = Recorder(info)
    wait_until(lambda: MlflowClient(info.tracking_uri).get_experiment_by_name(info.name) is not None)
    lock.execute("BEGIN IMMEDIATE")
    recorder.record(assignment(0))
    recorder.record(Report(0, 1, 0.5, points=points("loss", 100)))
    threading.Timer(3, lambda: lock.execute("ROLLBACK")).start()
    assert recorder.close(status="finished", best=None) == []
    _, children = runs_of(info)
    assert history(info, children[0], "loss") == as_history(*points("loss", 100))


def test_the_end_goes_on_as_long_as_mlflow_takes_records(
    info: SweepInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = MlflowClient.set_terminated

    def slowly(self: MlflowClient, *args: object) -> None:
        time.sleep(0.25)
        end(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(MlflowClient, "set_terminated", slowly)
    said: list[str] = []
    recorder = Recorder(info, say=said.append)
    for number in range(24):
        recorder.record(assignment(number))
        recorder.record(Outcome(number, State.COMPLETE, 0.5))
    assert recorder.close(status="finished", best=None, timeout_seconds=3) == []
    assert {run.info.status for run in runs_of(info)[1].values()} == {"FINISHED"}
    assert any(line.startswith("writing the last records to MLflow, ") for line in said)


def test_a_journal_that_cannot_be_written_is_said_once_and_holds_up_nothing(
    info: SweepInfo, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    said: list[str] = []
    recorder = Recorder(info, Journal(tmp_path / "file" / "journal"), said.append)
    recorder.record(assignment(0))
    recorder.record(Outcome(0, State.COMPLETE, 0.5))
    assert "the journal cannot be written: NotADirectoryError" in recorder._journal_trouble
    assert recorder.close(status="finished", best=0) == []
    assert len([line for line in said if "the journal cannot be written" in line]) == 1
    assert runs_of(info)[1][0].info.status == "FINISHED"


def has_both_runs(info: SweepInfo) -> bool:
    client = MlflowClient(info.tracking_uri)
    experiment = client.get_experiment_by_name(info.name)
    return experiment is not None and len(client.search_runs([experiment.experiment_id])) == 2


def test_mlflows_database_is_put_back_and_what_comes_then_is_recorded_in_it(
    info: SweepInfo, tmp_path: Path
) -> None:
    journal, database = Journal(tmp_path / "journal"), tmp_path / "mlflow.db"
    said: list[str] = []
    recorder = Recorder(info, journal, said.append)
    recorder.record(assignment(0))
    recorder.record(Started(0, time.time()))
    wait_for(lambda: has_both_runs(info))
    for path in tmp_path.glob("mlflow.db*"):
        path.unlink()
    recorder.record(Outcome(0, State.COMPLETE, 0.5))
    assert recorder.close(status="finished", best=None) == []  # nothing is missing there
    assert said == [
        f"{database}: was deleted while the sweep ran; it is back as it was, and the records go on in it"
    ]
    assert not journal.is_left
    with contextlib.closing(sqlite3.connect(database)) as there:
        assert there.execute("SELECT status FROM runs").fetchall() == [("FINISHED",), ("FINISHED",)]


OTHER_DRIVER = """
import sys
from pathlib import Path
from sweeps.storages.database_file import DatabaseFile, DatabaseGone
file = DatabaseFile(Path(sys.argv[1]))
print("open", flush=True)
input()
try:
    file.ensure_it_is_there()
except DatabaseGone as gone:
    print(gone.is_back, flush=True)
"""


def test_what_is_recorded_while_another_sweep_puts_mlflows_database_back_is_recorded_in_it(
    info: SweepInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, look = tmp_path / "mlflow.db", Writer._ensure_its_file_is_there
    said: list[str] = []
    recorder = Recorder(info, say=said.append)
    recorder.record(assignment(0))
    recorder.record(Started(0, time.time()))
    wait_for(lambda: has_both_runs(info))
    command = [sys.executable, "-c", OTHER_DRIVER, str(database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"

        def lose(writer: Writer) -> None:
            look(writer)  # all is well, and then it is not
            if other.poll() is None:
                for path in tmp_path.glob("mlflow.db*"):
                    path.unlink()
                assert other.communicate("\n") == ("True\n", None)

        monkeypatch.setattr(Writer, "_ensure_its_file_is_there", lose)
        recorder.record(Outcome(0, State.COMPLETE, 0.5))
        assert recorder.close(status="finished", best=None) == []
        assert said == [
            f"{database}: was deleted while the sweep ran; it is back as it was, and the records go on in it"
        ]
    assert not list(tmp_path.glob("*.rescued"))
    with contextlib.closing(sqlite3.connect(database)) as there:
        assert there.execute("SELECT status FROM runs").fetchall() == [("FINISHED",), ("FINISHED",)]


def test_what_is_recorded_once_another_file_has_mlflows_name_is_kept_for_the_next_driver(
    info: SweepInfo, tmp_path: Path
) -> None:
    journal, database = Journal(tmp_path / "journal"), tmp_path / "mlflow.db"
    recorder = Recorder(info, journal)
    recorder.record(assignment(0))
    recorder.record(Started(0, time.time()))
    wait_for(lambda: has_both_runs(info))
    database.unlink()
    database.write_text("another")
    recorder.record(Outcome(0, State.COMPLETE, 0.5))
    [problem] = recorder.close(status="finished", best=None, timeout_seconds=0.5)
    [kept] = tmp_path.glob("mlflow.db.*.rescued")
    assert problem.endswith(
        f"{database}: was replaced by another file while the sweep ran; what it held is in {kept}"
    )
    assert journal.is_left
    assert database.read_text() == "another"
    with contextlib.closing(sqlite3.connect(kept)) as there:
        assert there.execute("SELECT count(*) FROM runs").fetchone() == (2,)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("is_restored", [True, False], ids=["restored meanwhile", "left to resume"])
def test_what_is_recorded_while_the_experiment_is_deleted_waits_for_it_and_is_said_once(
    info: SweepInfo, tmp_path: Path, is_restored: bool
) -> None:
    info, journal = replace(info, key="k"), Journal(tmp_path / "journal")
    said: list[str] = []
    recorder = Recorder(info, journal, said.append)
    recorder.record(assignment(0))
    recorder.record(Report(0, 1, 0.5, points=points("loss", 3)))
    wait_for(lambda: has_both_runs(info) and history(info, runs_of(info)[1][0], "loss"))
    client = MlflowClient(info.tracking_uri)
    experiment = client.get_experiment_by_name(info.name)
    client.delete_experiment(experiment.experiment_id)
    recorder.record(Report(0, 2, 0.4, points=points("loss", 2, first=3)))
    wait_for(lambda: bool(said))
    recorder.record(Outcome(0, State.COMPLETE, 0.4))
    recorder.record(assignment(1))
    recorder.record(Outcome(1, State.COMPLETE, 0.3))
    why = (
        f"the experiment {info.name!r} was deleted there; `mlflow experiments restore -x "
        f"{experiment.experiment_id}` brings it back now, `sweeps resume` at the end"
    )
    assert said == [f"MLflow takes nothing at the moment ({why}); what waits is on disk"]
    if is_restored:
        client.restore_experiment(experiment.experiment_id)
        assert recorder.close(status="finished", best=1) == []
    else:
        assert recorder.close(status="finished", best=1, timeout_seconds=2) == [
            f"3 runs are not fully written: {why}"
        ]
        assert journal.is_left
        after = Recorder(replace(info, is_resumed=True), Journal(tmp_path / "journal"))
        assert after.close(status="finished", best=1) == []
    parent, children = runs_of(info)
    assert history(info, children[0], "loss") == as_history(*points("loss", 5))
    assert [children[number].info.status for number in (0, 1)] == ["FINISHED", "FINISHED"]
    assert (parent.info.status, parent.data.tags["best_trial"]) == ("FINISHED", "1")
    assert not (tmp_path / "journal").exists()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("which", ["trial", "sweep"])
def test_a_run_that_somebody_deletes_is_one_line_and_the_others_go_on(info: SweepInfo, which: str) -> None:
    said: list[str] = []
    recorder = Recorder(info, say=said.append)
    for number in range(2):
        recorder.record(assignment(number))
        recorder.record(Started(number, 1_700_000_000.0))
    wait_for(lambda: set(recorder._writer.ledger.run_ids) == {0, 1})
    parent, children = runs_of(info)
    deleted = children[0] if which == "trial" else parent
    MlflowClient(info.tracking_uri).delete_run(deleted.info.run_id)
    for step in range(1, 4):
        written = recorder._writer.written
        for number in range(2):
            recorder.record(Report(number, step, 0.5, points=points("loss", 1, first=step)))
            recorder.record(Outcome(2 * step + number, State.COMPLETE, 0.5))  # the sweep's run counts it
        wait_for(lambda written=written: recorder._writer.written > written + 2)
    for number in range(2):
        recorder.record(Outcome(number, State.COMPLETE, number / 2, config=CONFIG))
    name = "trial-0" if which == "trial" else info.name
    [at_once] = said
    [line] = recorder.close(status="finished", best=0)
    assert line.startswith(f"{name}: the rest of it is not written: MlflowException: The run ")
    assert at_once == f"MLflow refuses something: {line}; others of this kind are listed at the end"
    there = MlflowClient(info.tracking_uri).get_run(children[1].info.run_id)
    assert (there.info.status, there.data.metrics["objective"]) == ("FINISHED", 0.5)
    assert len(history(info, there, "loss")) == 3
    with_deleted = MlflowClient(info.tracking_uri).get_run(deleted.info.run_id)
    assert with_deleted.info.lifecycle_stage == "deleted"


def test_the_first_problem_of_a_kind_is_said_when_it_happens(info: SweepInfo) -> None:
    said: list[str] = []
    writer = Writer(info, said.append)
    for number in range(3):
        writer.note(f"trial-{number}: config.yaml", PermissionError(13, "Permission denied", f"/a/{number}"))
        writer.note(f"trial-{number}: a value", ValueError("no"))
    writer.ledger.add(Ending("finished", None), 0.0)
    writer.note("the sweep: the best trial", LookupError("no"))
    assert len(writer.problems) == 7
    assert [line.split(" is not written")[0] for line in said] == [
        "MLflow refuses something: trial-0: config.yaml",
        "MLflow refuses something: trial-0: a value",
    ]


class Half(Journal):
    """There is room for assignments only, so the line of an outcome is never whole."""

    def append(self, event: News) -> None:
        if isinstance(event, Outcome):
            raise OSError(28, "No space left on device")
        super().append(event)

    def turn(self) -> int:
        return 0


def test_a_journal_that_found_room_for_half_is_not_kept_once_mlflow_has_all(
    info: SweepInfo, tmp_path: Path
) -> None:
    journal = Half(tmp_path / "journal")
    recorder = Recorder(info, journal)
    recorder.record(assignment(0))
    assert journal.is_left
    recorder.record(Outcome(0, State.COMPLETE, 0.5))
    assert recorder.close(status="finished", best=None) == []
    assert not journal.is_left  # or the next driver would take the trial for one that runs


def test_only_the_thread_that_makes_the_database_does_without_the_disk(tmp_path: Path) -> None:
    def waits() -> bool:
        with create_engine(f"sqlite:///{tmp_path}/s.db").connect() as connection:
            return connection.execute(text("PRAGMA synchronous")).scalar() != 0

    with without_waiting_for_the_disk(), ThreadPoolExecutor(1) as pool:
        assert (waits(), pool.submit(waits).result()) == (False, True)
    assert waits()


def test_a_trial_drawn_ahead_keeps_its_parameters_if_mlflow_is_away_when_it_runs_and_the_driver_dies(
    info: SweepInfo, tmp_path: Path
) -> None:
    killed = Recorder(replace(info, key="k"), Journal(tmp_path / "journal"))
    killed.record(assignment(0))
    killed.record(Started(0, time.time()))
    killed.record(assignment(1, lr=0.2))
    client = MlflowClient(info.tracking_uri)

    def has_both_runs() -> bool:
        experiment = client.get_experiment_by_name(info.name)
        return experiment is not None and len(client.search_runs([experiment.experiment_id])) == 2

    wait_until(has_both_runs)
    killed.record(Report(0, 1, 0.5))  # its file is dropped only after those before it
    wait_until(lambda: not (tmp_path / "journal" / "00000001.jsonl").exists())
    lock = sqlite3.connect(info.tracking_uri.removeprefix("sqlite:///"), isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    killed.record(Started(1, time.time()))
    killed.record(Outcome(1, State.COMPLETE, 0.5))
    killed.abandon()
    lock.execute("ROLLBACK")
    after = Recorder(replace(info, key="k", is_resumed=True), Journal(tmp_path / "journal"))
    assert after.close(status="finished", best=1) == []
    assert runs_of(info)[1][1].data.params == {"lr": "0.2"}
    assert not (tmp_path / "journal").exists()


def test_a_trial_that_has_started_leaves_the_journal_once_mlflow_has_it(
    info: SweepInfo, tmp_path: Path
) -> None:
    recorder = Recorder(info, Journal(tmp_path / "journal"))
    recorder.record(assignment(0))
    recorder.record(Started(0, 1_700_000_000.0))
    recorder.record(Outcome(0, State.COMPLETE, 0.5))
    wait_until(lambda: not Journal(tmp_path / "journal").is_left)
    assert recorder.close(status="finished", best=0) == []


def test_a_trial_that_was_put_back_and_is_drawn_once_more_has_its_parameters_once(info: SweepInfo) -> None:
    recorder = Recorder(info)
    recorder.record(assignment(0))
    recorder.record(assignment(0))
    recorder.record(Started(0, time.time()))
    recorder.record(Outcome(0, State.COMPLETE, 0.5))
    assert recorder.close(status="finished", best=0) == []
    assert runs_of(info)[1][0].data.params == {"lr": "0.1"}


def test_a_fifth_of_a_core_is_for_writing_and_all_of_one_if_it_lags() -> None:
    assert [pause_after(seconds) for seconds in (0, 0.1, 1, 2, 4, 8, 100)] == [1, 1, 4, 8, 6, 2, 1]


def wait_until(condition: object, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.1)


SWEEP_OF_A_PROCESS = """
import pathlib, sys
from sweeps.records import Assignment, Outcome, Point, State
from sweeps.tracking.recorder import Recorder
from sweeps.tracking.runs import SweepInfo
assert "mlflow" not in sys.modules
folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
uri = f"sqlite:///{folder}/deep/mlflow.db"
recorder = Recorder(SweepInfo(name, "loss", "maximize", uri, f"{folder}/artifacts", "", folder / "files"))
recorder.record(Assignment(0, {"lr": 0.1}, {}))
recorder.record(Outcome(0, State.COMPLETE, 1.0, points=(Point("loss", 1.0, 1, 1),)))
problems = recorder.close(status="finished", best=0)
print("\\n".join(problems) or "written", end="")
"""


def test_two_processes_may_create_the_same_database(info: SweepInfo, tmp_path: Path) -> None:
    leftover = tmp_path / "deep" / "mlflow.db.creating"  # of a process that was killed
    leftover.mkdir(parents=True)
    (leftover / "ready.db").write_bytes(b"half")
    elsewhere = tmp_path / "working directory"
    elsewhere.mkdir()
    command = [sys.executable, "-c", SWEEP_OF_A_PROCESS, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    processes = [
        subprocess.Popen(
            [*command, name], cwd=elsewhere, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for name in ("one", "two")
    ]
    assert [process.communicate(timeout=60)[0].decode() for process in processes] == ["written", "written"]
    uri = f"sqlite:///{tmp_path}/deep/mlflow.db"
    for name in ("one", "two"):
        parent, children = runs_of(replace(info, name=name, tracking_uri=uri))
        assert (parent.info.status, children[0].data.metrics["loss"]) == ("FINISHED", 1.0)
    with sqlite3.connect(tmp_path / "deep" / "mlflow.db") as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert not leftover.exists()
    assert list(elsewhere.iterdir()) == []


def test_a_database_that_is_removed_between_two_sweeps_of_a_process_is_made_anew(info: SweepInfo) -> None:
    path = Path(info.tracking_uri.removeprefix("sqlite:///"))
    kept = []  # as by who looks at a result
    for name in ("one", "two"):
        recorder = Recorder(replace(info, name=name))
        kept.append(recorder)
        recorder.record(assignment(0))
        recorder.record(Outcome(0, State.COMPLETE, 0.5))
        assert recorder.close(status="finished", best=0, timeout_seconds=10.0) == []
        with contextlib.closing(sqlite3.connect(path)) as database:
            there = database.execute("SELECT name FROM experiments ORDER BY experiment_id").fetchall()
        assert there == [("Default",), (name,)]
        MlflowClient(info.tracking_uri).create_experiment(f"of another, beside {name}")
        assert path.with_name(f"{path.name}-wal").stat().st_size > 0  # MLflow has it open
        path.unlink()


class Unreliable(http.server.BaseHTTPRequestHandler):
    """Passes requests on, or swallows a request, or the answer to one, or does one only after the next."""

    protocol_version = "HTTP/1.0"
    server: "UnreliableServer"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen += 1
        if self.server.seen == 1:
            return
        creates = self.path.endswith("/runs/create")
        if creates and self.server.swallow == 0 and self.server.late is None:
            self.server.late = body
            return
        answer, content = self.passed_on(body)
        if creates and self.server.swallow > 0:
            self.server.swallow -= 1
            return
        if creates and self.server.late:
            self.passed_on(self.server.late)
            self.server.late = b""
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.end_headers()
        self.wfile.write(content)

    def passed_on(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=30)
        headers = {
            key: value for key, value in self.headers.items() if key.lower() not in ("host", "content-length")
        }
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        return answer, answer.read()

    do_GET = do_PUT = do_PATCH = do_POST  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


class UnreliableServer(http.server.ThreadingHTTPServer):
    target, seen, swallow = 0, 0, 2
    late: bytes | None = None


@pytest.fixture
def unreliable_uri(info: SweepInfo, tmp_path: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    command += ["--backend-store-uri", info.tracking_uri, "--artifacts-destination", str(tmp_path / "served")]
    log = (tmp_path / "server.txt").open("wb")
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # seven processes less
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
    )
    proxy = UnreliableServer(("127.0.0.1", 0), Unreliable)
    proxy.target = port
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    wait_until(lambda: is_open(port), 60)
    yield f"http://127.0.0.1:{proxy.server_address[1]}"
    proxy.shutdown()
    os.killpg(process.pid, 15)
    process.wait(20)
    log.close()


@pytest.fixture
def refusing() -> Iterator[Callable[[int], str]]:
    """Starts a server that answers every request with a status, as a proxy does; gives its address."""
    with contextlib.ExitStack() as stack:

        def serve(status: int) -> str:
            class Refusing(http.server.BaseHTTPRequestHandler):
                def do_POST(self) -> None:
                    self.rfile.read(int(self.headers.get("Content-Length", 0)))
                    self.send_response(status)
                    self.end_headers()

                do_GET = do_PUT = do_POST  # noqa: N815

                def log_message(self, *_: object) -> None:
                    pass

            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_address[1]}"

        yield serve


@pytest.mark.parametrize("status", [401, 403, 404], ids=["no token", "no permission", "no MLflow there"])
def test_what_an_earlier_driver_left_waits_for_a_server_that_takes_no_request(
    info: SweepInfo, tmp_path: Path, refusing: Callable[[int], str], status: int
) -> None:
    first = Journal(tmp_path / "journal")
    first.append(assignment(0))
    first.append(Outcome(0, State.COMPLETE, 0.5))
    resumed = replace(info, is_resumed=True, key="key")
    recorder = Recorder(
        replace(resumed, tracking_uri=refusing(status)), journal := Journal(tmp_path / "journal")
    )
    wait_until(lambda: str(status) in recorder._trouble, 60)
    [problem] = recorder.close(status="interrupted", best=None, timeout_seconds=0.0)
    assert str(status) in problem
    assert journal.is_left
    recorder = Recorder(resumed, journal := Journal(tmp_path / "journal"))
    assert recorder.close(status="finished", best=0) == []
    assert runs_of(info)[1][0].data.metrics["objective"] == 0.5
    assert not journal.is_left


def test_a_file_that_a_proxy_takes_for_too_large_is_not_sent_again(refusing: Callable[[int], str]) -> None:
    with pytest.raises(OSError, match="413") as caught:
        store("mlflow-artifacts:/1/run/artifacts", refusing(413), "best.ckpt", "large")
    assert is_final(caught.value)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_server_that_drops_requests_and_answers_gets_everything_once(
    info: SweepInfo, unreliable_uri: str, capfd: pytest.CaptureFixture[str]
) -> None:
    recorder = Recorder(replace(info, tracking_uri=unreliable_uri, artifact_location=""))
    wait_until(lambda: recorder._trouble != "")
    recorder.record(assignment(0))
    recorder.record(Report(0, 1, 0.5, points=points("loss", 1_500)))
    recorder.record(Outcome(0, State.COMPLETE, 0.5))
    recorder.record(assignment(1))
    recorder.record(Outcome(1, State.COMPLETE, 0.7))
    assert recorder.close(status="finished", best=0) == []
    assert recorder._trouble == ""
    parent, children = runs_of(info)
    assert history(info, children[0], "loss") == as_history(*points("loss", 1_500))
    client = MlflowClient(unreliable_uri)
    assert [file.path for file in client.list_artifacts(parent.info.run_id, "best")] == ["best/config.yaml"]
    assert capfd.readouterr() == ("", "")


def test_the_users_environment_and_logging_are_as_before(
    info: SweepInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    before = dict(os.environ)
    filters = [list(handler.filters) for handler in logging.getLogger("mlflow").handlers]
    recorder = Recorder(info)
    wait_until(lambda: os.environ.get("MLFLOW_HTTP_REQUEST_MAX_RETRIES") == "0")
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "3"
    assert recorder.close(status="finished", best=None) == []
    assert {name: os.environ.get(name) for name in ENVIRONMENT} == {
        name: before.get(name) for name in ENVIRONMENT
    }
    assert [list(handler.filters) for handler in logging.getLogger("mlflow").handlers] == filters


def test_what_an_earlier_driver_left_has_the_commit_of_that_driver(info: SweepInfo) -> None:
    ledger = Ledger(replace(info, is_resumed=True, trained_with={"c": "new"}, trained_before={"c": "old"}), 0)
    ledger.add(assignment(0), 0, is_replayed=True)
    ledger.add(Report(0, 1, 0.5), 1, is_replayed=True)
    assert ledger.open[0].tags["c"] == "old"
    ledger.add(replace(assignment(0), attempt=1), 2)
    ledger.add(assignment(1), 3)
    assert Text("tag", "c", "new") in ledger.open[0].waiting
    assert ledger.open[1].tags["c"] == "new"
    ledger.add(assignment(2), 4, is_replayed=True)  # it was only drawn
    ledger.add(assignment(2), 5)
    assert ledger.open[2].tags["c"] == "old"
    assert Text("tag", "c", "new") in ledger.open[2].waiting


@pytest.mark.parametrize("is_replayed", [False, True])
def test_what_a_further_attempt_repeats_is_left_out_though_it_waits_unwritten(
    info: SweepInfo, is_replayed: bool
) -> None:
    ledger = Ledger(replace(info, is_resumed=is_replayed), 0)
    first = points("val/loss", 3)
    ledger.add(Report(0, 1, 0.5, points=first), 10, is_replayed=is_replayed)
    if not is_replayed:  # a worker was lost; otherwise the driver was
        ledger.add(Outcome(0, State.FAILED, lost=True), 11)
    ledger.add(Assignment(0, {}, {}, attempt=1), 12)
    again = tuple(replace(point, time_ms=point.time_ms + 999) for point in points("val/loss", 5))
    ledger.add(Report(0, 1, 0.5, points=again), 20)
    waiting = [item for item in ledger.open[0].waiting if isinstance(item, Point)]
    assert waiting == [*first, *again[3:]]
    assert ledger.open[0].status == ""
    assert Text("tag", "attempt", "1") in ledger.open[0].waiting


def test_the_best_value_and_the_counts_follow_the_outcomes(info: SweepInfo) -> None:
    ledger = Ledger(replace(info, direction="maximize"), 0)
    for number, value in enumerate([1.0, 3.0, None, 2.0]):
        state = State.FAILED if value is None else State.COMPLETE
        ledger.add(Outcome(number, state, value), 10)
    noted = [item for item in ledger.parent.waiting if isinstance(item, Point)]
    assert [(p.value, p.step) for p in noted if p.key == "best_value"] == [(1, 1), (3, 2), (3, 3), (3, 4)]
    assert [(p.value, p.step) for p in noted if p.key == "trials_complete"] == [(1, 1), (2, 2), (3, 4)]
    assert [(p.value, p.step) for p in noted if p.key == "trials_failed"] == [(1, 3)]


def test_a_failure_that_is_tried_again_is_none_in_the_end(info: SweepInfo) -> None:
    ledger = Ledger(info, 0)
    ledger.add(Outcome(0, State.FAILED), 10)
    ledger.add(replace(assignment(0), attempt=1), 11)
    ledger.add(Outcome(0, State.COMPLETE, 0.5), 12)
    ledger.add(Ending("finished", 0), 13)
    last = {item.key: item.value for item in ledger.parent.waiting if isinstance(item, Point)}
    assert (last["trials_failed"], last["trials_complete"]) == (0, 1)


def test_the_best_value_and_the_counts_go_on_from_those_of_earlier_drivers(info: SweepInfo) -> None:
    counts = {State.COMPLETE: 2, State.FAILED: 1}
    ledger = Ledger(replace(info, direction="maximize", is_resumed=True, counts=counts, best_value=3.0), 0)
    ledger.add(Outcome(2, State.COMPLETE, 3.0), 10, is_replayed=True)  # the study has counted it
    ledger.add(Outcome(3, State.COMPLETE, 2.0), 10)
    noted = [item for item in ledger.parent.waiting if isinstance(item, Point)]
    assert [(p.key, p.value, p.step) for p in noted] == [("trials_complete", 3, 4), ("best_value", 3, 4)]
    assert "best_trial" not in [item.key for item in ledger.parent.waiting]


def best_tags(info: SweepInfo) -> dict[str, str]:
    client = MlflowClient(info.tracking_uri)
    experiment = client.get_experiment_by_name(info.name)
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    tags = next((run.data.tags for run in runs if "mlflow.parentRunId" not in run.data.tags), {})
    return {key: value for key, value in tags.items() if key.startswith("best")}


def test_the_parent_names_the_best_configuration_while_the_sweep_runs(info: SweepInfo) -> None:
    recorder = Recorder(replace(info, key="same"))
    recorder.record(assignment(0, optimizer="sgd", momentum=0.9))
    recorder.record(Outcome(0, State.COMPLETE, 0.5))
    recorder.record(assignment(1, optimizer="adamw", lr=1e-3))
    recorder.record(assignment(2, optimizer="sgd", momentum=0.1))
    recorder.record(Report(1, 1, 0.4))
    first = {"best_trial": "0", "best.optimizer": "sgd", "best.momentum": "0.9"}
    wait_until(lambda: best_tags(info) == first)
    recorder.record(Outcome(1, State.COMPLETE, 0.4))
    recorder.record(Outcome(2, State.PRUNED, 0.1))
    second = {"best_trial": "1", "best.optimizer": "adamw", "best.lr": "0.001"}
    wait_until(lambda: best_tags(info) == second)  # and no momentum, which the second one has not
    recorder.close(status="interrupted", best=1)
    assert best_tags(info) == second
    assert runs_of(info)[0].info.status == "KILLED"
    resumed = Recorder(replace(info, key="same", is_resumed=True, best_value=0.4))
    wait_until(lambda: runs_of(info)[0].info.status == "RUNNING")
    resumed.record(assignment(3, optimizer="sgd", momentum=0.5))
    resumed.record(Outcome(3, State.COMPLETE, 0.3))
    assert resumed.close(status="finished", best=3) == []
    assert best_tags(info) == {"best_trial": "3", "best.optimizer": "sgd", "best.momentum": "0.5"}


@pytest.mark.parametrize(
    ("items", "length"),
    [
        pytest.param([Point("loss", 0.0, 0, 0)] * 1_500, 1_000, id="metrics"),
        pytest.param([Text("param", "lr", "1")] * 101, 100, id="params"),
        pytest.param([Text("tag", "lr", "é" * 6_000)] * 50, 24, id="bytes"),
        pytest.param([], 0, id="nothing"),
    ],
)
def test_a_batch_keeps_to_mlflows_limits(items: list[Point | Text], length: int) -> None:
    assert batch_length(items) == length


def test_a_long_text_is_cut_with_an_ellipsis() -> None:
    assert [cut("abcd", length) for length in (3, 4)] == ["ab…", "abcd"]


def test_long_values_that_begin_alike_stay_two_values() -> None:
    one, other = shown("a" * 7_000 + "1"), shown("a" * 7_000 + "2")
    assert one != other
    assert len(one) == len(other) == PARAM_LENGTH
    assert shown("a" * PARAM_LENGTH) == "a" * PARAM_LENGTH
