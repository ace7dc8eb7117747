"""Workers that wait in Ray's queue; a sweep for which an autoscaler adds nodes is in `tests.long`."""

from collections.abc import Iterator
from typing import Any

import pytest

from sweeps.executors.ray import RayExecutor
from sweeps.executors.resources import Need
from sweeps.records import Outcome, State
from tests import fakes
from tests.test_executors import assignment, drain


@pytest.fixture
def others(ray_cluster: None) -> Iterator[Any]:
    """An actor of somebody else's that has all of the cluster."""
    import ray

    class Other:
        def answer(self) -> bool:
            return True

    actor = ray.remote(Other).options(num_cpus=16).remote()
    assert ray.get(actor.answer.remote())
    yield actor
    ray.kill(actor)


def waiting(queue: int, trials: int, **options: Any) -> RayExecutor:
    """An executor with a trial for which there is no place, once it has looked around."""
    executor = RayExecutor(
        fakes.Scripted(fakes.falling), slots=None, first=trials, need=Need(8.0), queue=queue, **options
    )
    executor.submit(assignment(0))
    for _ in range(3):
        executor.next_event(0.5)
    return executor


def queued(executor: RayExecutor) -> int:
    return sum(slot.is_queued for slot in executor._workers.slots)


@pytest.mark.parametrize(
    ("queue", "trials", "expected"),
    [
        pytest.param(1, 30, 1, id="on one of others' one"),
        pytest.param(4, 30, 4, id="where nodes are added some"),
        pytest.param(4, 3, 3, id="no more than there are trials to come"),
    ],
)
def test_workers_that_have_no_place_wait_in_rays_queue(
    others: Any, queue: int, trials: int, expected: int
) -> None:
    executor = waiting(queue, trials)
    assert queued(executor) == len(executor._workers.slots) == expected
    assert not executor.has_free_slot  # what waits for a place is none
    executor.close()


def test_who_waited_trains_once_there_is_a_place(others: Any) -> None:
    import ray

    executor = waiting(4, 30)
    ray.kill(others)
    outcomes = [event for event in drain(executor) if isinstance(event, Outcome)]
    assert [outcome.state for outcome in outcomes] == [State.COMPLETE]
    executor.next_event(3)
    assert executor._workers.capacity == 2  # as many as have a place, whoever waits
    executor.close()


def test_what_nothing_is_wanted_of_leaves_the_queue(others: Any) -> None:
    executor = waiting(4, 30, idle_seconds=1.0)
    executor.hold(held=True)
    for _ in range(5):
        executor.next_event(0.5)
    assert executor._workers.slots == []
    executor.hold(held=False)
    assert queued(executor) == 4
    executor.close()
