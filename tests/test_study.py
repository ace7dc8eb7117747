"""The study: what it asks, when it stops a trial, what it tells Optuna and keeps for the readers."""

import math
import subprocess
import threading
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from sweeps.errors import SweepFailed, UserError
from sweeps.provenance import git_commit
from sweeps.records import Assignment, Outcome, Report, State, Timing
from sweeps.storages.storage import open_storage
from sweeps.study.persistence import (
    create_study,
    ensure_name_is_free,
    free_name,
    load_study,
    loaded_spec,
    stored_spec,
)
from sweeps.study.study import Study
from tests import fakes


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        return self.now


def ask(study: Study) -> Assignment:
    assignment = study.ask()
    assert assignment is not None
    return assignment


def end(study: Study, state: State, value: float | None = None, reason: str = "") -> int:
    """Asks a trial and ends it."""
    number = ask(study).number
    study.tell(Outcome(number, state, value, reason=reason))
    return number


def told(study: Study) -> list[TrialState]:
    return [trial.state for trial in fakes.optuna_study(study).trials]


def test_an_assignment_holds_the_parameters_and_the_whole_configuration() -> None:
    assignment = ask(fakes.study())
    x = fakes.x_of(assignment)
    assert assignment.number == 0
    assert 0 <= x <= 1
    assert assignment.config == {
        "seed_everything": 0,
        "trainer": {"max_epochs": 4},
        "model": {"class_path": "Model", "init_args": {"x": x}},
    }


def test_the_configuration_of_a_trial_is_kept_with_it() -> None:
    study = fakes.study()
    assignment = ask(study)
    [trial] = fakes.optuna_study(study).trials
    assert trial.user_attrs == {"config": assignment.config}
    assert trial.params == assignment.params


@pytest.mark.parametrize(
    ("seed", "seeds"),
    [
        pytest.param(7, [7, 7, 7], id="one for all"),
        pytest.param(True, [0, 1, 2], id="chosen for each trial"),
        pytest.param(False, [False, False, False], id="none"),
    ],
)
def test_the_seed_of_a_trial_is_in_its_configuration(seed: bool | int, seeds: list[bool | int]) -> None:
    study = fakes.study(fakes.spec(seed_everything=seed))
    assert [ask(study).config["seed_everything"] for _ in range(3)] == seeds


def test_a_sweep_with_a_seed_asks_the_same_trials_again() -> None:
    def asked(seed: int) -> list[Assignment]:
        study = fakes.study(fakes.spec(seed_everything=seed))
        return [ask(study) for _ in range(4)]

    assert asked(3) == asked(3)
    assert [a.params for a in asked(3)] != [a.params for a in asked(4)]


def test_the_budget_counts_running_and_finished_trials() -> None:
    study = fakes.study(fakes.spec(budget={"trials": 4}))
    end(study, State.COMPLETE, 0.5)
    end(study, State.PRUNED)
    end(study, State.FAILED)
    last = ask(study)
    assert study.budget_is_used
    assert study.ask() is None
    study.tell(Outcome(last.number, State.COMPLETE, 0.5))
    assert study.ask() is None
    assert study.finished == 4
    assert len(told(study)) == 4


def test_who_sets_the_machines_clock_takes_no_time_from_a_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    study = fakes.study(fakes.spec(budget={"hours": 0.5}))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    assert study.ask() is not None


def test_after_the_hours_no_further_trial_is_asked() -> None:
    clock = Clock()
    study = fakes.study(fakes.spec(budget={"hours": 0.5}), clock=clock)
    clock.now += 1799
    first = ask(study)
    clock.now += 1
    assert study.ask() is None
    study.tell(Outcome(first.number, State.COMPLETE, 0.5))
    assert study.counts[State.COMPLETE] == 1


def test_of_two_budgets_the_first_that_is_used_counts() -> None:
    clock = Clock()
    study = fakes.study(fakes.spec(budget={"trials": 1, "hours": 1}), clock=clock)
    assert not study.budget_is_used
    ask(study)
    assert study.budget_is_used
    late = fakes.study(fakes.spec(budget={"trials": 9, "hours": 1}), clock=clock)
    clock.now += 3600
    assert late.budget_is_used


@pytest.mark.parametrize(
    ("state", "value", "told_as"),
    [
        pytest.param(State.COMPLETE, 0.5, TrialState.COMPLETE, id="complete"),
        pytest.param(State.PRUNED, 0.5, TrialState.PRUNED, id="pruned"),
        pytest.param(State.DIVERGED, 0.5, TrialState.PRUNED, id="diverged"),
        pytest.param(State.DIVERGED, None, TrialState.PRUNED, id="diverged from the start"),
        pytest.param(State.FAILED, None, TrialState.FAIL, id="failed"),
    ],
)
def test_an_outcome_is_told_to_optuna_and_kept_for_the_readers(
    state: State, value: float | None, told_as: TrialState
) -> None:
    study = fakes.study()
    outcome = Outcome(
        ask(study).number, state, value, reason="why", metrics={"acc": 0.9}, worker="w", device="cpu",
        timing=Timing(started=1.0, slot_seconds=2.0, fit_seconds=3.0, wait_seconds=4.0),
    )  # fmt: skip
    study.tell(outcome)
    [trial] = fakes.optuna_study(study).trials
    assert trial.state is told_as
    assert trial.user_attrs["outcome"] == {
        "state": state.value,
        "reason": "why",
        "metrics": {"acc": 0.9},
        "timing": {
            "started": 1.0,
            "slot_seconds": 2.0,
            "fit_seconds": 3.0,
            "wait_seconds": 4.0,
            "earlier_seconds": 0.0,
        },
        "worker": "w",
        "device": "cpu",
        "driver": 0,
    }
    assert study.counts == {state: 1}
    assert study.running == frozenset()


def reported(study: Study, number: int, values: list[float], *, last: bool = False) -> list[bool]:
    """The answers to the reports of a trial; `last` marks the last of them."""
    count = len(values)
    return [
        study.should_stop(Report(number, step, value, last=last and step == count))
        for step, value in enumerate(values, 1)
    ]


def strict() -> Study:
    """A study that prunes whatever is above 1 at any validation."""
    pruner = {"class_path": "threshold", "init_args": {"upper": 1.0}}
    return fakes.study(fakes.spec(pruner=pruner))


def test_the_pruners_answer_is_the_answer() -> None:
    study = strict()
    assert reported(study, ask(study).number, [0.5, 0.9, 1.1]) == [False, False, True]


def test_the_pruner_is_not_asked_at_the_last_validation() -> None:
    study = strict()
    assert reported(study, ask(study).number, [0.5, 0.9, 1.1], last=True) == [False, False, False]
    [trial] = fakes.optuna_study(study).trials
    assert trial.intermediate_values == {1: 0.5, 2: 0.9, 3: 1.1}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("last", [False, True])
def test_a_trial_that_diverges_is_stopped_and_optuna_never_sees_the_value(value: float, last: bool) -> None:
    study = fakes.study()
    assert reported(study, ask(study).number, [0.5, value], last=last) == [False, True]
    [trial] = fakes.optuna_study(study).trials
    assert trial.intermediate_values == {1: 0.5}


def test_the_first_trials_all_failing_ends_the_sweep() -> None:
    study = fakes.study()
    for _ in range(3):
        end(study, State.FAILED, reason="no such file")
    with pytest.raises(SweepFailed, match=r"^the first 3 trials all failed; the last one: trial 2: no such"):
        study.ask()


@pytest.mark.parametrize("first", [State.COMPLETE, State.PRUNED, State.DIVERGED])
def test_later_failures_do_not_end_the_sweep(first: State) -> None:
    study = fakes.study()
    end(study, first, 0.5)
    for _ in range(8):
        end(study, State.FAILED)
    assert ask(study).number == 9


def test_a_failure_after_two_and_a_success_do_not_end_the_sweep() -> None:
    study = fakes.study()
    for state in (State.FAILED, State.FAILED, State.PRUNED, State.FAILED, State.FAILED, State.FAILED):
        end(study, state)
    assert ask(study).number == 6


@pytest.mark.parametrize(
    ("direction", "best"), [pytest.param("minimize", 1, id="min"), pytest.param("maximize", 2, id="max")]
)
def test_the_best_trial_is_complete_and_best_in_the_objectives_direction(direction: str, best: int) -> None:
    study = fakes.study(fakes.spec(objective={"metric": "loss", "direction": direction}))
    assert study.best is None
    for value in (0.5, -0.1, 0.9):
        end(study, State.COMPLETE, value)
    for value in (-5.0, 5.0):
        end(study, State.PRUNED, value)
        end(study, State.DIVERGED, value)
    assert study.best is not None
    assert study.best.number == best
    assert fakes.optuna_study(study).best_trial.number == best


def test_of_equal_trials_the_lower_number_is_the_best_whichever_ends_first() -> None:
    study = fakes.study()
    for _ in range(3):
        ask(study)
    for number in (2, 0, 1):
        study.tell(Outcome(number, State.COMPLETE, 0.5))
    assert study.best is not None
    assert study.best.number == 0


def test_trials_that_nobody_trains_any_more_are_ended_as_failed() -> None:
    study = fakes.study()
    for _ in range(3):
        ask(study)
    study.tell(Outcome(1, State.COMPLETE, 0.5))
    outcomes = study.abandon("interrupted")
    assert [(o.number, o.state, o.reason) for o in outcomes] == [
        (0, State.FAILED, "interrupted"),
        (2, State.FAILED, "interrupted"),
    ]
    assert told(study) == [TrialState.FAIL, TrialState.COMPLETE, TrialState.FAIL]
    assert study.running == frozenset()
    assert study.abandon("again") == []


def attributes(**changes: Any) -> dict[str, Any]:
    return create_study(fakes.spec(**changes), None, validations=4, notes={"files": "here"}).user_attrs


def test_a_new_study_holds_what_its_readers_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kept = attributes(storage="postgresql://me:secret@host/db")
    assert kept["sweep_state"] == "running"
    assert kept["files"] == "here"
    assert kept["spec"] == stored_spec(fakes.spec(storage="postgresql://me:***@host/db"))
    about = kept["lightning_sweeps"]
    assert (about["format"], about["git_commit"]) == (1, None)
    assert about["created"].endswith("+00:00")
    assert {"python", "optuna", "lightning", "torch", "ray", "mlflow"} <= about["versions"].keys()
    assert about["versions"]["optuna"] == optuna.__version__


def test_the_study_says_how_the_sweep_ended() -> None:
    study = fakes.study()
    study.end("interrupted")
    assert fakes.optuna_study(study).user_attrs["sweep_state"] == "interrupted"


def test_the_study_has_the_sweeps_name_metric_and_direction() -> None:
    of = fakes.spec(objective={"metric": "acc", "direction": "maximize"}, name="mine")
    study = fakes.study(of)
    inner = fakes.optuna_study(study)
    assert (study.name, inner.study_name, inner.metric_names) == ("mine", "mine", ["acc"])
    assert inner.direction is optuna.study.StudyDirection.MAXIMIZE


def test_the_commit_of_a_checkout_is_named_and_whether_it_was_changed(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        settings = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
        command = ["git", "-C", str(tmp_path), *settings, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert git_commit(str(tmp_path)) is None
    assert git_commit(str(tmp_path / "nowhere")) is None
    git("init", "-q")
    (tmp_path / "model.py").write_text("a = 1")
    git("add", ".")
    git("commit", "-qm", "one")
    commit = git("rev-parse", "HEAD")
    assert git_commit(str(tmp_path)) == commit
    (tmp_path / "model.py").write_text("a = 2")
    assert git_commit(str(tmp_path)) == f"{commit}-dirty"


def test_a_name_that_is_taken_is_refused_with_the_ways_to_go_on(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/sweeps.db"
    ensure_name_is_free("test", url)
    assert free_name("test", url) == "test"
    assert list(tmp_path.iterdir()) == []
    storage = open_storage(url)
    for name in ("test", "test-2"):
        create_study(fakes.spec(name=name), storage, validations=4)
    with pytest.raises(UserError, match=r"'test' is already in the .*: .*status test.*--name test-2"):
        create_study(fakes.spec(), storage, validations=4)
    with pytest.raises(UserError, match=rf"'test' is already in {tmp_path}/sweeps.db: "):
        ensure_name_is_free("test", url)
    ensure_name_is_free("other", url)
    assert (free_name("test", url), free_name("other", url)) == ("test-3", "other")


def test_what_breaks_a_constraint_is_never_trained_and_in_no_budget() -> None:
    spec = fakes.spec(constraints=["model.init_args.x <= 0.2"], budget={"trials": 5})
    study = fakes.study(spec)
    numbers = []
    while (assignment := study.ask()) is not None:
        assert fakes.x_of(assignment) <= 0.2
        numbers.append(assignment.number)
        study.tell(Outcome(assignment.number, State.COMPLETE, 0.5))
    assert len(numbers) == 5
    assert numbers != list(range(5))  # some were drawn in between and told as pruned
    again = fakes.Study(fakes.optuna_study(study), spec)
    again.adopt()
    assert again.counts == {State.COMPLETE: 5}


def test_known_good_points_are_tried_first() -> None:
    study = fakes.study(fakes.spec(start_with=[{"model.init_args.x": 0.125}, {"model.init_args.x": 0.75}]))
    asked = [study.ask() for _ in range(2)]
    assert [fakes.x_of(assignment) for assignment in asked if assignment] == [0.125, 0.75]


def test_a_failed_trial_goes_on_as_often_as_the_specification_grants() -> None:
    study = fakes.study(fakes.spec(retries={"exceptions": 1, "lost_workers": 2}))
    assignment = study.ask()
    assert assignment is not None
    study.should_stop(Report(assignment.number, 1, 0.5))
    for attempt, lost in enumerate([True, True, False], start=1):
        study.tell(Outcome(assignment.number, State.FAILED, reason="gone", lost=lost))
        again = study.ask()
        assert again is not None
        assert (again.number, again.attempt, again.known_step) == (assignment.number, attempt, 1)
    study.tell(Outcome(assignment.number, State.FAILED, reason="gone", lost=True))
    assert study.counts == {State.FAILED: 1}


def test_exceptions_of_a_trial_are_counted_however_far_it_comes_between_them() -> None:
    study = fakes.study(fakes.spec(retries={"exceptions": 1}))
    number = ask(study).number
    for step in (1, 2):
        study.should_stop(Report(number, step, 0.5))
        study.tell(Outcome(number, State.FAILED, reason="raised"))
    assert study.counts == {State.FAILED: 1}


def test_workers_of_a_trial_that_comes_further_each_time_may_be_lost_any_number_of_times() -> None:
    study = fakes.study(fakes.spec(retries={"lost_workers": 1}))
    number = ask(study).number
    for step in range(1, 5):
        study.should_stop(Report(number, step, 0.5))
        study.tell(Outcome(number, State.FAILED, reason="preempted", lost=True))
        assert ask(study).known_step == step
    study.tell(Outcome(number, State.FAILED, reason="preempted", lost=True))  # without a validation since
    assert study.counts == {State.FAILED: 1}


def test_a_sweep_ends_when_more_trials_failed_than_it_allows() -> None:
    study = fakes.study(fakes.spec(max_failed_trials=1))
    for state in (State.COMPLETE, State.FAILED, State.FAILED):
        assignment = study.ask()
        assert assignment is not None
        study.tell(Outcome(assignment.number, state, 0.5, reason="no space"))
    with pytest.raises(
        SweepFailed, match=r"^2 trials failed, more than max_failed_trials=1; the last one: trial 2: no"
    ):
        study.ask()


def test_a_sweep_that_gave_up_goes_on_when_it_is_resumed_and_gives_up_for_what_fails_then() -> None:
    spec = fakes.spec(max_failed_trials=3, budget={"trials": 20})
    study = fakes.study(spec)
    for _ in range(3):
        end(study, State.FAILED, reason="no such file")
    with pytest.raises(SweepFailed):
        study.ask()
    mended = Study(fakes.optuna_study(study), spec)
    mended.adopt()
    for state in (State.FAILED, State.COMPLETE, State.FAILED, State.FAILED):
        end(mended, state, 0.5)
    later = Study(fakes.optuna_study(study), spec)
    later.adopt()
    for _ in range(4):
        end(later, State.FAILED, reason="no space")
    with pytest.raises(SweepFailed, match=r"^4 trials failed, more than max_failed_trials=3; the last one: "):
        later.ask()


def test_what_was_running_is_adopted_with_its_number_parameters_and_last_step() -> None:
    spec = fakes.spec()
    study = fakes.study(spec)
    done, cut = study.ask(), study.ask()
    assert done is not None
    assert cut is not None
    study.should_stop(Report(cut.number, 1, 0.5))
    study.tell(Outcome(done.number, State.COMPLETE, 0.25))
    later = fakes.Study(fakes.optuna_study(study), spec)
    [ended] = later.adopt([Report(cut.number, 2, 0.4)])  # the journal knows one report more
    assert (ended.number, ended.value) == (done.number, 0.25)
    again = later.ask()
    assert again is not None
    assert (again.number, again.params, again.config) == (cut.number, cut.params, cut.config)
    assert (again.attempt, again.known_step) == (1, 2)
    assert fakes.optuna_study(later).trials[cut.number].intermediate_values == {1: 0.5, 2: 0.4}


def test_a_trial_that_was_drawn_ahead_and_never_begun_is_a_new_one_for_the_next_driver() -> None:
    spec = fakes.spec()
    study = fakes.study(spec)
    begun, reported, drawn = ask(study), ask(study), ask(study)
    study.should_stop(Report(reported.number, 1, 0.5))
    for attempt in (1, 2):
        again = fakes.Study(fakes.optuna_study(study), spec)
        again.adopt((), lambda number: number == begun.number)
        assert [ask(again) for _ in range(3)] == [
            replace(begun, attempt=attempt),
            replace(reported, attempt=attempt, known_step=1),
            drawn,
        ]


def test_an_end_that_only_the_journal_has_ends_its_trial_unless_another_attempt_may_follow() -> None:
    spec = fakes.spec(retries={"exceptions": 0, "lost_workers": 1}, budget={"trials": 9})
    study = fakes.study(spec)
    told, done, failed, killed, lost, after = (ask(study) for _ in range(6))
    study.tell(Outcome(told.number, State.COMPLETE, 0.75))
    again = fakes.Study(fakes.optuna_study(study), spec)
    ended = again.adopt([
        Report(told.number, 4, 0.75, last=True),
        Outcome(told.number, State.COMPLETE, 0.75),
        Report(done.number, 4, 0.25, last=True),
        Outcome(done.number, State.COMPLETE, 0.25),
        Outcome(failed.number, State.FAILED, reason="no"),
        Outcome(killed.number, State.FAILED, lost=True, fault="killed"),
        Outcome(lost.number, State.FAILED, lost=True),
        Outcome(after.number, State.FAILED),
        Report(after.number, 1, 0.5),  # of a further attempt
    ])  # fmt: skip
    assert [outcome.number for outcome in ended] == [told.number, done.number, failed.number, killed.number]
    assert fakes.optuna_study(again).trials[done.number].value == 0.25
    assert again.counts == {State.COMPLETE: 2, State.FAILED: 2}
    assert [(a.number, a.attempt) for a in (ask(again), ask(again))] == [(lost.number, 1), (after.number, 1)]
    assert ask(again).attempt == 0


def test_failures_that_only_the_journal_has_are_those_of_before_a_resume() -> None:
    spec = fakes.spec(max_failed_trials=1)
    study = fakes.study(spec)
    failed = [Outcome(ask(study).number, State.FAILED, reason="no data") for _ in range(3)]
    again = fakes.Study(fakes.optuna_study(study), spec)
    assert len(again.adopt(failed)) == 3
    assert ask(again).attempt == 0  # whoever resumes may have mended it


def test_a_trial_whose_driver_died_before_it_looked_at_the_constraints_is_not_trained() -> None:
    spec = fakes.spec(constraints=["model.init_args.x <= 0.2"], budget={"trials": 1})
    study = fakes.study(spec)
    fakes.optuna_study(study).enqueue_trial({"model.init_args.x": 0.75})
    fakes.optuna_study(study).ask()  # and then it died
    again = fakes.Study(fakes.optuna_study(study), spec)
    assert again.adopt() == []
    assert fakes.x_of(ask(again)) <= 0.2
    assert [trial.state for trial in fakes.optuna_study(study).trials[:1]] == [TrialState.PRUNED]


def test_a_study_of_a_launch_that_died_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/sweeps.db"
    storage = open_storage(url)
    half = optuna.create_study(study_name="test", storage=storage, direction="maximize")
    half.set_user_attr("spec", {})
    half.enqueue_trial({"model.init_args.x": 0.5})
    ensure_name_is_free("test", url)
    with pytest.raises(UserError, match=r"no sweep 'test': its launch was cut short, so launch it again"):
        load_study("test", url)
    monkeypatch.setattr("sweeps.study.persistence.CREATION_SECONDS", 0.0)
    made = create_study(fakes.spec(), storage, validations=4)
    assert made.direction.name == "MINIMIZE"
    assert made.trials == []
    assert load_study("test", url).user_attrs["spec"]["name"] == "test"


def test_a_study_that_another_launch_is_making_is_left_to_it(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/sweeps.db")
    other = optuna.create_study(study_name="test", storage=storage)
    threading.Timer(0.5, other.set_user_attr, ("lightning_sweeps", {"format": 1})).start()
    with pytest.raises(UserError, match="'test' is already in"):
        create_study(fakes.spec(), storage, validations=4)


@pytest.mark.parametrize("is_begun", [False, True])
def test_a_study_of_somebody_else_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_begun: bool
) -> None:
    monkeypatch.setattr("sweeps.study.persistence.CREATION_SECONDS", 0.0)
    storage = open_storage(f"sqlite:///{tmp_path}/sweeps.db")
    theirs = optuna.create_study(study_name="test", storage=storage)
    theirs.enqueue_trial({"x": 0.5})
    if is_begun:
        theirs.ask()
    with pytest.raises(UserError, match="'test' is already in"):
        create_study(fakes.spec(), storage, validations=4)
    assert len(theirs.trials) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({"later": {"a": 1}}, "later: is no key of this version, but got {'a': 1}", id="a key"),
        pytest.param({"oom": {"policy": "grow"}},
                     "oom.policy: input should be 'shrink' or 'fail', but got 'grow'", id="a new value"),
        pytest.param({"concurrency": 0}, "concurrency: input should be greater than or equal to 1, but got 0",
                     id="a rule"),
        pytest.param({"name": "a/b"}, "name: a name must be usable as a file name, but got 'a/b' with '/'",
                     id="a rule of ours"),
        pytest.param({"search_space": None}, "search_space: is missing", id="nothing"),
    ],
)  # fmt: skip
def test_a_specification_of_another_version_is_refused_with_what_is_wrong_and_whose_it_is(
    changes: dict[str, Any], said: str
) -> None:
    inner = fakes.optuna_study(fakes.study())
    spec = inner.user_attrs["spec"] | changes
    inner.set_user_attr("spec", {key: value for key, value in spec.items() if value is not None})
    mark = inner.user_attrs["lightning_sweeps"]
    inner.set_user_attr("lightning_sweeps", mark | {"versions": {"lightning-sweeps": "9.8.7"}})
    with pytest.raises(UserError) as caught:
        loaded_spec(inner)
    versions = f"lightning-sweeps 9.8.7 wrote it, this is {version('lightning-sweeps')}"
    assert str(caught.value) == f"test: the stored specification cannot be read: {said}; {versions}"
