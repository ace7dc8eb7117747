"""A trial whose own code declares its configuration invalid: in no budget, and never a failure."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from dashboards import load, tables
from dashboards.records import Counts
from dashboards.report import build
from sweeps import InvalidConfig
from sweeps.context import Inspection, TrialContext
from sweeps.errors import SweepFailed
from sweeps.executors.scripted import ScriptedExecutor, Step
from sweeps.planning.plan import PROBES
from sweeps.records import Assignment, Outcome, State
from sweeps.runner import run
from sweeps.storages.storage import open_storage
from sweeps.study.giving_up import INVALID_BEFORE_GIVING_UP
from sweeps.study.persistence import create_study
from sweeps.study.study import Study
from sweeps.training.inspection import inspect
from sweeps.training.worker import failure
from tests import fakes, studies

REASON = "x is too large"


def too_large(assignment: Assignment) -> Iterator[Step]:
    """A module that takes no x above a half."""
    if fakes.x_of(assignment) > 0.5:
        raise InvalidConfig(REASON)
    yield from fakes.falling(assignment)


def wrapped() -> Exception:
    error = RuntimeError("the model cannot be made")
    error.__cause__ = InvalidConfig(REASON)
    return error


def of_my_own(name: str) -> Exception:
    made: Exception = type(name, (Exception,), {})(REASON)
    return made


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        pytest.param(InvalidConfig(REASON), State.INVALID, REASON, id="ours"),
        pytest.param(InvalidConfig(), State.INVALID, "InvalidConfig", id="without a reason"),
        pytest.param(wrapped(), State.INVALID, REASON, id="wrapped"),
        pytest.param(of_my_own("InvalidConfig"), State.INVALID, REASON, id="the user's own class"),
        pytest.param(of_my_own("InvalidHP"), State.INVALID, REASON, id="Determined's"),
        pytest.param(optuna.TrialPruned(), State.PRUNED, "TrialPruned", id="Optuna's"),
        pytest.param(ValueError(REASON), State.FAILED, f"ValueError: {REASON}", id="any other"),
    ],
)
def test_an_exception_says_how_its_trial_ended(error: Exception, state: State, reason: str) -> None:
    outcome = failure(3, error)
    assert (outcome.number, outcome.state, outcome.reason) == (3, state, reason)


def test_the_exception_costs_a_users_module_no_library() -> None:
    code = "import sys; from sweeps import InvalidConfig; print({m.partition('.')[0] for m in sys.modules}" \
           " & {'torch', 'ray', 'optuna', 'mlflow', 'pydantic', 'yaml', 'rich'})"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_invalid_trials_are_in_no_budget_and_the_sampler_is_told_pruned(tmp_path: Path) -> None:
    spec = fakes.spec(budget={"trials": 6}, retries={"exceptions": 3})
    inner = create_study(spec, open_storage(f"sqlite:///{tmp_path}/sweeps.db"), validations=4)
    study = Study(inner, spec)
    run(study, ScriptedExecutor(too_large, length=4))
    assert study.counts[State.COMPLETE] == study.finished == 6
    assert study.counts[State.INVALID] > 0
    told = {t.state for t in inner.trials if t.user_attrs["outcome"]["state"] == "invalid"}
    assert told == {TrialState.PRUNED}
    again = Study(inner, spec)
    again.adopt()
    assert again.counts == study.counts
    assert again.ask() is None

    sweep = load(tmp_path / "sweeps.db", "test")
    assert sweep.summary.counts == Counts(complete=6, invalid=study.counts[State.INVALID])
    assert sweep.summary.counts.finished == 6
    shown = printed(tables.status_table(sweep))
    assert f"6/6 finished  6 complete  {study.counts[State.INVALID]} invalid" in shown
    assert REASON in shown
    assert REASON in build([sweep])


def printed(content: Any) -> str:
    from rich.console import Console

    console = Console(width=200)
    with console.capture() as captured:
        console.print(content)
    return captured.get()


def test_the_first_trials_being_invalid_is_no_reason_to_give_up_but_an_endless_row_is() -> None:
    study = fakes.study()
    for _ in range(INVALID_BEFORE_GIVING_UP):
        assignment = study.ask()
        assert assignment is not None
        study.tell(Outcome(assignment.number, State.INVALID, reason=REASON))
    last = INVALID_BEFORE_GIVING_UP - 1
    with pytest.raises(
        SweepFailed, match=rf"^100 trials in a row declared .* invalid; .*trial {last}: {REASON}$"
    ):
        study.ask()


def test_a_report_of_nothing_but_invalid_trials_says_so() -> None:
    sweep = studies.sweep_record([studies.trial_record(0, "invalid", reason=REASON)])
    assert "No trial is complete, so there is no best one: 1 invalid." in build([sweep])


def inspected(low: int) -> Inspection:
    spec = fakes.spec(
        model={"class_path": "tests.modules.Picky"},
        data={"class_path": "tests.modules.Data"},
        search_space={"model.init_args.width": {"type": "int", "low": low, "high": 10}},
        trainer={"max_epochs": 1, "accelerator": "cpu"},
        objective={"metric": "val_loss", "direction": "minimize"},
    )
    context = TrialContext("val_loss", True, "best", Path("unused"), (str(Path.cwd()),))
    points = spec.checked_constraints.points(PROBES)
    return inspect(context, spec.base, spec.space, points=points, probe=True)


def test_the_check_before_tries_another_configuration_where_the_centre_is_invalid() -> None:
    found = inspected(1)
    assert found.problem is None
    assert "val_loss" in found.logged


def test_a_space_of_which_nothing_is_valid_is_refused_before_anything_runs() -> None:
    problem = inspected(6).problem
    assert problem is not None
    key, rule = problem
    assert key == "search_space"
    assert rule.startswith("5 configurations, the centre first, were all declared invalid, the last one: ")
    assert "is wider than 5 (modules.py, line" in rule
