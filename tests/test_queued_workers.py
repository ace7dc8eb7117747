"""Workers that wait in Ray's queue; a sweep for which an autoscaler adds nodes is in `tests.long`."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeps.executors.cluster import node_of, nodes
from sweeps.executors.ray import RayExecutor
from sweeps.executors.resources import Need
from sweeps.records import Outcome, State
from tests import fakes
from tests.browser import wait_for
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
    wait_for(lambda: not any(node.free.get("CPU") for node in nodes().values()))  # it shows late
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


def test_one_that_has_got_a_place_waits_no_more_though_it_still_imports(others: Any, tmp_path: Path) -> None:
    import ray

    def importing() -> Any:
        while not (tmp_path / "imported").exists():
            time.sleep(0.1)
        return fakes.Scripted(fakes.falling)()

    executor = RayExecutor(importing, slots=None, first=30, need=Need(16.0), queue=1)
    executor.submit(assignment(0))
    executor.next_event(1.5)
    assert queued(executor) == 1
    ray.kill(others)
    slot = executor._workers.slots[0]
    wait_for(lambda: node_of(slot.actor))
    executor.next_event(1.5)
    assert (slot.node, slot.is_queued) == ("", False)
    assert executor.has_room
    executor.submit(assignment(1))
    assert queued(executor) == 1  # the next one
    (tmp_path / "imported").touch()
    outcomes = [event for event in drain(executor) if isinstance(event, Outcome)]
    assert [outcome.state for outcome in outcomes] == [State.COMPLETE] * 2
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
