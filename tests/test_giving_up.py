"""When a sweep ends because its trials fail, and what of it is there to go on with."""

from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from sweeps.driver import drive
from sweeps.errors import SweepFailed, TrialsFail
from sweeps.executors.scripted import ScriptedExecutor, Step
from sweeps.records import Assignment, Outcome, Report, State
from sweeps.storages.storage import open_storage
from sweeps.study.giving_up import IN_A_ROW_BEFORE_GIVING_UP, Failures
from sweeps.study.persistence import create_study
from sweeps.study.study import Study
from tests import fakes
from tests.live_sweeps import places_in

GONE = "[Errno 2] No such file or directory: '/mnt/data'"


def gone(number: int, fault: str = "") -> Outcome:
    return Outcome(number, State.FAILED, reason=GONE, fault=fault)


def failures(count: int, *, name: str = "test") -> Failures:
    """Those of a sweep of which a trial was complete, and so many failed since."""
    found = Failures(None, name)
    found.count(Outcome(0, State.COMPLETE, 0.5), has_validated=True)
    for number in range(count):
        found.count(gone(number + 1), has_validated=False)
    return found


def test_what_fails_one_after_the_other_ends_a_sweep_though_trials_before_were_well() -> None:
    failures(IN_A_ROW_BEFORE_GIVING_UP - 1).check(is_any_well=False)
    with pytest.raises(TrialsFail) as caught:
        failures(IN_A_ROW_BEFORE_GIVING_UP, name="my moons").check(is_any_well=True)
    assert str(caught.value) == (
        f"20 trials in a row failed before their first validation; the last one: trial 20: {GONE}; "
        "once that is mended, `sweeps resume 'my moons'` goes on"
    )


def test_at_the_end_of_its_budget_a_sweep_does_not_give_up() -> None:
    failures(IN_A_ROW_BEFORE_GIVING_UP).check(is_any_well=True, is_at_end=True)
    study = fakes.study(fakes.spec(budget={"trials": IN_A_ROW_BEFORE_GIVING_UP + 1}))
    for number in range(IN_A_ROW_BEFORE_GIVING_UP + 1):
        assert study.ask() is not None
        study.tell(gone(number) if number else Outcome(0, State.COMPLETE, 0.5))
    assert study.ask() is None


@pytest.mark.parametrize(
    "outcome",
    [
        pytest.param(Outcome(99, State.COMPLETE, 0.5), id="complete"),
        pytest.param(Outcome(99, State.PRUNED, 0.5), id="pruned"),
        pytest.param(Outcome(99, State.DIVERGED), id="diverged"),
        pytest.param(Outcome(99, State.INVALID), id="invalid"),
    ],
)
def test_any_other_end_begins_the_count_anew(outcome: Outcome) -> None:
    found = failures(IN_A_ROW_BEFORE_GIVING_UP - 1)
    found.count(outcome, has_validated=False)
    found.count(gone(50), has_validated=False)
    found.check(is_any_well=False)


def test_a_trial_that_failed_later_begins_it_anew_and_one_that_a_person_killed_is_no_trial() -> None:
    found = failures(IN_A_ROW_BEFORE_GIVING_UP - 1)
    found.count(gone(50), has_validated=True)
    found.check(is_any_well=False)
    found = failures(IN_A_ROW_BEFORE_GIVING_UP - 1)
    found.count(gone(50, "killed"), has_validated=False)
    found.check(is_any_well=False)
    found.count(gone(51, "oom"), has_validated=False)
    with pytest.raises(TrialsFail, match=r"^20 trials in a row"):
        found.check(is_any_well=False)


def ask(study: Study) -> int:
    assignment = study.ask()
    assert assignment is not None
    return assignment.number


def test_a_validation_of_any_trial_begins_the_count_anew_and_so_does_a_resumption() -> None:
    spec = fakes.spec(budget={"trials": 100})
    study = fakes.study(spec)
    study.tell(Outcome(ask(study), State.COMPLETE, 0.5))
    slow = ask(study)
    for _ in range(IN_A_ROW_BEFORE_GIVING_UP - 1):
        study.tell(gone(ask(study)))
    study.should_stop(Report(slow, 1, 0.5))
    for _ in range(IN_A_ROW_BEFORE_GIVING_UP):
        study.tell(gone(ask(study)))
    with pytest.raises(TrialsFail):
        study.ask()
    again = Study(fakes.optuna_study(study), spec)
    again.adopt()
    assert again.failures.last.endswith(GONE)
    for _ in range(IN_A_ROW_BEFORE_GIVING_UP):
        again.tell(gone(ask(again)))  # the one that ran, and others


def test_further_attempts_of_a_trial_are_no_further_failures() -> None:
    study = fakes.study(fakes.spec(retries={"exceptions": 5}, budget={"trials": 100}))
    study.tell(Outcome(ask(study), State.COMPLETE, 0.5))
    for _ in range(5 * IN_A_ROW_BEFORE_GIVING_UP):
        study.tell(gone(ask(study)))
    assert study.finished < IN_A_ROW_BEFORE_GIVING_UP


def test_a_sweep_whose_data_went_away_keeps_the_trial_that_runs_and_its_budget(tmp_path: Path) -> None:
    def script(assignment: Assignment) -> Iterator[Step]:
        if assignment.number > 3:
            raise FileNotFoundError(2, "No such file or directory", "/mnt/data")
        yield 1.0, 0.5
        yield (1e6 if assignment.number == 3 else 1.0), 0.4

    spec, where = fakes.spec(budget={"trials": 2000}), places_in(tmp_path)
    mlflow = {"tracking_uri": where.tracking_uri, "experiment": "test", "key": "key", "artifacts": ""}
    inner = create_study(spec, open_storage(where.storage), validations=2, notes={"mlflow": mlflow})
    with pytest.raises(SweepFailed, match=r"^20 trials in a row .* `sweeps resume test` goes on$"):
        drive(inner, spec, where, ScriptedExecutor(script, slots=2, length=2), [])
    trials = inner.get_trials()
    assert trials[3].state is optuna.trial.TrialState.RUNNING
    assert trials[3].intermediate_values == {1: 0.5}
    assert sum(trial.state is optuna.trial.TrialState.FAIL for trial in trials) < 25
    assert inner.user_attrs["sweep_state"] == "interrupted"
