"""What other terminals do with a running sweep, with real processes."""

import contextlib
import io
import itertools
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from rich.console import Console

from dashboards import load
from dashboards.runs import find_parent
from sweeps.control import LEASE_SECONDS, Lease, LeaseLost, find_driver, living_driver, send
from sweeps.driver import drive
from sweeps.errors import UserError
from sweeps.executors.scripted import ScriptedExecutor
from sweeps.planning.places import Places
from sweeps.planning.resumption import going_on
from sweeps.preparing import preparation, preparing
from sweeps.records import News, Outcome, Request, State
from sweeps.runner import obey, run
from sweeps.storages.storage import open_storage
from sweeps.study.persistence import create_study, loaded_spec, name_taken
from sweeps.study.study import Study
from sweeps.sweep import resume_sweep
from sweeps.terminal.commands import _takes_resume, ask, ask_of_trial, end_pause, parse_changes
from sweeps.terminal.watch import watch
from tests import fakes
from tests.browser import wait_for
from tests.chaos.checker import check
from tests.chaos.instants import sweep_file
from tests.conftest import typed
from tests.live_sweeps import places_in


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sweep_file(tmp_path)
    return tmp_path


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "sweeps.cli", *arguments], cwd=folder,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()


def status(folder: Path) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(typed("status", "chaos", "--json", folder=folder).stdout)
    return answer


def counts(folder: Path) -> dict[str, int]:
    answer: dict[str, int] = status(folder)["summary"]["counts"]
    return answer


def finished_of(folder: Path) -> int:
    return counts(folder)["finished"]


def nothing_ends(folder: Path) -> bool:
    """Whether no trial ends for longer than one takes; those drawn ahead are running in the study."""
    before = finished_of(folder)
    time.sleep(4)
    return finished_of(folder) == before


def last_report(folder: Path) -> str:
    """What MLflow has of the report of the sweep `chaos`."""
    parent = find_parent(load(folder / "sweeps.db", "chaos"))
    assert parent.folder is not None
    return (parent.folder / "report.html").read_text()


def wait_until_it_trains(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if "] trial " in line:
            return
    raise AssertionError(process.communicate())


def test_a_running_sweep_does_what_other_terminals_ask(
    folder: Path, start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    process = start("launch", "chaos.yaml", "--trials", "1000", "--set", "model.init_args.seconds=0.5")
    wait_until_it_trains(process)
    refused = typed("resume", "chaos", "--trials", "+1", folder=folder, code=2)
    assert f"chaos is being run by process {process.pid} on " in refused.stderr
    assert "`sweeps update chaos trials=N` changes its budget" in refused.stderr
    assert typed("update", "chaos", "trials=900", folder=folder).stdout == "chaos goes on with trials=900\n"
    wait_for(lambda: counts(folder)["running"] == os.cpu_count() and counts(folder)["waiting"] > 0)
    running = status(folder)["trials"][-1]["number"]  # or drawn: it is there for a while
    killed = typed("trial", "kill", "chaos", str(running), folder=folder)
    assert killed.stdout == f"chaos: trial {running} ends, and counts as failed\n"
    wait_for(lambda: counts(folder)["failed"] == 1)
    [failed] = [t for t in status(folder)["trials"] if t["state"] == "failed"]
    assert failed["reason"] == "killed by `sweeps trial kill`"
    assert "Trainer" in typed("logs", "chaos", "0", folder=folder).stdout
    followed = typed("logs", "chaos", "1", "--follow", folder=folder).stdout  # which ends with the trial
    assert "`Trainer.fit` stopped" in followed
    typed("logs", "chaos", folder=folder)  # not of a trial that is only drawn
    nothing = typed("resume", "chaos", folder=folder, code=2).stderr
    assert nothing.startswith(f"sweeps: chaos is being run by process {process.pid} on ")
    assert "and is not paused, so there is nothing to resume" in nothing
    typed("pause", "chaos", folder=folder)
    wait_for(lambda: nothing_ends(folder), 60)
    assert status(folder)["summary"]["state"] == "paused"
    paused_at = finished_of(folder)
    goes_on = typed("resume", "chaos", folder=folder).stdout
    assert goes_on.startswith(f"chaos is being run by process {process.pid} on ")
    wait_for(lambda: finished_of(folder) > paused_at, 60)
    assert status(folder)["summary"]["state"] == "running"
    typed("stop", "chaos", folder=folder)
    assert process.wait(60) == 0
    assert status(folder)["summary"]["state"] == "interrupted"
    assert "interrupted, started" in last_report(folder)
    assert "chaos is not running" in typed("stop", "chaos", folder=folder, code=2).stderr


def test_a_sweep_stopped_at_once_goes_on_where_it_was(
    ray_cluster: None, folder: Path, start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    process = start("launch", "chaos.yaml", "--trials", "1000", "--set", "concurrency=1")
    wait_until_it_trains(process)
    typed("stop", "chaos", "--now", folder=folder)
    assert process.wait(30) == 0
    assert "interrupted, started" in last_report(folder)
    finished = finished_of(folder)
    typed("resume", "chaos", "--trials", str(finished + 4), folder=folder)
    check(folder, "chaos", trials=finished + 4, epochs=5, batches=8, log_every=4)
    nothing = typed("resume", "chaos", folder=folder)
    assert "its budget of" in nothing.stderr
    assert "asks for more" in nothing.stderr
    assert nothing.stdout == ""  # such as that workers start


def a_study(folder: Path, name: str = "s") -> tuple[optuna.Study, str]:
    url = f"sqlite:///{folder}/s.db"
    return optuna.create_study(study_name=name, storage=open_storage(url)), url


def test_a_lease_is_refused_while_another_holds_it_and_free_once_released(tmp_path: Path) -> None:
    study, url = a_study(tmp_path)
    first, second = Lease(study, url), Lease(study, url)
    first.claim()
    with pytest.raises(UserError, match=r"s is being run by process \d+ on "):
        second.claim()
    first.release()
    second.claim()
    second.release()


DRIVER = """
import platform, sys, time
import optuna
import sweeps.control
from sweeps.control import Lease
from sweeps.storages.storage import open_storage
sweeps.control.BEAT_SECONDS = 0.2  # nobody waits for it here
shift, now = float(sys.argv[2]), time.time
time.time = lambda: now() + shift
platform.node = lambda: sys.argv[3]
url = f"sqlite:///{sys.argv[1]}/s.db"
lease = Lease(optuna.load_study(study_name="s", storage=open_storage(url)), url)
lease.claim()
print("claimed", flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def driver(folder: Path, ahead: float, host: str) -> Iterator["subprocess.Popen[str]"]:
    """Another process that drives the study `s`, with a clock that is so many seconds ahead."""
    command = [sys.executable, "-c", DRIVER, str(folder), str(ahead), host]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "claimed\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("ahead", [3600.0, -3600.0])
def test_a_driver_on_a_machine_with_another_clock_has_the_lease_until_it_is_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    monkeypatch.setattr("sweeps.control.LEASE_SECONDS", 2.0)
    study, url = a_study(tmp_path)
    with driver(tmp_path, ahead, "elsewhere") as process:
        with pytest.raises(UserError, match=f"s is being run by process {process.pid} on elsewhere"):
            Lease(study, url).claim()
        send(study, "stop")
        process.kill()
        process.wait()
        began = time.monotonic()
        second = Lease(study, url)
        with pytest.raises(UserError):  # it may be held up
            second.claim()
        wait_for(lambda: find_driver(study) is None)
        assert time.monotonic() - began < LEASE_SECONDS
        second.claim()
        second.release()


def test_of_a_driver_elsewhere_that_has_just_died_a_resumption_waits_for_a_sign_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.control.LEASE_SECONDS", 2.0)
    url, said = f"sqlite:///{tmp_path}/s.db", list[str]()
    study = create_study(fakes.spec(name="s"), open_storage(url), validations=4)
    with driver(tmp_path, 0.0, "elsewhere") as process:
        process.kill()
        process.wait()
        study.set_user_attr("driver", study.user_attrs["driver"] | {"beat": time.time()})
        assert end_pause("s", url, said.append) == ""
        assert said == [
            f"s was run by process {process.pid} on elsewhere; looking for up to 2 s whether it lives"
        ]
        assert find_driver(study) is None
        with Lease(study, url).held():
            assert study.user_attrs["driver"]["pid"] == os.getpid()


def test_a_sweep_that_runs_elsewhere_is_resumed_only_if_it_is_paused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    study = create_study(fakes.spec(name="s"), open_storage(url), validations=4)
    with driver(tmp_path, 0.0, "elsewhere") as process:
        runs = f"s is being run by process {process.pid} on elsewhere"
        for held in ("pause", "stop"):
            with pytest.raises(UserError, match=f"{runs} and is not paused, so there is nothing to resume; "):
                end_pause("s", url)
            send(study, held)
            assert end_pause("s", url) == f"{runs}, which goes on with it"
            wait_for(lambda: not study.user_attrs["driver"]["held_by"])


def test_a_pause_that_was_asked_for_where_the_clock_is_behind_is_one_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.control.BEAT_SECONDS", 0.2)
    url = f"sqlite:///{tmp_path}/s.db"
    study = create_study(fakes.spec(name="s"), open_storage(url), validations=4)
    lease = Lease(study, url)
    with lease.held():
        long_ago = {"command": "pause", "arguments": {}, "sent_ns": 1}
        study.set_user_attr("request:1", long_ago)
        wait_for(lambda: study.user_attrs["driver"]["held_by"] == "pause")
        assert "which goes on with it" in end_pause("s", url)
        wait_for(lambda: not study.user_attrs["driver"]["held_by"])
        for command in ("stop", "pause"):  # a stop stays one
            send(study, command)
        wait_for(lambda: study.user_attrs["driver"]["held_by"] == "stop")


def test_a_request_that_cannot_be_read_does_not_cost_the_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.control.BEAT_SECONDS", 0.1)
    study, url = a_study(tmp_path)
    with Lease(study, url).held():
        study.set_user_attr("request:1", {"command": "pause"})
        time.sleep(0.3)
        beat = study.user_attrs["driver"]["beat"]
        wait_for(lambda: study.user_attrs["driver"]["beat"] > beat)


def test_what_is_asked_for_while_a_beat_is_written_is_in_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    study = create_study(fakes.spec(name="s"), open_storage(url), validations=4)
    written = {"host": "elsewhere", "pid": 1, "id": "x", "is_ending": False}
    beats = iter([{"beat": 1.0}, {"beat": 2.0}, {"beat": 3.0, "held_by": "pause"}])
    driver = written | next(beats)

    def look(_: float) -> None:
        study.set_user_attr("driver", written | next(beats))

    monkeypatch.setattr("sweeps.terminal.commands.time.sleep", look)
    assert _takes_resume(study, driver)


def test_a_dead_driver_on_this_machine_loses_the_lease_at_once_though_the_clock_was_set_back(
    tmp_path: Path,
) -> None:
    study, url = a_study(tmp_path)
    with driver(tmp_path, 3600.0, platform.node()) as process:
        assert find_driver(study) is not None
        process.kill()
        process.wait()
        assert living_driver(study.user_attrs) is None
        lease = Lease(study, url)
        lease.claim()
        lease.release()


def test_a_driver_before_with_the_number_of_this_process_is_dead(tmp_path: Path) -> None:
    study, url = a_study(tmp_path)
    before = {"host": platform.node(), "pid": os.getpid(), "id": "before", "beat": time.time()}
    study.set_user_attr("driver", before)
    lease = Lease(study, url)
    lease.claim()  # as in a container that restarts
    assert find_driver(study) == study.user_attrs["driver"]
    lease.release()


@pytest.mark.parametrize("pid", [os.getpid(), 2**22 - 3], ids=["a number as ours", "a number that is free"])
def test_a_driver_in_a_container_with_this_machines_name_is_judged_by_its_beats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pid: int
) -> None:
    study, _ = a_study(tmp_path)
    beats = itertools.count()

    def beat(_: float) -> None:
        held = {"host": platform.node(), "space": "a container", "pid": pid, "id": f"of {pid}"}
        study.set_user_attr("driver", held | {"beat": time.time() + next(beats)})

    beat(0.0)
    assert living_driver(study.user_attrs) is not None
    monkeypatch.setattr(time, "sleep", beat)
    assert find_driver(study) == study.user_attrs["driver"]
    assert next(beats) == 2  # one look more
    monkeypatch.setattr("sweeps.control.LEASE_SECONDS", 0.0)  # and then it is dead
    assert find_driver(study) is None


def test_a_container_that_is_started_again_goes_on_once_its_driver_before_is_seen_to_be_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.control.LEASE_SECONDS", 1.0)
    study, url = a_study(tmp_path)
    before = {"host": platform.node(), "space": "before", "pid": 1, "id": "before it", "beat": time.time()}
    study.set_user_attr("driver", before)
    with Lease(study, url).held():
        assert study.user_attrs["driver"]["id"] != "before it"


def test_of_a_new_beat_nobody_waits_for_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, _ = a_study(tmp_path)
    held = {"host": "elsewhere", "pid": 7, "id": "other", "beat": time.time()}
    study.set_user_attr("driver", held)
    monkeypatch.setattr(time, "sleep", pytest.fail)
    assert find_driver(study) == held


def test_a_driver_that_was_held_up_leaves_the_sweep_to_the_one_that_took_it(tmp_path: Path) -> None:
    study, url = a_study(tmp_path)
    held_up = Lease(study, url)
    held_up.claim()
    other = study.user_attrs["driver"] | {"host": "elsewhere", "pid": 7, "id": "other", "beat": time.time()}
    study.set_user_attr("driver", other)
    wait_for(lambda: held_up.is_lost)
    with pytest.raises(LeaseLost, match="s is being run by process 7 on elsewhere now, since this one was"):
        held_up.requests()
    held_up.release()
    assert study.user_attrs["driver"] == other


def test_a_driver_that_was_held_up_until_its_end_leaves_the_lease_to_the_one_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.control.BEAT_SECONDS", 60.0)  # so it has no look of its own before
    study, url = a_study(tmp_path)
    held_up = Lease(study, url)
    held_up.claim()
    other = study.user_attrs["driver"] | {"id": "other"}
    study.set_user_attr("driver", other)
    held_up.release()
    assert study.user_attrs["driver"] == other


@pytest.mark.parametrize("instant", ["before the first trial", "while it trains", "at its end"])
def test_whatever_ends_a_sweep_its_lease_is_not_renewed_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instant: str
) -> None:
    spec = fakes.spec(budget={"trials": 3}, files=str(tmp_path / "files"))
    url, uri = f"sqlite:///{tmp_path}/s.db", f"sqlite:///{tmp_path}/mlflow.db"
    where = Places(url, uri, str(tmp_path / "artifacts"), tmp_path / "files")
    study = create_study(spec, open_storage(url), validations=4, notes={"mlflow": {"key": "key"}})
    executor, before = ScriptedExecutor(fakes.falling, slots=2, length=4), {*threading.enumerate()}

    def cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    if instant == "before the first trial":
        monkeypatch.setattr("sweeps.driver.TrialFiles", cut)
    elif instant == "while it trains":
        monkeypatch.setattr(executor, "submit", cut)
    else:
        monkeypatch.setattr(executor, "close", cut)
    with pytest.raises(KeyboardInterrupt):
        drive(study, spec, where, executor, [])
    assert living_driver(study.user_attrs) is None
    assert not any(thread.name == "lease" for thread in {*threading.enumerate()} - before)


@pytest.mark.parametrize(("slept", "lock"), [(0.0, []), (LEASE_SECONDS, ["lock"])])
def test_a_beat_after_the_machine_slept_is_late_though_only_the_wall_clock_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slept: float, lock: list[str]
) -> None:
    study, url = a_study(tmp_path)
    lease, locks, now = Lease(study, url), list[str](), time.time()
    lease._beat()
    monkeypatch.setattr(time, "time", lambda: now + slept)
    monkeypatch.setattr(
        "sweeps.control.database_lock", lambda _: contextlib.nullcontext(locks.append("lock"))
    )
    lease._renew()
    assert locks == lock
    assert study.user_attrs["driver"]["beat"] == now + slept


def test_a_sweep_whose_lease_is_lost_writes_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.control.BEAT_SECONDS", 0.1)
    spec = fakes.spec(budget={"trials": 1000}, files=str(tmp_path / "files"))
    url, uri = f"sqlite:///{tmp_path}/s.db", f"sqlite:///{tmp_path}/mlflow.db"
    where = Places(url, uri, str(tmp_path / "artifacts"), tmp_path / "files")
    study = create_study(spec, open_storage(url), validations=4, notes={"mlflow": {"key": "key"}})

    class TakenOver:
        def record(self, event: News) -> None:
            if isinstance(event, Outcome) and event.number >= 2:  # one may fall between a look and a beat
                study.set_user_attr("driver", study.user_attrs["driver"] | {"id": "other"})

    with pytest.raises(LeaseLost):
        drive(study, spec, where, ScriptedExecutor(fakes.falling, slots=2, length=4), [TakenOver()])
    assert study.user_attrs["sweep_state"] == "running"
    assert study.user_attrs["driver"]["id"] == "other"
    assert any(trial.state is optuna.trial.TrialState.RUNNING for trial in study.trials)
    assert list((tmp_path / "files" / "journal").iterdir())


def test_requests_reach_the_driver_once_and_only_the_living_one(tmp_path: Path) -> None:
    study, url = a_study(tmp_path)
    with pytest.raises(UserError, match="s is not running; `sweeps resume s` goes on with it"):
        send(study, "stop", now=True)
    lease = Lease(study, url)
    lease.claim()
    send(study, "update", trials=5)
    wait_for(lambda: (found := lease.requests()) and found[0].arguments == {"trials": 5})
    assert lease.requests() == []
    lease.release()
    again = Lease(study, url)
    again.claim()
    time.sleep(0.1)
    assert again.requests() == []
    again.release()


def test_what_is_updated_holds_for_a_resumption_too() -> None:
    study = fakes.study(fakes.spec(concurrency=2))
    executor = ScriptedExecutor(fakes.falling, slots=2, length=4)
    obey(Request("update", {"concurrency": 1, "trials": 7}), study, executor)
    spec = loaded_spec(fakes.optuna_study(study))
    assert (spec.concurrency, spec.budget.trials) == (1, 7)


def test_what_cannot_be_asked_of_a_trial_is_said_and_does_not_end_the_sweep(tmp_path: Path) -> None:
    spec, database = fakes.spec(), str(tmp_path / "s.db")
    url = f"sqlite:///{database}"
    inner = create_study(spec, open_storage(url), validations=4, notes={"files": str(tmp_path)})
    study = Study(inner, spec)
    executor = ScriptedExecutor(fakes.falling, slots=2, length=4)
    run(study, executor)
    running = study._study.ask().number
    inner.enqueue_trial({"x": 0.5})
    lease = Lease(inner, url)
    lease.claim()
    for command, number, reason in (
        ("kill", 0, "trial 0 has ended already"),
        ("kill", running + 1, f"trial {running + 1} has not begun yet"),
        ("kill", 99, f"has no trial 99; it has 0 to {running + 1}"),
        ("retry", running, f"trial {running} has not ended, so it cannot be tried again"),
        ("retry", -1, f"has no trial -1; it has 0 to {running + 1}"),
    ):
        with pytest.raises(UserError, match=reason):
            ask_of_trial(spec.name, database, command, number)
    assert lease.requests() == []
    lease.release()
    obey(Request("retry", {"number": 99}), study, executor)
    obey(Request("kill", {"number": 99}), study, executor)


@pytest.mark.parametrize(
    ("rule", "budget", "to_type"),
    [
        (None, {"trials": 8}, "sweeps resume test"),
        ({"no_improvement_for": 2}, {"trials": 8}, "sweeps resume test --trials {}"),
        (None, {"hours": 1}, "sweeps resume test --trials {}"),  # which are used
    ],
)
def test_trials_of_a_sweep_that_nobody_runs_are_tried_again_by_the_next_resumption(
    tmp_path: Path, rule: dict[str, Any] | None, budget: dict[str, int], to_type: str
) -> None:
    spec, database = fakes.spec(budget={"trials": 8}, stop_when=rule), str(tmp_path / "s.db")
    url = f"sqlite:///{database}"
    inner = create_study(spec, open_storage(url), validations=4, notes={"files": str(tmp_path)})
    run(ended := Study(inner, spec), ScriptedExecutor(fakes.falling, slots=2, length=4))
    ended.end("finished")
    inner.set_user_attr("spec", inner.user_attrs["spec"] | {"budget": budget})
    inner.set_user_attr("driver", {"id": "before", "beat": 0, "ran_seconds": 3600.0})
    assert ask_of_trial("test", database, "retry", 1) == to_type.format(ended.finished + 1)
    assert ask_of_trial("test", database, "retry", 0) == to_type.format(ended.finished + 2)
    trials = str(ended.finished + 2) if "{}" in to_type else None
    resumed = Study(inner, going_on(inner, trials, None))
    resumed.adopt()
    run(resumed, ScriptedExecutor(fakes.falling, slots=2, length=4))
    assert resumed.finished == ended.finished + 2
    there = inner.get_trials()
    assert [trial.params for trial in there[-2:]] == [there[1].params, there[0].params]


def test_changes_are_read_from_the_command_line() -> None:
    assert parse_changes(["trials=200", "hours=1.5", "concurrency=4"]) == {
        "trials": 200, "hours": 1.5, "concurrency": 4
    }  # fmt: skip


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("trial=2", "trial=2: unknown key, did you mean 'trials'?; "
                    "a running sweep takes trials, hours, concurrency"),
        ("trials=0.5", "trials=0.5: must be a whole number"),
        ("hours=-1", "hours=-1: must be a number greater than 0"),
        ("hours=nan", "hours=nan: must be a number greater than 0"),
        ("hours", "hours: must be a number"),
    ],
)  # fmt: skip
def test_a_change_that_is_none_is_refused(item: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        parse_changes([item])
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("budget", "trials", "there_will_be"),
    [
        ({"trials": 10}, "+2", 12),
        ({"trials": 10}, "12", 12),
        ({"hours": 1}, "+2", 5),
        ({"hours": 1}, "12", 12),
    ],
)
def test_a_sweep_goes_on_with_so_many_trials_more(
    budget: dict[str, float], trials: str, there_will_be: int
) -> None:
    study = fakes.study(fakes.spec(budget=budget))
    for _ in range(3):
        assignment = study.ask()
        assert assignment is not None
        study.tell(Outcome(assignment.number, State.COMPLETE, 0.5))
    study.ask()  # one that its driver left running is none yet
    assert going_on(fakes.optuna_study(study), trials, None).budget.trials == there_will_be


def test_a_sweep_that_hours_limit_goes_on_with_as_many_and_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/sweeps.db"
    spec, there = fakes.spec(budget={"hours": 2}), str(tmp_path)
    mlflow = {"tracking_uri": f"sqlite:///{there}/mlflow.db", "artifacts": there}
    notes = {"files": there, "spool": there, "mlflow": mlflow}
    inner = create_study(spec, open_storage(url), validations=4, notes=notes)
    study = Study(inner, spec)
    study.end("interrupted")
    assert going_on(inner, None, 1.5).budget.hours == 1.5
    again = going_on(inner, None, None).budget
    assert (again.trials, again.hours) == (None, 2)
    study.change(budget=again)
    assert loaded_spec(inner).budget == again
    study.end("finished")
    with pytest.raises(UserError, match="test: its budget of 2 hours is used; `--hours N` asks for N more"):
        resume_sweep("test", storage=url)


@pytest.mark.parametrize(
    ("trials", "hours"), [("²", None), ("+0", None), ("9" * 5000, None), (None, float("nan")), (None, -1.0)]
)
def test_a_budget_that_is_none_is_refused(trials: str | None, hours: float | None) -> None:
    with pytest.raises(UserError, match=r"^--(trials|hours): "):
        going_on(fakes.optuna_study(fakes.study()), trials, hours)


def test_what_is_said_of_a_sweep_can_be_typed_whatever_its_name(tmp_path: Path) -> None:
    name, url = "it's $5 {0}", f"sqlite:///{tmp_path}/sweeps.db"
    study = create_study(fakes.spec(name=name), open_storage(url), validations=4)
    said = [name_taken(name)]
    with pytest.raises(UserError) as idle:
        send(study, "pause")
    lease = Lease(study, url)
    with lease.held(), pytest.raises(UserError) as busy:
        Lease(study, url).claim()
    with preparing(name, url):
        said.append(preparation(name, url))
    out = io.StringIO()
    study.set_user_attr("sweep_state", "interrupted")
    with pytest.raises(UserError) as over:
        watch(name, url, Console(file=out))
    said += [str(error.value) for error in (idle, busy, over)]
    typed = [shlex.split(command) for line in said for command in re.findall("`(sweeps .*?)`", line)]
    assert len(typed) == 8
    assert all(words[1] == "launch" or words[2:] in ([name], []) for words in typed)
    assert [words[-1] for words in typed if words[1] == "launch"] == [f"{name}-2"]


class Closing(ScriptedExecutor):
    """Sends a request when the loop is over, and keeps what was said to it."""

    said = url = ""

    def close(self) -> None:
        """As another terminal would."""
        with pytest.raises(UserError) as caught:
            ask("test", self.url, "update", trials=200)
        self.said = str(caught.value)
        super().close()


def test_a_sweep_that_is_ending_promises_nothing_more(tmp_path: Path) -> None:
    where, spec = places_in(tmp_path), fakes.spec(budget={"trials": 1})
    mlflow = {"tracking_uri": where.tracking_uri, "experiment": "test", "key": "key", "artifacts": ""}
    study = create_study(spec, open_storage(where.storage), validations=4, notes={"mlflow": mlflow})
    executor = Closing(fakes.falling, slots=1, length=4)
    executor.url = where.storage
    drive(study, spec, where, executor, [])
    assert executor.said == (
        "test is ending, and takes no further request; once it has, `sweeps resume test` goes on with it"
    )


def test_requests_come_in_the_order_in_which_they_were_sent(tmp_path: Path) -> None:
    lease = Lease(*a_study(tmp_path))
    sent = [("request:b", "pause", 1), ("request:a", "resume", 2), ("request:c", "stop", 3)]
    lease._read_requests(
        {key: {"command": name, "arguments": {}, "sent_ns": at} for key, name, at in reversed(sent)}
    )
    assert [request.command for request in lease.requests()] == ["pause", "resume", "stop"]
