"""`sweeps watch`: what launch shows, seen from another process; a reader's eyes only."""

import hashlib
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from dashboards import load
from sweeps.control import Lease, send
from sweeps.errors import SweepFailed, UserError
from sweeps.interruption import Interrupted
from sweeps.preparing import preparing
from sweeps.records import Outcome, Report, Started, State, Timing
from sweeps.storages.storage import open_storage
from sweeps.study.persistence import create_study
from sweeps.study.study import Study
from sweeps.sweep_file.sections import Budget
from sweeps.terminal.watch import watch
from tests import fakes
from tests.browser import wait_for


class Driver:
    """A sweep in a database, driven by hand."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/sweeps.db"
        self.inner = create_study(fakes.spec(), open_storage(self.url), validations=4)
        self.study = Study(self.inner, fakes.spec())

    def end_trial(self, state: State, value: float | None = None, reason: str = "") -> None:
        assignment = self.study.ask()
        assert assignment is not None
        self.study.should_stop(Report(assignment.number, 1, 0.9))
        self.study.tell(
            Outcome(assignment.number, state, value, reason=reason, timing=Timing(slot_seconds=1.5))
        )


def watched(url: str, pause: Callable[[], object] = pytest.fail, terminal: bool = False) -> str:
    """What is shown; `pause` does what happens between two looks."""
    out = StringIO()
    console = Console(file=out, width=160, force_terminal=terminal, color_system=None)
    try:
        watch("test", url, console, pause=pause)
    except SweepFailed as error:
        out.write(f"raised: {error}")
    return out.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_it_shows_what_ends_until_the_sweep_does(tmp_path: Path, terminal: bool) -> None:
    driver = Driver(tmp_path)
    lease = Lease(driver.inner, driver.url)
    lease.claim()
    driver.end_trial(State.COMPLETE, 0.5)
    driver.end_trial(State.FAILED, reason="before anybody looked")

    def drive() -> None:
        driver.end_trial(State.COMPLETE, 0.25)
        driver.end_trial(State.DIVERGED, reason="loss became NaN")
        driver.study.end("finished")

    text = watched(driver.url, drive, terminal)
    lease.release()
    assert "before anybody looked" not in text
    if terminal:
        last = text[text.rindex("4/10 finished") :]
        assert "0 running  1 diverged  1 failed" in last
        assert "best loss 0.25  trial 2  x=" in last
    else:
        first, second, _ = text.splitlines()
        assert first.startswith("[3/10] trial 2 complete  loss 0.25  best so far  1.5 s  x=")
        assert second.startswith("[4/10] trial 3 diverged  loss 0.9  loss became NaN  1.5 s  x=")
    assert "test is finished; `sweeps status test` shows it" in text


def test_a_resumed_sweep_is_watched_with_what_ended_before_and_its_new_budget(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    driver.end_trial(State.COMPLETE, 0.5)
    lease = Lease(driver.inner, driver.url)
    lease.claim()
    mark = driver.inner.user_attrs["lightning_sweeps"]
    created = datetime.now(UTC) + timedelta(minutes=1)  # after that trial; so no time has passed since
    driver.inner.set_user_attr(
        "lightning_sweeps", mark | {"resumed": [{"created": created.isoformat(timespec="seconds")}]}
    )

    def drive() -> None:
        driver.study.change(budget=Budget(trials=12))
        driver.end_trial(State.COMPLETE, 0.25)
        driver.study.end("finished")

    text = watched(driver.url, drive, terminal=True)
    lease.release()
    assert "2/12 finished" in text
    assert "3,600,000 trials/h" in text  # one in a thousandth of a second
    assert "best loss 0.25  trial 1" in text


def test_a_pause_is_seen_until_it_ends_and_not_one_of_an_earlier_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.control.BEAT_SECONDS", 0.2)
    driver = Driver(tmp_path)
    early = {"command": "pause", "arguments": {}, "sent_ns": time.time_ns() - 3600 * 10**9}
    driver.inner.set_user_attr("request:early", early)
    lease = Lease(driver.inner, driver.url)
    lease.claim()
    states = [load(tmp_path / "sweeps.db", "test").summary.state]

    def drive() -> None:
        if len(states) == 3:
            driver.study.end("finished")
            return
        beat = driver.inner.user_attrs["driver"]["beat"]
        send(driver.inner, "pause" if len(states) == 1 else "resume")
        wait_for(lambda: driver.inner.user_attrs["driver"]["beat"] != beat)
        states.append(load(tmp_path / "sweeps.db", "test").summary.state)

    text = watched(driver.url, drive)
    lease.release()
    assert states == ["running", "paused", "running"]
    assert text.splitlines()[:2] == ["paused, `sweeps resume test` goes on", "the pause is over"]


@pytest.mark.parametrize("drawn", [2, 3])
def test_a_trial_that_is_only_drawn_does_not_run(tmp_path: Path, drawn: int) -> None:
    driver = Driver(tmp_path)
    lease = Lease(driver.inner, driver.url)
    for _ in range(drawn):
        assignment = driver.study.ask()
        assert assignment is not None
        if assignment.number < 2:
            lease.record(Started(assignment.number, 0.0))
    lease.claim()
    looks = []

    def drive() -> None:
        looks.append(0)
        if len(looks) == 2:
            driver.study.end("finished")

    assert "2 running" in watched(driver.url, drive, terminal=True)
    lease.release()


def test_a_driver_that_is_gone_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.control.LEASE_SECONDS", 0.1)
    driver = Driver(tmp_path)
    beat = time.time() + 3600  # by another clock
    driver.inner.set_user_attr("driver", {"host": "elsewhere", "pid": 7, "id": "gone", "beat": beat})
    text = watched(driver.url, pause=lambda: time.sleep(0.2))
    assert text == (
        "raised: test: its driver, process 7 on elsewhere, is gone; `sweeps resume test` goes on with it"
    )


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("interrupted", "test is not running, it is interrupted; `sweeps status test` shows it"),
        ("finished", "test is not running, it is finished; `sweeps status test` shows it"),
    ],
)
def test_a_sweep_that_does_not_run_is_refused_and_untouched(tmp_path: Path, state: str, said: str) -> None:
    driver = Driver(tmp_path)
    driver.study.end(state)  # type: ignore[arg-type]
    before = hashlib.sha256((tmp_path / "sweeps.db").read_bytes()).hexdigest()
    with pytest.raises(UserError) as caught:
        watched(driver.url)
    assert str(caught.value) == said
    assert hashlib.sha256((tmp_path / "sweeps.db").read_bytes()).hexdigest() == before


def test_a_stopped_sweep_can_go_on_and_ctrl_c_ends_the_watching_only(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    driver.inner.set_user_attr("driver", {"host": "elsewhere", "pid": 7, "id": "other", "beat": time.time()})

    def stopped() -> None:
        driver.study.end("interrupted")

    assert watched(driver.url, stopped) == "test was stopped; `sweeps resume test` goes on with it\n"
    driver.study.end("running")

    def interrupted() -> None:
        raise Interrupted

    assert watched(driver.url, interrupted) == ""


def test_a_launch_that_has_no_trial_yet_is_waited_for(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/sweeps.db"
    drivers: list[Driver] = []
    looks = ExitStack()
    ready = looks.enter_context(preparing("test", url))
    lease = ExitStack()

    def drive() -> None:
        if not drivers:
            drivers.append(Driver(tmp_path))
            lease.enter_context(Lease(drivers[0].inner, url).held())
            ready()
        else:
            drivers[0].study.end("finished")

    with looks, lease:
        text = watched(url, drive)
    first, last = text.splitlines()
    assert first == "test is being prepared, and has no trial yet ..."
    assert last.startswith("test is finished")


def test_a_sweep_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no sweep 'test'"):
        watched(f"sqlite:///{tmp_path}/sweeps.db")
    assert list(tmp_path.iterdir()) == []
