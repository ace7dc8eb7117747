"""When no further trial may begin: the hours are over, or by `stop_when` further search is not worth it."""

import time
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sweeps.records import Outcome, State
from sweeps.study.front import Front
from sweeps.study.hours import earlier_seconds
from sweeps.study.outcomes import is_counted, outcome_of
from sweeps.sweep_file.sections import Budget
from sweeps.sweep_file.spec import SweepSpec

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


class Stopping:
    """Counts the ends of trials against the rules of a sweep.

    Args:
        spec: The sweep. Of several objectives, whatever joins the Pareto set is an improvement.
        clock: Seconds from any moment on.
        attributes: The study's, of which this process is the driver; they say how much of the hours drivers
            before have used.
    """

    def __init__(
        self,
        spec: SweepSpec,
        clock: Callable[[], float] = time.monotonic,
        attributes: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._clock, self._started = clock, clock() - earlier_seconds(attributes)
        self._rules = spec.stop_when
        self._sign = 1 if spec.objectives[0].direction == "minimize" else -1
        self._front = Front(spec.objectives)
        self._since_best = 0

    def count(self, outcome: Outcome) -> None:
        """Takes the end of a trial."""
        if outcome.state is not State.INVALID:
            self._since_best = 0 if self._front.add(outcome) else self._since_best + 1

    def is_late(self, budget: Budget) -> bool:
        """Whether the hours of a budget are over."""
        return budget.hours is not None and self._clock() - self._started >= budget.hours * 3600

    @property
    def reason(self) -> str:
        """Which rule ends the sweep; "" while none does, also while no trial is complete."""
        best = self._front.best
        if self._rules is None or best is None:
            return ""
        patience, wanted = self._rules.no_improvement_for, self._rules.value
        if wanted is not None and self._sign * best.values[0] <= self._sign * wanted:
            return f"the objective reached {wanted:g}"
        if patience is not None and self._since_best >= patience:
            return f"{patience} trials in a row were no better than the best"
        return ""


def in_order_of_their_ends(trials: Iterable["FrozenTrial"]) -> list["FrozenTrial"]:
    """The trials of a study as they ended; those that have not come last, by number."""
    return sorted(trials, key=lambda t: (t.datetime_complete is None, t.datetime_complete or 0, t.number))


def stop_reason(trials: Iterable["FrozenTrial"], spec: SweepSpec) -> str:
    """Which rule of `stop_when` the trials of a study fulfil; "" if none."""
    stopping = Stopping(spec)
    for trial in in_order_of_their_ends(filter(is_counted, trials)):
        stopping.count(outcome_of(trial))
    return stopping.reason
