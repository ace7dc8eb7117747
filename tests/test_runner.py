"""Whole sweeps in simulated time: the loop, the study and what observers see."""

import math
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from optuna.trial import TrialState

from sweeps.errors import SweepFailed
from sweeps.executors.scripted import Script, ScriptedExecutor, Step
from sweeps.files import TrialFiles
from sweeps.interruption import Interrupted, signals_raise
from sweeps.records import Assignment, News, Outcome, Report, Request, Started, State
from sweeps.runner import run
from sweeps.study.outcomes import left
from sweeps.study.study import Study
from sweeps.sweep_file.spec import SweepSpec
from tests import fakes

HALVING = {"class_path": "successive_halving", "init_args": {"reduction_factor": 2}}


class Swept:
    """A sweep that was played, and everything about it."""

    def __init__(self, spec: SweepSpec, script: Script = fakes.falling, *, slots: int = 1, length: int = 4):
        direction = spec.objective.direction
        executor = ScriptedExecutor(script, slots=slots, length=length, direction=direction)
        self.study = fakes.study(spec, validations=length, clock=executor.now)
        self.executor = executor
        observer = fakes.Recorded()
        self.events = observer.events
        self.error: SweepFailed | None = None
        try:
            run(self.study, executor, [observer])
        except SweepFailed as error:
            self.error = error

    @property
    def outcomes(self) -> list[Outcome]:
        return [event for event in self.events if isinstance(event, Outcome)]

    @property
    def trials(self) -> list[Any]:
        return fakes.optuna_study(self.study).trials


def mixed(assignment: Assignment) -> Iterator[Step]:
    """Of four trials in a row, one fails, one diverges and two go on."""
    script = [fakes.falling, fakes.falling, fakes.raising, fakes.diverging][assignment.number % 4]
    yield from script(assignment)


@pytest.mark.parametrize("slots", [1, 3])
def test_the_budget_is_used_to_the_last_trial_and_no_further(slots: int) -> None:
    swept = Swept(fakes.spec(budget={"trials": 10}, pruner=HALVING), mixed, slots=slots)
    assert swept.study.finished == len(swept.outcomes) == len(swept.trials) == 10
    assert sorted(outcome.number for outcome in swept.outcomes) == list(range(10))
    assert {State.COMPLETE, State.PRUNED, State.DIVERGED, State.FAILED} == set(swept.study.counts)
    assert swept.executor.idle


def test_of_a_budget_is_left_what_has_not_ended_and_one_at_least() -> None:
    study = fakes.study(fakes.spec(budget={"trials": 3}))
    assert left(fakes.optuna_study(study).trials, 3) == 3
    run(study, ScriptedExecutor(fakes.falling, slots=2, length=4))
    trials = fakes.optuna_study(study).trials
    assert [left(trials, budget) for budget in (5, 3, None)] == [2, 1, None]


def test_every_trial_ends_in_optuna_as_it_ended() -> None:
    swept = Swept(fakes.spec(budget={"trials": 12}, pruner=HALVING), mixed, slots=2)
    expected = {
        State.COMPLETE: TrialState.COMPLETE, State.PRUNED: TrialState.PRUNED,
        State.DIVERGED: TrialState.PRUNED, State.FAILED: TrialState.FAIL,
    }  # fmt: skip
    for outcome in swept.outcomes:
        trial = swept.trials[outcome.number]
        assert trial.state is expected[outcome.state]
        assert trial.user_attrs["outcome"]["state"] == outcome.state
    diverged = [trial for trial in swept.trials if trial.user_attrs["outcome"]["state"] == "diverged"]
    assert [trial.number for trial in diverged] == [3, 7, 11]
    assert {tuple(trial.intermediate_values.items()) for trial in diverged} == {((1, 0.5), (2, 0.4))}


def test_observers_see_each_trial_from_assignment_to_outcome_in_order() -> None:
    swept = Swept(fakes.spec(budget={"trials": 5}), slots=2)
    for number in range(5):
        kinds = [type(event) for event in swept.events if event.number == number]
        assert kinds == [Assignment, Started, Report, Report, Report, Report, Outcome]


def test_an_observer_sees_an_outcome_once_the_study_knows_it() -> None:
    spec = fakes.spec(budget={"trials": 3})
    study = fakes.study(spec)
    finished: list[int] = []

    class Looking:
        def record(self, event: Assignment | Report | Outcome) -> None:
            if isinstance(event, Outcome):
                finished.append(study.finished)

    run(study, ScriptedExecutor(fakes.falling, length=4), [Looking()])
    assert finished == [1, 2, 3]


def test_a_trial_is_never_pruned_at_its_last_validation() -> None:
    spec = fakes.spec(budget={"trials": 40}, pruner=HALVING)
    with_end = Swept(spec, length=4)
    assert with_end.study.counts[State.PRUNED] > 0
    pruned = [trial.last_step for trial in with_end.trials if trial.state is TrialState.PRUNED]
    assert set(pruned) == {1, 2}
    four_steps = [trial for trial in with_end.trials if trial.last_step == 4]
    assert {trial.state for trial in four_steps} == {TrialState.COMPLETE}


def test_a_pruned_trial_frees_its_slot_at_once() -> None:
    spec = fakes.spec(budget={"trials": 20})
    full, short = Swept(spec), Swept(spec.model_copy(update={"pruner": "successive_halving"}))
    assert full.executor.now() == 80.0
    steps = [len(trial.intermediate_values) for trial in short.trials]
    assert short.executor.now() == sum(steps) < 80.0


@pytest.mark.parametrize(("slots", "seconds"), [(1, 48.0), (2, 24.0), (4, 12.0), (12, 4.0)])
def test_slots_share_the_work(slots: int, seconds: float) -> None:
    assert Swept(fakes.spec(budget={"trials": 12}), slots=slots).executor.now() == seconds


def hourly(assignment: Assignment) -> Iterator[Step]:
    """Four validations in an hour."""
    for _ in range(4):
        yield 900.0, fakes.x_of(assignment)


def test_the_hours_end_the_sweep_and_running_trials_are_trained_to_their_end() -> None:
    swept = Swept(fakes.spec(budget={"hours": 2.5}), hourly, slots=2)
    assert swept.executor.now() / 3600 == 3.0
    assert [outcome.number for outcome in swept.outcomes] == list(range(6))
    assert {outcome.state for outcome in swept.outcomes} == {State.COMPLETE}
    # What was asked ahead of time waits in the study, and is the first when the sweep goes on.
    assert [trial.number for trial in swept.trials if trial.state is TrialState.WAITING] == [6]
    later, executor = Study(fakes.optuna_study(swept.study), fakes.spec(budget={"trials": 7})), Recalled()
    later.adopt()
    run(later, executor)
    assert [assignment.params for assignment in executor.submitted] == [swept.trials[6].params]
    assert fakes.optuna_study(later).trials[6].state is TrialState.COMPLETE


class Recalled(ScriptedExecutor):
    """Notes what it is given."""

    def __init__(self) -> None:
        super().__init__(hourly, slots=2, length=4)
        self.submitted: list[Assignment] = []

    def submit(self, assignment: Assignment) -> None:
        self.submitted.append(assignment)
        super().submit(assignment)


class More:
    """Gives a sweep more hours once a trial was put back."""

    def __init__(self, study: Study) -> None:
        self._study, self.has_asked = study, False

    def requests(self) -> list[Request]:
        is_back = any(t.state is TrialState.WAITING for t in fakes.optuna_study(self._study).trials)
        if self.has_asked or not is_back:
            return []
        self.has_asked = True
        return [Request("update", {"hours": 3.5})]


def test_a_trial_that_was_put_back_is_the_next_when_a_sweep_is_given_more_hours() -> None:
    executor = Recalled()
    study = fakes.study(fakes.spec(budget={"hours": 2.5}), clock=executor.now)
    run(study, executor, desk=More(study))
    # The hours ended while the sixth and the seventh trained: the one that was queued is asked again.
    assert [assignment.number for assignment in executor.submitted] == [0, 1, 2, 3, 4, 5, 6, 6, 7, 8]
    states = [trial.state for trial in fakes.optuna_study(study).trials]
    assert states == [TrialState.COMPLETE] * 8 + [TrialState.WAITING]


def test_a_trial_that_is_tried_again_goes_on_when_the_hours_are_over() -> None:
    def once(assignment: Assignment) -> Iterator[Step]:
        yield from [(900.0, 0.5)] * 3
        if assignment.number == 5 and not assignment.attempt:
            raise ConnectionError("the data server went")
        yield 900.0, 0.5

    swept = Swept(fakes.spec(budget={"hours": 2.5}, retries={"exceptions": 1}), once, slots=2)
    assert [outcome.number for outcome in swept.outcomes] == list(range(6))
    assert {outcome.state for outcome in swept.outcomes} == {State.COMPLETE}


def test_the_sweep_gives_up_when_the_first_trials_all_fail() -> None:
    swept = Swept(fakes.spec(budget={"trials": 50}), fakes.raising)
    assert str(swept.error).startswith("the first 3 trials all failed; the last one: trial ")
    assert "ValueError: the data are gone" in str(swept.error)
    assert swept.study.counts == {State.FAILED: 3}
    swept.executor.close()
    swept.study.abandon("the sweep ended")
    assert {trial.state for trial in swept.trials} == {TrialState.FAIL}


def test_the_sweep_goes_on_when_later_trials_all_fail() -> None:
    def once(assignment: Assignment) -> Iterator[Step]:
        yield from (fakes.falling if assignment.number == 0 else fakes.raising)(assignment)

    swept = Swept(fakes.spec(budget={"trials": 10}), once)
    assert swept.error is None
    assert swept.study.counts == {State.COMPLETE: 1, State.FAILED: 9}


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_same_sweep_with_one_slot_is_the_same_to_the_last_event(sampler: str) -> None:
    spec = fakes.spec(budget={"trials": 20}, sampler=sampler, pruner=HALVING, seed_everything=3)
    first, second = Swept(spec, mixed), Swept(spec, mixed)
    assert len(first.events) > 60
    assert repr(first.events) == repr(second.events)  # as text, since NaN is not equal to itself
    other = Swept(spec.model_copy(update={"seed_everything": 4}), mixed)
    assert repr(first.events) != repr(other.events)


@pytest.mark.parametrize(
    ("direction", "better"),
    [pytest.param("minimize", min, id="min"), pytest.param("maximize", max, id="max")],
)
def test_the_best_trial_of_a_sweep_is_the_best_of_all_complete_ones(direction: str, better: Any) -> None:
    spec = fakes.spec(objective={"metric": "loss", "direction": direction}, budget={"trials": 15})
    swept = Swept(spec, slots=3)
    best = swept.study.best
    assert best is not None
    assert best.value == better(outcome.value for outcome in swept.outcomes)


def test_a_script_that_diverges_at_once_has_no_value() -> None:
    def lost(assignment: Assignment) -> Iterator[Step]:
        yield 1.0, math.nan

    swept = Swept(fakes.spec(budget={"trials": 4}), lost)
    assert [(o.state, o.value) for o in swept.outcomes] == [(State.DIVERGED, None)] * 4
    assert swept.study.best is None
    assert swept.error is None


def test_the_checkpoint_that_stays_is_the_best_trials(tmp_path: Any) -> None:
    spec = fakes.spec(budget={"trials": 12}, pruner=HALVING)

    def saving(assignment: Assignment) -> Iterator[Step]:
        folder = tmp_path / f"trial-{assignment.number}"
        folder.mkdir()
        for seconds, value in fakes.falling(assignment):
            (folder / "best.ckpt").touch()
            yield seconds, value

    study: Study = fakes.study(spec)
    run(study, ScriptedExecutor(saving, slots=3, length=4), [TrialFiles(tmp_path, fakes.spec().objectives)])
    assert study.best is not None
    assert list(tmp_path.glob("*/*.ckpt")) == [tmp_path / f"trial-{study.best.number}" / "best.ckpt"]


def test_a_thousand_trials_run_through() -> None:
    swept = Swept(fakes.spec(budget={"trials": 1000}, pruner="median"), slots=8)
    assert swept.study.finished == 1000
    assert swept.study.counts[State.PRUNED] > swept.study.counts[State.COMPLETE] > 5
    assert swept.study.best is not None
    assert swept.study.best.value == pytest.approx(0.0, abs=0.01)


class Dropped:
    """Gets Ctrl-C when it goes out of use, where Python lets no exception through."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_comes_where_python_drops_exceptions_ends_the_sweep_all_the_same() -> None:
    class Dropping:
        def record(self, event: News) -> None:
            if isinstance(event, Outcome) and event.number == 2:
                Dropped()

    study, other = (fakes.study(fakes.spec(budget={"trials": 20})) for _ in range(2))
    with pytest.raises(Interrupted), signals_raise():
        run(study, ScriptedExecutor(fakes.falling, slots=2, length=4), [Dropping()])
    assert study.finished == 3
    run(other, ScriptedExecutor(fakes.falling, slots=2, length=4))  # what came then is over
    assert other.finished == 20


HUNG_UP = """
import signal
from dashboards.server import _interrupted_by_signals
from sweeps.interruption import signals_raise
for may_end in (signals_raise, _interrupted_by_signals):
    try:
        with may_end():
            signal.raise_signal(signal.SIGHUP)
            print("goes on")
    except KeyboardInterrupt:
        print("ends")
"""


@pytest.mark.parametrize(("start", "then"), [([], "ends\nends\n"), (["nohup"], "goes on\ngoes on\n")])
def test_the_end_of_the_terminal_ends_what_was_not_started_with_nohup(start: list[str], then: str) -> None:
    command = [*start, sys.executable, "-c", HUNG_UP]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == then


class Killing:
    """Asks at the fourth look to kill a trial, and at the next ones others."""

    def __init__(self, *numbers: int) -> None:
        kills = [[Request("kill", {"number": number})] for number in numbers]
        self._asked: list[list[Request]] = [[], [], [], *kills]

    def requests(self) -> list[Request]:
        return self._asked.pop(0) if self._asked else []


def test_a_trial_that_a_person_kills_is_not_tried_again() -> None:
    executor, observer = ScriptedExecutor(fakes.falling, slots=1, length=4), fakes.Recorded()
    study = fakes.study(fakes.spec(budget={"trials": 2}, retries={"exceptions": 2}), clock=executor.now)
    run(study, executor, [observer], desk=Killing(0))
    ends = {event.number: event for event in observer.events if isinstance(event, Outcome)}
    assert (ends[0].state, ends[0].reason) == (State.FAILED, "killed by `sweeps trial kill`")
    assert study.counts == {State.FAILED: 1, State.COMPLETE: 1}


@pytest.mark.parametrize("asks_ahead", [False, True])
def test_a_trial_that_waits_to_go_on_can_be_killed(asks_ahead: bool) -> None:
    spec = fakes.spec(budget={"trials": 4})
    first = fakes.study(spec)
    for _ in range(4):
        first.ask()
    executor, observer = ScriptedExecutor(fakes.falling, slots=1, length=4), fakes.Recorded()
    study = Study(fakes.optuna_study(first), spec, clock=executor.now)
    study.adopt()
    run(study, executor, [observer], desk=Killing(3), asks_ahead=asks_ahead)
    assert [event.number for event in observer.events if isinstance(event, Outcome)] == [3, 0, 1, 2]
    assert study.counts == {State.FAILED: 1, State.COMPLETE: 3}


class Stopping(fakes.Recorded):
    """Asks to stop the sweep once there are reports of two trials, and a third trial waits for a slot."""

    def numbers(self, *kinds: type) -> set[int]:
        return {event.number for event in self.events if isinstance(event, kinds)}

    def requests(self) -> list[Request]:
        is_time = len(self.numbers(Report)) == 2 and len(self.numbers(Assignment)) == 3
        return [Request("stop", {})] if is_time else []


def test_a_sweep_that_is_stopped_starts_no_trial_that_was_only_drawn() -> None:
    spec, desk = fakes.spec(budget={"trials": 9}), Stopping()
    executor = ScriptedExecutor(fakes.falling, slots=2, length=4)
    study = fakes.study(spec, clock=executor.now)
    run(study, executor, [desk], desk=desk)
    assert desk.numbers(Started) == desk.numbers(Outcome) == {0, 1}
    later = Study(fakes.optuna_study(study), spec)
    later.adopt(has_begun=lambda number: number < 2)
    run(later, ScriptedExecutor(fakes.falling, slots=2, length=4))
    assert later.counts == {State.COMPLETE: 9}


class Later:
    """Asks at the fiftieth look for a slot, where others had taken all."""

    def __init__(self) -> None:
        self._looks = 0

    def requests(self) -> list[Request]:
        self._looks += 1
        return [Request("update", {"concurrency": 1})] if self._looks == 50 else []


def test_a_sweep_without_a_slot_waits_for_one_and_does_not_end_while_its_first_trial_is_drawn() -> None:
    study = fakes.study(fakes.spec(budget={"trials": 3}))
    run(study, ScriptedExecutor(fakes.falling, slots=0, length=4), desk=Later(), asks_ahead=True)
    assert study.counts == {State.COMPLETE: 3}


def test_trials_that_a_person_kills_say_nothing_of_the_others() -> None:
    executor = ScriptedExecutor(fakes.falling, slots=1, length=4)
    study = fakes.study(fakes.spec(budget={"trials": 5}, max_failed_trials=2), clock=executor.now)
    run(study, executor, desk=Killing(0, 1, 2))
    assert study.counts == {State.FAILED: 3, State.COMPLETE: 2}
