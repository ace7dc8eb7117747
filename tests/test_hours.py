"""The hours of a budget are those in which a driver ran, whichever; the time between them does not count."""

import io
from pathlib import Path
from typing import Any

import optuna
import pytest
from rich.console import Console

import dashboards
from dashboards import tables
from sweeps.control import Lease
from sweeps.driver import drive
from sweeps.errors import UserError
from sweeps.executors.scripted import ScriptedExecutor
from sweeps.planning.resumption import continued, going_on, notes_of
from sweeps.provenance import run_with
from sweeps.records import Outcome, State
from sweeps.storages.storage import open_storage
from sweeps.study.hours import are_used, earlier_seconds, ran_seconds
from sweeps.study.persistence import create_study, load_study
from sweeps.study.study import Study
from sweeps.terminal.progress import Progress
from sweeps.terminal.watch import watch
from tests import fakes
from tests.clusters import wait_for
from tests.live_sweeps import places_in
from tests.test_study import Clock

HOUR = 3600.0


def a_study(
    folder: Path, budget: dict[str, Any], ran: float = 0.0, state: str = "interrupted"
) -> optuna.Study:
    """A sweep that ran for so many seconds."""
    where = places_in(folder)
    mlflow = {"tracking_uri": where.tracking_uri, "experiment": "test", "key": "key", "artifacts": ""}
    notes = {"files": str(where.files), "spool": str(where.files), "mlflow": mlflow}
    study = create_study(fakes.spec(budget=budget), open_storage(where.storage), validations=4, notes=notes)
    study.set_user_attr("driver", {"id": "before", "beat": 0, "ran_seconds": ran})
    study.set_user_attr("sweep_state", state)
    return study


def test_each_driver_counts_on_and_one_that_is_killed_has_counted_until_its_last_beat(tmp_path: Path) -> None:
    study, url = a_study(tmp_path, {"hours": 2}, HOUR), places_in(tmp_path).storage
    with Lease(study, url).held():
        assert earlier_seconds(study.user_attrs) == HOUR
        wait_for(lambda: ran_seconds(study.user_attrs) > HOUR)
        beaten = ran_seconds(study.user_attrs)  # what a kill would leave
    ended = ran_seconds(study.user_attrs)
    assert beaten < ended
    with Lease(study, url).held():
        assert earlier_seconds(study.user_attrs) == ended
        killed = study.user_attrs["driver"] | {"id": "killed", "pid": 2**22 - 3, "ran_seconds": 2 * HOUR}
    study.set_user_attr("driver", killed)
    with Lease(study, url).held():
        assert earlier_seconds(study.user_attrs) == 2 * HOUR


@pytest.mark.parametrize(
    ("budget", "trials", "hours", "goes_on_with"),
    [
        pytest.param({"trials": 9, "hours": 2}, None, None, (9, 2), id="both stay"),
        pytest.param({"hours": 2}, None, None, (None, 2), id="hours stay"),
        pytest.param({"trials": 9, "hours": 2}, "+3", None, (12, 2), id="more trials, in what is left"),
        pytest.param({"trials": 9, "hours": 1}, "+3", None, (12, None), id="more trials, nothing is left"),
        pytest.param({"hours": 1}, "3", None, (3, None), id="trials instead of used hours"),
        pytest.param({"trials": 9, "hours": 2}, None, 0.5, (9, 1.5), id="hours from now"),
        pytest.param({"trials": 9}, None, 0.5, (9, 1.5), id="hours where there were none"),
    ],
)
def test_the_hours_that_are_left_hold_unless_others_are_named(
    tmp_path: Path, budget: dict[str, Any], trials: str | None, hours: float | None, goes_on_with: Any
) -> None:
    study = a_study(tmp_path, budget, HOUR)
    spec = going_on(study, trials, hours)
    assert (spec.budget.trials, spec.budget.hours) == goes_on_with
    is_lifted = "hours" in budget and spec.budget.hours is None
    said = "its budget of 1 hours is used, so only the number of trials ends it now"
    assert notes_of(study, spec, places_in(tmp_path)) == ([said] if is_lifted else [])


@pytest.mark.parametrize(
    ("budget", "named"),
    [
        ({"hours": 1}, "`--trials +N` for N trials"),
        ({"hours": 1, "trials": 100}, "`--trials 100` for the rest of its trials"),
    ],
)
@pytest.mark.parametrize("state", ["interrupted", "finished"])
def test_used_hours_are_said_also_where_a_trial_waits_that_may_not_begin(
    tmp_path: Path, budget: dict[str, Any], named: str, state: str
) -> None:
    study, url = a_study(tmp_path, budget, HOUR, state), places_in(tmp_path).storage
    study.enqueue_trial({"model.init_args.x": 0.5})
    with pytest.raises(UserError) as caught:
        continued(study, url, None, None, print)
    assert str(caught.value) == (
        f"test: its budget of 1 hours is used; `--hours N` asks for N more, {named}, however long they take"
    )
    assert continued(study, url, None, 0.5, print)[0].budget.hours == 1.5
    assert continued(study, url, "+2", None, print)[0].budget.hours is None
    study.ask()  # begun, so it is to be finished
    assert continued(study, url, None, None, print)[0].budget.hours == 1


def test_a_study_of_a_version_that_noted_no_hours_is_ended_by_them_where_nothing_else_can(
    tmp_path: Path,
) -> None:
    budget = fakes.spec(budget={"hours": 1}).budget
    assert are_used({"sweep_state": "finished", "driver": {"beat": 0}}, budget)
    assert not are_used({"sweep_state": "interrupted", "driver": {"beat": 0}}, budget)
    both = fakes.spec(budget={"hours": 1, "trials": 9}).budget
    assert not are_used({"sweep_state": "finished"}, both)


def test_a_study_that_goes_on_asks_for_no_trial_once_all_drivers_have_used_the_hours() -> None:
    spec, clock = fakes.spec(budget={"hours": 2}), Clock()
    inner = fakes.optuna_study(fakes.study(spec))
    inner.set_user_attr("driver", {"earlier_seconds": 1.5 * HOUR})
    study = Study(inner, spec, clock=clock)
    clock.now += 0.4 * HOUR
    assignment = study.ask()
    assert assignment is not None
    study.tell(Outcome(assignment.number, State.COMPLETE, 0.5))
    clock.now += 0.1 * HOUR
    assert study.ask() is None


def test_a_driver_takes_from_the_study_how_long_those_before_ran(tmp_path: Path) -> None:
    inner, where = a_study(tmp_path, {"hours": 1, "trials": 100}, HOUR), places_in(tmp_path)
    inner.enqueue_trial({"model.init_args.x": 0.5})
    spec = going_on(inner, None, None)
    drive(inner, spec, where, ScriptedExecutor(fakes.falling), [], resumed_with=run_with("."))
    [waiting] = inner.get_trials()
    assert waiting.state is optuna.trial.TrialState.WAITING


def test_the_progress_the_watch_and_the_status_show_what_is_left(tmp_path: Path) -> None:
    clock, out = Clock(), io.StringIO()
    progress = Progress(fakes.spec(budget={"hours": 2}), Console(file=io.StringIO()), clock=clock,
                        earlier_seconds=HOUR)  # fmt: skip
    progress.record(fakes.assignment(0))
    clock.now += 60
    progress.record(Outcome(0, State.COMPLETE, 0.5))
    console = Console(file=out, width=200)
    console.print(progress)
    assert "about 59 min 00 s left" in out.getvalue()
    study, url = a_study(tmp_path, {"hours": 2}, HOUR, "running"), places_in(tmp_path).storage
    sweep = dashboards.load(tmp_path / "sweeps.db", "test")
    assert sweep.summary.hours_left == 1.0
    console.print(tables.status_table(sweep))
    assert "1 h 00 min of its hours left" in out.getvalue()
    screen = Console(file=io.StringIO(), force_terminal=True, width=200, color_system=None)
    with Lease(study, url).held():
        study.add_trial(optuna.trial.create_trial(value=0.5))
        study.set_user_attr("lightning_sweeps", study.user_attrs["lightning_sweeps"] | {
            "resumed": [run_with(".")]})  # fmt: skip

        def pause() -> None:
            study.add_trial(optuna.trial.create_trial(value=0.5))
            study.set_user_attr("sweep_state", "interrupted")

        watch("test", url, screen, pause=pause)
    assert isinstance(screen.file, io.StringIO)
    assert "about 59 min" in screen.file.getvalue() or "about 1 h 00 min left" in screen.file.getvalue()
    assert load_study("test", url).user_attrs["driver"]["earlier_seconds"] == HOUR
