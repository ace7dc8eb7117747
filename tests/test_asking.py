"""Trials drawn in a thread: none is lost or drawn too many, and the loop does not wait for the sampler."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import optuna
import pytest

from sweeps.records import Outcome, State
from sweeps.storages.patience import current, patient
from sweeps.study.asking import Asker
from sweeps.study.study import Study
from tests import fakes


class Slow(optuna.samplers.RandomSampler):
    """A sampler that waits for leave, and notes who asks it."""

    def __init__(self) -> None:
        super().__init__(seed=1)
        self.leave = threading.Event()
        self.threads: set[str] = set()

    def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
        self.threads.add(threading.current_thread().name)
        assert self.leave.wait(30)
        return super().infer_relative_search_space(study, trial)


@pytest.fixture
def sampler() -> Iterator[Slow]:
    sampler = Slow()
    yield sampler
    sampler.leave.set()


def asker(sampler: Slow, trials: int, **changes: Any) -> tuple[Study, Asker]:
    spec = fakes.spec(budget={"trials": trials}, **changes)
    study = Study(optuna.create_study(sampler=sampler), spec)
    return study, Asker(study, in_background=True)


def next_one(asker: Asker) -> Any:
    until = time.monotonic() + 30
    while (found := asker.next()) is None and time.monotonic() < until:
        time.sleep(0.001)
    return found


def test_it_does_not_wait_for_the_sampler(sampler: Slow) -> None:
    _, ask = asker(sampler, trials=3)
    assert ask.next() is None
    assert ask.is_drawing
    assert ask.next() is None
    sampler.leave.set()
    assert next_one(ask).number == 0
    assert sampler.threads == {"asker_0"}


class Waiting(optuna.samplers.RandomSampler):
    """Notes how long the thread that asks it waits for a database."""

    seconds = 0.0

    def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
        self.seconds = current().seconds
        return super().infer_relative_search_space(study, trial)


def test_its_thread_waits_for_a_database_as_long_as_its_sweep_does() -> None:
    study = Study(optuna.create_study(sampler=(sampler := Waiting())), fakes.spec())
    with patient(7):
        ask = Asker(study, in_background=True)
    assert next_one(ask).number == 0
    ask.close()
    assert sampler.seconds == 7


def test_it_draws_as_many_as_the_budget_has_and_keeps_one_ready(sampler: Slow) -> None:
    study, ask = asker(sampler, trials=3)
    sampler.leave.set()
    numbers = [next_one(ask).number for _ in range(3)]
    assert numbers == [0, 1, 2]
    assert ask.next() is None
    assert not ask.is_drawing
    assert study.running == {0, 1, 2}


def test_it_gives_nothing_once_the_sweep_is_over_and_what_is_ready_back(sampler: Slow) -> None:
    study, ask = asker(sampler, trials=3, stop_when={"value": 0.5})
    sampler.leave.set()
    first = next_one(ask)
    study.tell(Outcome(first.number, State.COMPLETE, 0.4))
    assert study.is_over
    until = time.monotonic() + 30
    while not (ready := ask.recall()) and time.monotonic() < until:
        assert ask.next() is None
    assert [assignment.number for assignment in ready] == [1]
    assert ask.recall() == []


def test_it_gives_nothing_while_paused_and_the_ready_one_afterwards(sampler: Slow) -> None:
    study, ask = asker(sampler, trials=3)
    sampler.leave.set()
    study.is_paused = True
    assert ask.next() is None
    assert not ask.is_drawing
    study.is_paused = False
    assert next_one(ask).number == 0
    study.is_paused = True
    time.sleep(0.1)  # the next one gets ready
    assert ask.next() is None
    study.is_paused = False
    assert next_one(ask).number == 1


def test_one_that_goes_on_is_given_before_the_one_that_is_ready(sampler: Slow) -> None:
    study, ask = asker(sampler, trials=3)
    sampler.leave.set()
    assert next_one(ask).number == 0
    time.sleep(0.1)  # the next one gets ready
    study.tell(Outcome(0, State.FAILED, reason="gone", lost=True))
    study.is_paused = True
    assert ask.next() is None
    study.is_paused = False
    given = [ask.next(), next_one(ask)]
    assert [(one.number, one.attempt) for one in given if one] == [(0, 1), (1, 0)]


def test_one_that_is_ready_or_on_its_way_can_be_withdrawn(sampler: Slow) -> None:
    study, ask = asker(sampler, trials=3)
    ask.next()
    threading.Timer(0.1, sampler.leave.set).start()
    withdrawn = ask.withdraw(0)
    assert withdrawn is not None
    assert withdrawn.number == 0
    assert ask.withdraw(0) is None
    assert study.running == {0}  # until its end is told
    assert next_one(ask).number == 1


def test_a_sampler_that_raises_is_heard(sampler: Slow) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("no idea")

    sampler.infer_relative_search_space = fails  # type: ignore[method-assign]
    _, ask = asker(sampler, trials=3)
    with pytest.raises(RuntimeError, match="no idea"):
        next_one(ask)


def test_closing_waits_for_the_trial_on_its_way(sampler: Slow) -> None:
    study, ask = asker(sampler, trials=3)
    ask.next()
    threading.Timer(0.1, sampler.leave.set).start()
    ask.close()
    assert study.running == {0}


def test_a_whole_sweep_drawn_in_a_thread_uses_its_budget_exactly() -> None:
    def script(assignment: Any) -> Iterator[tuple[float, float]]:
        yield 1.0, 0.5 + assignment.number

    from sweeps.executors.scripted import ScriptedExecutor
    from sweeps.runner import run

    spec = fakes.spec(budget={"trials": 25})
    optuna_study = optuna.create_study(pruner=optuna.pruners.NopPruner())
    study = Study(optuna_study, spec)
    run(study, ScriptedExecutor(script, slots=4), asks_ahead=True)
    assert [trial.state.name for trial in optuna_study.trials] == ["COMPLETE"] * 25
    assert study.counts == {State.COMPLETE: 25}
    assert isinstance(study.best, Outcome)
