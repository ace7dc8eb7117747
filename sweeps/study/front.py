"""The best of what was told: one outcome for one objective, the Pareto set for several."""

from collections.abc import Sequence

from sweeps.records import Outcome, State
from sweeps.sweep_file.sections import Objective


class Front:
    """The complete outcomes that no other is better than.

    An outcome is better if it is no worse in any objective and better in one (Pareto dominance, as in
    Deb et al. 2002, doi.org/10.1109/4235.996017). Of one objective's equals only the lowest number stays.

    Attributes:
        outcomes: Sorted by the first objective, the best first.

    Args:
        objectives: The sweep's, in their order.
    """

    def __init__(self, objectives: Sequence[Objective]) -> None:
        self._signs = [1.0 if objective.direction == "minimize" else -1.0 for objective in objectives]
        self.outcomes: list[Outcome] = []

    @property
    def best(self) -> Outcome | None:
        """The one that is best in the first objective, None if nothing is complete."""
        return self.outcomes[0] if self.outcomes else None

    def add(self, outcome: Outcome) -> bool:
        """Takes an outcome; gives whether it is among the best, so far."""
        if outcome.state is not State.COMPLETE or outcome.value is None:
            return False
        if any(self._is_better(other, outcome) for other in self.outcomes):
            return False
        self.outcomes = [other for other in self.outcomes if not self._is_better(outcome, other)]
        self.outcomes.append(outcome)
        self.outcomes.sort(key=lambda other: (self._costs(other)[0], other.number))
        return True

    def _is_better(self, one: Outcome, other: Outcome) -> bool:
        mine, theirs = self._costs(one), self._costs(other)
        if len(mine) == 1:
            return (mine, one.number) < (theirs, other.number)
        return mine != theirs and all(a <= b for a, b in zip(mine, theirs, strict=True))

    def _costs(self, outcome: Outcome) -> tuple[float, ...]:
        """The values with their signs: smaller is better."""
        return tuple(sign * value for sign, value in zip(self._signs, outcome.values, strict=True))
