"""What one parameter may be: a float, an integer, or one of several choices. Each checks itself.

A parameter asks a `Trial` for a value. `optuna.Trial` satisfies that protocol, and so does a ten-line
fake, which is why nothing here imports Optuna. The rules and the form of the messages are those of
`optuna.distributions`; stricter where Optuna warns and adjusts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from search_spaces.checks import check_range, count_steps, exact, number, whole
from search_spaces.errors import SpaceError
from search_spaces.labels import Scalar, alternatives, check_distinct, choice_text, label
from search_spaces.paths import unshared
from search_spaces.wording import nearest, shown


class Trial(Protocol):
    """Answers with one value per question; the answers are a trial's parameters."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Return a float from low to high, both included."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """Return an integer from low to high, both included."""

    def suggest_categorical(self, name: str, choices: Sequence[Scalar]) -> Scalar:
        """Return one of the choices."""


@dataclass(frozen=True)
class FloatParameter:
    """A float from `low` to `high`, both included.

    Attributes:
        low: Smallest value.
        high: Largest value.
        log: Whether equal ratios, not equal differences, are equally likely.
        step: Distance between neighbouring values; None for any value.

    Raises:
        SpaceError: If the bounds are no finite numbers, do not leave a range, or contradict `log` or `step`.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        low, high = number("low", self.low), number("high", self.high)
        check_range(low, high, self.log)
        if not math.isfinite(high - low):
            raise SpaceError("", f"`high - low` must be finite, but got low={low}, high={high}.")
        if self.log and low <= 0:
            raise SpaceError("", f"`low > 0` must hold with `log: true`, but got low={low}.")
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)
        if self.step is not None:
            step = number("step", self.step)
            if self.log:
                raise SpaceError("", f"`step` and `log: true` exclude each other, but got step={step}.")
            count_steps(low, high, step)
            object.__setattr__(self, "step", step)

    def suggest(self, name: str, trial: Trial) -> float:
        """Ask `trial` for this parameter's value."""
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)

    def decode(self, stored: object) -> float:
        """Return the configuration value for a stored one.

        The range is not checked: a trial from before the range was narrowed still has its configuration.

        Raises:
            SpaceError: If `stored` is not a finite number.
        """
        return number("value", stored)

    @property
    def centre(self) -> float:
        """The middle of the range, on the step; the geometric mean with `log`."""
        if self.log:
            middle = math.exp((math.log(self.low) + math.log(self.high)) / 2)
            return min(max(middle, self.low), self.high)
        if self.step is not None:
            half = count_steps(self.low, self.high, self.step) // 2
            return float(exact(self.low) + half * exact(self.step))
        return self.low + (self.high - self.low) / 2

    @property
    def edges(self) -> tuple[float, float]:
        """The values worth validating."""
        return self.low, self.high

    def describe(self) -> str:
        """Return a short text such as `float 1e-05 .. 0.01 log`."""
        return f"float {self.low} .. {self.high}" + _suffix(self.log, self.step)


@dataclass(frozen=True)
class IntParameter:
    """An integer from `low` to `high`, both included.

    Attributes:
        low: Smallest value; a float such as 1e3 is taken as the integer it equals.
        high: Largest value; likewise.
        log: Whether equal ratios, not equal differences, are equally likely.
        step: Distance between neighbouring values.

    Raises:
        SpaceError: If the bounds are not whole, do not leave a range, or contradict `log` or `step`.
    """

    low: int
    high: int
    log: bool = False
    step: int = 1

    def __post_init__(self) -> None:
        low, high, step = whole("low", self.low), whole("high", self.high), whole("step", self.step)
        check_range(low, high, self.log)
        if self.log and low < 1:
            raise SpaceError("", f"`low > 0` must hold with `log: true`, but got low={low}.")
        if self.log and step != 1:
            raise SpaceError("", f"`step` and `log: true` exclude each other, but got step={step}.")
        count_steps(low, high, step)
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)
        object.__setattr__(self, "step", step)

    def suggest(self, name: str, trial: Trial) -> int:
        """Ask `trial` for this parameter's value."""
        return trial.suggest_int(name, self.low, self.high, step=self.step, log=self.log)

    def decode(self, stored: object) -> int:
        """Return the configuration value for a stored one; the range is not checked.

        Raises:
            SpaceError: If `stored` is not a whole number.
        """
        return whole("value", stored)

    @property
    def centre(self) -> int:
        """The middle of the range, on the step; the rounded geometric mean with `log`."""
        if self.log:
            return round(math.sqrt(self.low) * math.sqrt(self.high))
        return self.low + (self.high - self.low) // self.step // 2 * self.step

    @property
    def edges(self) -> tuple[int, int]:
        """The values worth validating."""
        return self.low, self.high

    def describe(self) -> str:
        """Return a short text such as `int 16 .. 256 log`."""
        return f"int {self.low} .. {self.high}" + _suffix(self.log, self.step if self.step != 1 else None)


@dataclass(frozen=True)
class CategoricalParameter:
    """One of several values, without an order.

    Optuna stores scalars only, so a list or mapping is known to it by its compact JSON text.

    Attributes:
        choices: At least two different YAML values.

    Raises:
        SpaceError: If there are fewer than two choices, two are equal (as 1, 1.0 and true are), or one is
            NaN or not a YAML value.
    """

    choices: tuple[object, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.choices, list | tuple):
            raise SpaceError("", f"`choices` must be a list, but is {shown(self.choices)}.")
        choices = tuple(unshared(choice) for choice in self.choices)
        object.__setattr__(self, "choices", choices)
        if not choices:
            raise SpaceError("", "`choices` must hold at least two values, but is empty.")
        if len(choices) == 1:
            rule = f"the only choice is {shown(choices[0])}: put the value in the base configuration instead."
            raise SpaceError("", rule)
        check_distinct(choices)

    @property
    def labels(self) -> tuple[Scalar, ...]:
        """The choices as Optuna stores them, in the same order."""
        return tuple(label(choice) for choice in self.choices)

    def suggest(self, name: str, trial: Trial) -> Scalar:
        """Ask `trial` for this parameter's label."""
        return trial.suggest_categorical(name, self.labels)

    def decode(self, stored: object) -> object:
        """Return a fresh copy of the choice behind a label.

        Raises:
            SpaceError: If no choice has that label.
        """
        labels = self.labels
        if stored not in labels:
            options = [choice_text(choice) for choice in self.choices]
            raise SpaceError("", f"{shown(stored)} is not a choice{nearest(stored, options)}")
        return unshared(self.choices[labels.index(stored)])

    @property
    def centre(self) -> Scalar:
        """The first label."""
        return self.labels[0]

    @property
    def edges(self) -> tuple[Scalar, ...]:
        """All labels: each is worth validating."""
        return self.labels

    def describe(self) -> str:
        """Return a short text such as `32 | 64 | 128`; only the first of many choices are shown."""
        return alternatives([choice_text(choice) for choice in self.choices])


Parameter = FloatParameter | IntParameter | CategoricalParameter


def _suffix(log: bool, step: float | None) -> str:
    return " log" if log else f" step {step}" if step is not None else ""
