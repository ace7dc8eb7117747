"""Parameters as columns of numbers from 0 to 1, for a model that learns from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FixedTrial

from search_spaces import SearchSpace
from search_spaces.checks import is_number

Array = NDArray[np.float64]
Params = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """One parameter.

    Attributes:
        name: Optuna's.
        distribution: What it may be, as a trial is asked for it.
        conditions: What earlier parameters must be for it to be active.
    """

    name: str
    distribution: BaseDistribution
    conditions: tuple[tuple[str, tuple[Any, ...]], ...] = ()

    @property
    def is_category(self) -> bool:
        """Whether its values have no order: of lists, only one of numbers, up or down, has one."""
        if not isinstance(self.distribution, CategoricalDistribution):
            return False
        choices: list[Any] = list(self.distribution.choices)
        are_numbers = all(type(choice) in (int, float) for choice in choices)
        return not are_numbers or choices not in (sorted(choices), sorted(choices, reverse=True))

    @property
    def levels(self) -> int | None:
        """How many values it has, evenly apart; None if it is continuous, or an integer on a log scale."""
        match self.distribution:
            case CategoricalDistribution(choices=choices):
                return len(choices)
            case FloatDistribution(step=None) | IntDistribution(log=True):
                return None
            case FloatDistribution() | IntDistribution():
                low, high = self.distribution.low, self.distribution.high
                return round((high - low) / (self.distribution.step or 1)) + 1
        raise TypeError(f"{self.name}: {self.distribution} is not known here")

    @property
    def missing(self) -> float:
        """What stands where the parameter is not active: always the same."""
        return 0.0 if self.is_category else 0.5

    def number(self, params: Params) -> float:
        """The number for the value in `params`."""
        if self.name not in params:
            return self.missing
        value = params[self.name]
        distribution: Any = self.distribution
        if isinstance(distribution, CategoricalDistribution):
            index = distribution.choices.index(value)
            return float(index) if self.is_category else (index + 0.5) / len(distribution.choices)
        if self.levels is not None:
            level = round((value - distribution.low) / (distribution.step or 1))
            return float((level + 0.5) / self.levels)
        low, high = self._ends
        place = (np.log(value) if distribution.log else value) - low
        return float(place / (high - low))

    def value(self, number: float) -> Any:
        """The value for a number; the nearest that the parameter may have."""
        distribution: Any = self.distribution
        if isinstance(distribution, CategoricalDistribution):
            count = len(distribution.choices)
            index = round(number) if self.is_category else min(int(number * count), count - 1)
            return distribution.choices[index]
        if self.levels is not None:
            found = distribution.low + min(int(number * self.levels), self.levels - 1) * distribution.step
        else:
            low, high = self._ends
            found = low + number * (high - low)
            found = float(np.exp(found)) if distribution.log else found
        if isinstance(distribution, IntDistribution):
            found = round(found)
        return min(max(found, distribution.low), distribution.high)

    @property
    def _ends(self) -> tuple[float, float]:
        """The ends of the scale; those of integers lie half a step outside, so that all are equally wide."""
        distribution: Any = self.distribution
        margin = 0.5 if isinstance(distribution, IntDistribution) else 0.0
        low, high = distribution.low - margin, distribution.high + margin
        return (float(np.log(low)), float(np.log(high))) if distribution.log else (low, high)

    def snapped(self, numbers: Array) -> Array:
        """The numbers of the values that stand for these numbers, shape (any,)."""
        if self.is_category:
            return numbers
        if self.levels is not None:
            return (np.minimum(np.floor(numbers * self.levels), self.levels - 1) + 0.5) / self.levels
        if isinstance(self.distribution, IntDistribution):
            return np.array([self.number({self.name: self.value(number)}) for number in numbers])
        return numbers

    def fits(self, params: Params) -> bool:
        """Whether the value in `params` is one that this parameter may have."""
        distribution: Any = self.distribution
        value = params[self.name]
        if isinstance(distribution, CategoricalDistribution):
            return value in distribution.choices
        return is_number(value) and bool(distribution.low <= value <= distribution.high)


@dataclass(frozen=True)
class Columns:
    """All parameters of a space, active or not, in the order of the file."""

    columns: tuple[Column, ...]

    @classmethod
    def of(cls, space: SearchSpace) -> "Columns":
        """The columns of a search space."""
        trial = FixedTrial({site.name: site.content.centre for site in space.sites})
        for site in space.sites:
            site.content.suggest(site.name, trial)
        ranges = trial.distributions
        return cls(tuple(Column(site.name, ranges[site.name], site.conditions) for site in space.sites))

    @property
    def categories(self) -> NDArray[np.bool_]:
        """Which columns have no order."""
        return np.array([column.is_category for column in self.columns])

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """What each parameter may be."""
        return {column.name: column.distribution for column in self.columns}

    def numbers(self, trials: Sequence[Params]) -> Array:
        """One row for each set of parameters."""
        return np.array([[column.number(params) for column in self.columns] for params in trials])

    def params(self, row: Array) -> dict[str, Any]:
        """The parameters of a row, active or not."""
        return {c.name: c.value(number) for c, number in zip(self.columns, row, strict=True)}

    def fits(self, params: Params) -> bool:
        """Whether these are exactly the active parameters of one configuration of the space."""
        active = {c.name for c in self.columns if all(params.get(n) in values for n, values in c.conditions)}
        return active == params.keys() and all(c.fits(params) for c in self.columns if c.name in active)

    def drawn(self, uniform: Array) -> Array:
        """Rows for numbers that are evenly distributed in 0..1, shape (rows, columns)."""
        rows = uniform.copy()
        for index, column in enumerate(self.columns):
            if column.is_category:
                count = column.levels or 1
                rows[:, index] = np.minimum(np.floor(uniform[:, index] * count), count - 1)
        return self.snapped(rows)

    def snapped(self, rows: Array) -> Array:
        """The rows that the values for these rows have; what is not active is the same in all."""
        rows = np.stack([c.snapped(rows[:, index]) for index, c in enumerate(self.columns)], axis=1)
        active: dict[str, NDArray[np.bool_]] = {}
        at = {column.name: index for index, column in enumerate(self.columns)}
        for index, column in enumerate(self.columns):
            is_active = np.ones(len(rows), bool)
            for name, values in column.conditions:
                known = self.columns[at[name]]
                numbers = [known.number({name: value}) for value in values]
                is_active &= active[name] & np.isclose(rows[:, at[name], None], numbers).any(1)
            rows[~is_active, index] = column.missing
            active[column.name] = is_active
        return rows
