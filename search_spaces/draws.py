"""Random draws from a search space, always the same ones, where no sampler is at hand."""

import math
import random
from collections.abc import Sequence

from search_spaces.labels import Scalar


class Draws:
    """A trial that answers at random, always with the same sequence for a seed."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - no secret

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Draws a float."""
        if log:
            return min(max(math.exp(self._random.uniform(math.log(low), math.log(high))), low), high)
        if step is not None:
            return low + self._random.randint(0, round((high - low) / step)) * step
        return self._random.uniform(low, high)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """Draws an integer."""
        if log:
            return round(self.suggest_float(name, low, high, log=True))
        return low + self._random.randint(0, (high - low) // step) * step

    def suggest_categorical(self, name: str, choices: Sequence[Scalar]) -> Scalar:
        """Draws a choice."""
        return self._random.choice(choices)
