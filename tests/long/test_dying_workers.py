"""Workers that die on their way again and again; `tests/test_executors.py` has those that die once."""

from collections.abc import Callable
from pathlib import Path

from sweeps.records import Outcome, Report
from tests import fakes
from tests.test_executors import assignment


def test_workers_that_die_on_their_way_again_and_again_are_not_asked_for_all_the_time(
    ray_cluster: None, tmp_path: Path
) -> None:
    """As where there is memory for one only: the others would take the CPUs from it."""
    from sweeps.executors.ray import RayExecutor

    executor = RayExecutor(fakes.Preempted(tmp_path, range(1, 1000)), slots=4, first=1)
    executor.call(abs, -1)
    for number in range(4):
        executor.submit(assignment(number))

    def go_on(is_over: Callable[[], bool]) -> None:
        while not is_over():
            event = executor.next_event(0.1)
            if isinstance(event, Report):
                executor.reply(event.number, stop=False)
            elif isinstance(event, Outcome):
                executor.submit(assignment(event.number + 4))

    go_on(lambda: (tmp_path / "4").exists())
    begun = [(tmp_path / str(number)).stat().st_mtime for number in range(5)]
    assert begun[4] - max(begun[1:4]) >= 2.0**3 - 0.1  # three died, whatever the machine does besides
    executor.close()
