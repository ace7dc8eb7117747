"""Ray Tune's search as shipped, in simulated time: `OptunaSearch` with `ASHAScheduler`, without a cluster.

The loop does what Tune's controller does with them: a free slot takes a suggestion, each result goes to the
scheduler and to the searcher, a trial that the scheduler stops is told to the searcher as complete.
"""

import heapq
import itertools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweeps.executors.scripted import Step
from sweeps.records import Assignment
from sweeps.spec import SweepSpec


@dataclass(frozen=True)
class Trial:
    """What the scheduler looks at of a trial."""

    trial_id: str


def tune(
    spec: SweepSpec, script: Callable[[Assignment], Iterator[Step]], *, slots: int, epochs: int, seed: int
) -> Iterator[tuple[int, float, bool]]:
    """Runs a sweep as Ray Tune would.

    Args:
        spec: The sweep; its space is asked by a define-by-run function.
        script: What a trial does.
        slots: How many trials run at once.
        epochs: The longest training.
        seed: Of the searcher and of ASHA's brackets.

    Yields:
        At each result: the trial's number, the value, and whether it was its last.
    """
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    np.random.seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = OptunaSearch(
            lambda trial: spec.space.suggest(trial) and None, metric="loss", mode="min", seed=seed
        )
    scheduler: Any = ASHAScheduler(time_attr="training_iteration", metric="loss", mode="min", max_t=epochs)
    order = itertools.count()
    events: list[tuple[float, int, int, Any]] = []
    running: dict[int, tuple[Iterator[Step], int]] = {}

    def go_on(number: int, now: float) -> None:
        steps, done = running[number]
        seconds, value = next(steps)
        running[number] = steps, done + 1
        heapq.heappush(events, (now + seconds, next(order), number, value))

    def start(now: float) -> None:
        number = next(numbers)
        if number >= (spec.budget.trials or 0):
            return
        params: Any = search.suggest(str(number))
        scheduler.on_trial_add(None, Trial(str(number)))
        running[number] = script(Assignment(number, params, {})), 0
        go_on(number, now)

    numbers = itertools.count()
    for _ in range(slots):
        start(0.0)
    while events:
        now, _, number, value = heapq.heappop(events)
        step = running[number][1]
        result = {"loss": value, "training_iteration": step}
        is_bad = value - value != 0
        stops = (
            scheduler.on_trial_result(None, Trial(str(number)), result) == "STOP" or step >= epochs or is_bad
        )
        yield number, value, stops
        if stops:
            search.on_trial_complete(str(number), result, error=is_bad)
            del running[number]
            start(now)
        else:
            search.on_trial_result(str(number), result)
            go_on(number, now)
