"""One warm worker, without Ray: one message in, one event out."""

import threading
import time
from collections.abc import Iterator

import pytest

from sweeps.executors import Reporter
from sweeps.executors.scripted import Step
from sweeps.records import Answer, Assignment, Outcome, Report, State, Timing
from sweeps.training.invalid import InvalidConfig
from sweeps.training.worker import Worker, failure
from tests import fakes


def worker(script: object = fakes.falling) -> Worker:
    return Worker(fakes.Scripted(script), "worker-7")  # type: ignore[arg-type]


def test_a_trial_is_a_conversation_of_one_message_at_a_time() -> None:
    there = worker()
    events = [there.exchange(fakes.assignment(3))]
    while isinstance(events[-1], Report):
        events.append(there.exchange(Answer(3, False)))
    *reports, outcome = events
    assert [(r.number, r.step) for r in reports if isinstance(r, Report)] == [(3, 1), (3, 2), (3, 3), (3, 4)]
    assert isinstance(outcome, Outcome)
    assert (outcome.number, outcome.state, outcome.value) == (3, State.COMPLETE, 0.5)


def test_an_answer_of_true_ends_the_trial() -> None:
    there = worker()
    assert isinstance(there.exchange(fakes.assignment(0)), Report)
    outcome = there.exchange(Answer(0, True))
    assert isinstance(outcome, Outcome)
    assert outcome.state is State.PRUNED


def test_a_worker_runs_one_trial_after_the_other() -> None:
    there = worker()
    for number in range(3):
        assert there.exchange(fakes.assignment(number)).number == number
        assert isinstance(there.exchange(Answer(number, True)), Outcome)


def test_the_outcome_says_who_ran_the_trial_and_when_and_keeps_what_the_trial_knew() -> None:
    def train(assignment: Assignment, reporter: Reporter) -> Outcome:
        timing = Timing(fit_seconds=5.0, wait_seconds=2.0)
        return Outcome(
            assignment.number, State.COMPLETE, 0.5, metrics={"a": 1.0}, device="cpu", timing=timing
        )

    outcome = Worker(lambda: train, "worker-7").exchange(fakes.assignment(0))
    assert isinstance(outcome, Outcome)
    assert (outcome.worker, outcome.device, outcome.metrics) == ("worker-7", "cpu", {"a": 1.0})
    assert (outcome.timing.fit_seconds, outcome.timing.wait_seconds) == (5.0, 2.0)
    assert outcome.timing.started > 0
    assert outcome.timing.slot_seconds > 0


def interrupted(assignment: Assignment) -> Iterator[Step]:
    """A trial that a signal handler of its own ends."""
    raise KeyboardInterrupt
    yield 1.0, 0.0


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        pytest.param(fakes.raising, "ValueError: the data are gone", id="an exception"),
        pytest.param(fakes.exiting, "SystemExit: sys.exit(3)", id="sys.exit"),
        pytest.param(interrupted, "KeyboardInterrupt", id="an interrupt"),
    ],
)
def test_whatever_a_trial_raises_is_its_outcome_and_the_worker_goes_on(script: object, reason: str) -> None:
    there = worker(script)
    for number in range(2):
        event = there.exchange(fakes.assignment(number))
        if isinstance(event, Report):
            event = there.exchange(Answer(number, False))
        assert isinstance(event, Outcome)
        assert (event.number, event.state, event.reason) == (number, State.FAILED, reason)
        assert event.worker == "worker-7"


def test_each_trial_has_a_thread_of_its_own() -> None:
    threads: list[threading.Thread] = []

    def train(assignment: Assignment, reporter: Reporter) -> Outcome:
        threads.append(threading.current_thread())
        return Outcome(assignment.number, State.COMPLETE, 0.0)

    there = Worker(lambda: train, "w")
    for number in (4, 5):
        there.exchange(fakes.assignment(number))
    assert [thread.name for thread in threads] == ["trial-4", "trial-5"]
    assert threads[0] is not threads[1]
    assert threading.current_thread() not in threads


def test_what_one_trial_leaves_in_its_thread_the_next_does_not_see() -> None:
    local = threading.local()

    def train(assignment: Assignment, reporter: Reporter) -> Outcome:
        found = hasattr(local, "left")
        local.left = True
        return Outcome(assignment.number, State.COMPLETE, float(found))

    there = Worker(lambda: train, "w")
    outcomes = [there.exchange(fakes.assignment(number)) for number in range(2)]
    assert [outcome.value for outcome in outcomes] == [0.0, 0.0]


def test_the_reporter_counts_the_time_that_the_answers_took() -> None:
    waited: list[float] = []

    def train(assignment: Assignment, reporter: Reporter) -> Outcome:
        waited.append(reporter.wait_seconds)
        for step in (1, 2):
            reporter.send(Report(assignment.number, step, 0.5))
            reporter.stop_requested()
            waited.append(reporter.wait_seconds)
        return Outcome(assignment.number, State.COMPLETE, 0.5)

    there = Worker(lambda: train, "w")
    event = there.exchange(fakes.assignment(0))
    while isinstance(event, Report):
        event = there.exchange(Answer(0, False))
    assert waited[0] == 0.0
    assert waited[0] < waited[1] < waited[2]


def test_the_trial_function_is_made_once_in_the_worker() -> None:
    made: list[int] = []

    def make() -> object:
        made.append(1)
        return fakes.Scripted(fakes.falling)()

    there = Worker(make, "w")  # type: ignore[arg-type]
    for number in range(2):
        there.exchange(fakes.assignment(number))
        there.exchange(Answer(number, True))
    assert made == [1]


def test_a_function_may_be_called_in_the_worker() -> None:
    assert worker().call(divmod, 7, 2) == (3, 1)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(ValueError("a\n  b\n"), "ValueError: a b", id="several lines"),
        pytest.param(ValueError(), "ValueError", id="no text"),
        pytest.param(SystemExit("bye"), "SystemExit: sys.exit('bye')", id="sys.exit with a text"),
        pytest.param(SystemExit(), "SystemExit: sys.exit(None)", id="sys.exit"),
    ],
)
def test_a_failure_is_told_in_one_line(error: BaseException, reason: str) -> None:
    outcome = failure(3, error)
    assert (outcome.number, outcome.state, outcome.value, outcome.reason) == (3, State.FAILED, None, reason)


def test_what_its_code_declares_of_a_trial_does_not_hide_that_its_process_is_spoilt() -> None:
    for declaring in (InvalidConfig("too wide"), InvalidConfig()):
        declaring.__cause__ = RuntimeError("CUDA error: device-side assert triggered")
        outcome = failure(0, declaring)
        assert (outcome.state, outcome.fault) == (State.INVALID, "cuda")


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("CUDA error: uncorrectable ECC error encountered", True),
        ("CUDA error: CUDA-capable device(s) is/are busy or unavailable", True),
        ("GPU is lost. Reboot the system to recover this GPU", True),
        ("CUDA error: device-side assert triggered", False),
    ],
)
def test_a_gpu_that_fails_is_no_fault_of_the_trials(text: str, lost: bool) -> None:
    outcome = failure(0, RuntimeError(text))
    assert (outcome.state, outcome.fault, outcome.lost) == (State.FAILED, "cuda", lost)
    assert not failure(0, RuntimeError("the port of the server is busy or unavailable")).lost


def test_a_failure_is_not_told_at_endless_length() -> None:
    assert len(failure(0, ValueError("x" * 10_000)).reason) == 1000


def test_an_answer_that_a_trial_did_not_read_is_not_the_next_trials() -> None:
    def train(assignment: Assignment, reporter: Reporter) -> Outcome:
        reporter.send(Report(assignment.number, 1, 0.5))
        if assignment.number == 0:
            raise OSError("no space left")  # after the report, before its answer is read
        state = State.PRUNED if reporter.stop_requested() else State.COMPLETE
        return Outcome(assignment.number, state, 0.5)

    there = Worker(lambda: train, "worker-0")
    there.exchange(fakes.assignment(0))
    failed = there.exchange(Answer(0, True))
    there.exchange(fakes.assignment(1))
    complete = there.exchange(Answer(1, False))
    assert isinstance(failed, Outcome)
    assert isinstance(complete, Outcome)
    assert (failed.state, complete.state) == (State.FAILED, State.COMPLETE)


def test_a_clock_that_is_set_meanwhile_changes_no_duration(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(assignment: Assignment, reporter: Reporter) -> Outcome:
        monkeypatch.setattr(time, "time", lambda: 0.0)  # decades back
        return Outcome(assignment.number, State.COMPLETE, 1.0)

    outcome = Worker(lambda: train, "w").exchange(fakes.assignment(0))
    assert isinstance(outcome, Outcome)
    assert 0 <= outcome.timing.slot_seconds < outcome.timing.started
