"""Other tools' search as shipped, in simulated time: Ray Tune's and Syne Tune's, without their clusters.

The loop does what their controllers do: a free slot takes a suggestion, each result goes to the scheduler,
which may end the trial, and to the searcher.
"""

import heapq
import itertools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import numpy as np
from optuna.distributions import CategoricalDistribution

from sweeps.executors.scripted import Step
from sweeps.records import Assignment
from sweeps.samplers.columns import Columns
from sweeps.sweep_file.spec import SweepSpec


class Peer(Protocol):
    """A searcher with its scheduler."""

    def suggest(self, number: int) -> dict[str, Any]:
        """The parameters of a new trial."""

    def stops(self, number: int, value: float, step: int) -> bool:
        """Takes a result and says whether it is the trial's last one."""


@dataclass(frozen=True)
class Trial:
    """What Ray's scheduler looks at of a trial."""

    trial_id: str


class RayTune:
    """`OptunaSearch` with `ASHAScheduler`; a trial that the scheduler stops is complete for the searcher.

    Args:
        spec: The sweep; its space is asked by a define-by-run function.
        epochs: The longest training.
        seed: Of the searcher and of ASHA's brackets.
    """

    def __init__(self, spec: SweepSpec, epochs: int, seed: int) -> None:
        from ray.tune.schedulers import ASHAScheduler
        from ray.tune.search.optuna import OptunaSearch

        np.random.seed(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._search = OptunaSearch(
                lambda trial: spec.space.suggest(trial) and None, metric="loss", mode="min", seed=seed
            )
        self._scheduler: Any = ASHAScheduler(
            time_attr="training_iteration", metric="loss", mode="min", max_t=epochs
        )
        self._epochs = epochs

    def suggest(self, number: int) -> dict[str, Any]:
        """See `Peer`."""
        params: Any = self._search.suggest(str(number))
        self._scheduler.on_trial_add(None, Trial(str(number)))
        return dict(params)

    def stops(self, number: int, value: float, step: int) -> bool:
        """See `Peer`."""
        result, is_bad = {"loss": value, "training_iteration": step}, not np.isfinite(value)
        decision = self._scheduler.on_trial_result(None, Trial(str(number)), result)
        if decision == "STOP" or step >= self._epochs or is_bad:
            self._search.on_trial_complete(str(number), result, error=is_bad)
            return True
        self._search.on_trial_result(str(number), result)
        return False


class SyneTune:
    """A scheduler of `syne_tune.optimizer.baselines`; it knows no branches, so all parameters are there.

    Args:
        name: The class: `ASHACQR` or `BOHB` for curves, `CQR` for trials of one value.
        spec: The sweep.
        epochs: The longest training.
        seed: Of the searcher and of ASHA's brackets.
    """

    def __init__(self, name: str, spec: SweepSpec, epochs: int, seed: int) -> None:
        from syne_tune.optimizer import baselines

        np.random.seed(seed)
        multi = {"time_attr": "epoch", "max_t": epochs} if name in ("ASHACQR", "BOHB") else {}
        self._scheduler = getattr(baselines, name)(
            config_space=_syne_space(spec), metric="loss", random_seed=seed, **multi
        )
        self._epochs = epochs
        self._trials: dict[int, Any] = {}

    def suggest(self, number: int) -> dict[str, Any]:
        """See `Peer`."""
        from syne_tune.backend.trial_status import Trial as SyneTrial

        config = self._scheduler.suggest().config
        self._trials[number] = SyneTrial(number, config, datetime.now())
        self._scheduler.on_trial_add(self._trials[number])
        return dict(config)

    def stops(self, number: int, value: float, step: int) -> bool:
        """See `Peer`."""
        trial, result = self._trials[number], {"loss": value, "epoch": step}
        if not np.isfinite(value):
            self._scheduler.on_trial_error(trial)
            return True
        if self._scheduler.on_trial_result(trial, result) == "STOP":
            self._scheduler.on_trial_remove(trial)
            return True
        if step >= self._epochs:
            self._scheduler.on_trial_complete(trial, result)
            return True
        return False


def _syne_space(spec: SweepSpec) -> dict[str, Any]:
    from syne_tune.config_space import choice, lograndint, loguniform, randint, uniform

    space: dict[str, Any] = {}
    for name, found in Columns.of(spec.space).distributions.items():
        one: Any = found
        if isinstance(one, CategoricalDistribution):
            space[name] = choice(list(one.choices))
        elif isinstance(one.high, int):
            space[name] = (lograndint if one.log else randint)(one.low, one.high)
        else:
            space[name] = (loguniform if one.log else uniform)(one.low, one.high)
    return space


PEERS: dict[str, Callable[[SweepSpec, int, int], Peer]] = {
    "ray": RayTune,
    "syne tune, cqr": lambda spec, epochs, seed: SyneTune("CQR", spec, epochs, seed),
    "syne tune, asha and cqr": lambda spec, epochs, seed: SyneTune("ASHACQR", spec, epochs, seed),
    "syne tune, bohb": lambda spec, epochs, seed: SyneTune("BOHB", spec, epochs, seed),
}
"""Syne Tune is not installed with the project: `pip install syne-tune`, with `xgboost-cpu` for its `cqr`."""


def play(
    peer: Peer, script: Callable[[Assignment], Iterator[Step]], *, trials: int, slots: int
) -> Iterator[tuple[int, float, bool]]:
    """Runs a sweep as the peer's controller would.

    Args:
        peer: Proposes and stops.
        script: What a trial does.
        trials: How many there are.
        slots: How many run at once.

    Yields:
        At each result: the trial's number, the value, and whether it was its last.
    """
    order, numbers = itertools.count(), itertools.count()
    events: list[tuple[float, int, int, Any]] = []
    running: dict[int, tuple[Iterator[Step], int]] = {}

    def go_on(number: int, now: float) -> None:
        steps, done = running[number]
        seconds, value = next(steps)
        running[number] = steps, done + 1
        heapq.heappush(events, (now + seconds, next(order), number, value))

    def start(now: float) -> None:
        if (number := next(numbers)) < trials:
            running[number] = script(Assignment(number, peer.suggest(number), {})), 0
            go_on(number, now)

    for _ in range(slots):
        start(0.0)
    while events:
        now, _, number, value = heapq.heappop(events)
        stops = peer.stops(number, value, running[number][1])
        yield number, value, stops
        if stops:
            del running[number]
            start(now)
        else:
            go_on(number, now)
