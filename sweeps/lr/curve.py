"""Reads the curves of range tests: a suggested rate, an interval, and how sure that is. NumPy only.

Everything is computed in log10 of the rate, so that a decade counts the same wherever it lies, from raw
losses. The two marks of a curve, and what they are good for, are Smith's (arXiv:1506.01186, section 3.3, and
arXiv:1803.09820, section 4.1): the loss falls while the rate is useful, is lowest shortly before it is too
large, then rises. His and fastai's advice (its `minimum` suggestion, a tenth of the rate at the lowest loss)
is to stay about a decade below.

How far below, and how wide the interval must be to hold the best rate, was measured on small tasks whose best
rates are known from trying them all; see `tests/benchmarks/lr_finder.md`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Confidence = Literal["high", "medium", "low", "none"]

BELOW = 0.62
"""Decades from a curve's turn down to the suggestion."""

INTERVAL = (0.72, 0.75)
"""Decades from the suggestion down to the interval's lower end, and up to its upper end."""

OPEN = 0.25
"""Decades more at the upper end where the loss was still low at the highest rate of the test."""

USUAL_SPREAD = 0.1
"""Decades that the median of the curves is usually off; the interval allows for so much already."""

BANDWIDTH = 0.15
"""Decades: the standard deviation of the smoothing kernel."""

LEAST_FALL = 1e-3
"""The part of its first level that a loss must fall by, or it has learnt nothing."""

SURE = 3.5
"""How many standard errors the smoothed loss must fall by: the lowest of many values is low by chance."""

FEWEST = 10
"""Losses that a curve must have."""


@dataclass(frozen=True)
class Curve:
    """A range test.

    Attributes:
        rates: One for each optimizer step, rising.
        losses: The raw loss of each step, before its update; None where it was not finite.
        optimizer: The optimizer's class.
        problem: Why there is no curve, in one line.
    """

    rates: tuple[float, ...]
    losses: tuple[float | None, ...]
    optimizer: str = ""
    problem: str = ""

    def plain(self) -> dict[str, list[float | None]]:
        """Rates and losses as the study keeps them, in five digits."""
        return {
            "rates": [float(f"{rate:.5g}") for rate in self.rates],
            "losses": [None if loss is None else float(f"{loss:.5g}") for loss in self.losses],
        }


@dataclass(frozen=True)
class Finding:
    """What the curves of one place say.

    Attributes:
        suggestion: The rate to begin with; None if none was found.
        interval: The rates worth searching; None likewise.
        confidence: `high` where at least three curves agree within a factor of 1.6, `medium` within 3.
        notes: Lines for people: what was odd, or why nothing was found.
        curves: The curves.
        suggestions: What each curve alone suggests; None where it says nothing.
    """

    suggestion: float | None = None
    interval: tuple[float, float] | None = None
    confidence: Confidence = "none"
    notes: tuple[str, ...] = ()
    curves: tuple[Curve, ...] = ()
    suggestions: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Marks:
    """What one curve shows, in log10 of the rate.

    Attributes:
        lowest: Where the smoothed loss is lowest.
        risen: Where it has risen again by half of what it had fallen; the last rate if it never does.
        is_open: It never does.
    """

    lowest: float
    risen: float
    is_open: bool

    @property
    def turn(self) -> float:
        """Between the two, closer to the lowest: each alone is noisier."""
        return 0.75 * self.lowest + 0.25 * self.risen


def rates_between(low: float, high: float, steps: int) -> tuple[float, ...]:
    """Rates from `low` to `high`, equal ratios between neighbours."""
    return tuple(float(rate) for rate in np.geomspace(low, high, steps))


def read(curves: Sequence[Curve]) -> Finding:
    """Reads the curves of several configurations or seeds together.

    Args:
        curves: At least one. Those that say nothing are left out.

    Returns:
        The median of what the curves suggest, and the interval around it: wider by as much as they disagree.
        Nothing is found if most of the curves say nothing.
    """
    marks = [marks_of(curve) for curve in curves]
    known = [found for found in marks if isinstance(found, Marks)]
    problems = list(dict.fromkeys(found for found in marks if isinstance(found, str)))
    singles = tuple(_rate(found.turn - BELOW) if isinstance(found, Marks) else None for found in marks)
    if 2 * len(known) <= len(curves):
        return Finding(notes=tuple(problems[:3]), curves=tuple(curves), suggestions=singles)
    turns = np.array([found.turn for found in known])
    middle, spread = float(np.median(turns)) - BELOW, _spread(turns)
    more = max(0.0, spread - USUAL_SPREAD)
    notes = (
        [f"{len(curves) - len(known)} of {len(curves)} curves say nothing: {problems[0]}"] if problems else []
    )
    below, above = INTERVAL
    if 2 * sum(found.is_open for found in known) > len(known):
        above += OPEN
        notes.append(
            "the loss does not rise up to the highest rate of the test, so higher rates may be good, too"
        )
    return Finding(
        suggestion=_rate(middle),
        interval=(_rate(middle - below - more), _rate(middle + above + more)),
        confidence=_confidence(len(known), spread),
        notes=tuple(notes),
        curves=tuple(curves),
        suggestions=singles,
    )


def _rate(log: float) -> float:
    return float(f"{10**log:.4g}")


def _spread(turns: Array) -> float:
    """A robust standard error of the median, in decades: zero for one curve."""
    deviation = 1.4826 * float(np.median(np.abs(turns - np.median(turns))))
    return 1.2533 * deviation / float(np.sqrt(len(turns)))


def _confidence(count: int, spread: float) -> Confidence:
    if count < 2:
        return "low"
    deviation = spread * float(np.sqrt(count)) / 1.2533
    if deviation <= 0.2 and count >= 3:
        return "high"
    return "medium" if deviation <= 0.5 else "low"


def marks_of(curve: Curve) -> Marks | str:
    """The marks of a curve, or in one line why it has none."""
    if curve.problem:
        return curve.problem
    logs, losses = _cut(curve)
    if len(logs) < FEWEST:
        return f"the loss was not finite after {len(logs)} steps"
    smoothed = _smoothed(logs, losses)
    first = losses[: _beginning(len(losses))]
    start = float(np.median(first))
    lowest = int(np.argmin(smoothed))
    fall = start - float(smoothed[lowest])
    if fall < max(LEAST_FALL * abs(start), SURE * _error(logs, losses, lowest, len(first))):
        return "the loss never fell"
    above = np.nonzero(smoothed[lowest:] > smoothed[lowest] + fall / 2)[0]
    has_ended_early = len(curve.losses) < len(curve.rates) or curve.losses[-1] is None
    risen = float(logs[lowest + above[0]]) if len(above) else float(logs[-1])
    return Marks(float(logs[lowest]), risen, is_open=not len(above) and not has_ended_early)


def _cut(curve: Curve) -> tuple[Array, Array]:
    """Log rates and losses up to the first that is not finite; those far above the start are cut off."""
    count = next((i for i, loss in enumerate(curve.losses) if loss is None), len(curve.losses))
    losses = np.array(curve.losses[:count], dtype=np.float64)
    logs = np.log10(np.array(curve.rates[:count], dtype=np.float64))
    if count:
        start = float(np.median(losses[: _beginning(count)]))
        height = max(abs(start), start - float(losses.min()))
        losses = np.minimum(losses, start + 2 * height)
    return logs, losses


def _beginning(count: int) -> int:
    """How many losses are taken for those before anything is learnt: the first fifth, at least five."""
    return max(5, count // 5)


def _error(logs: Array, losses: Array, lowest: int, first: int) -> float:
    """The standard error of the fall, from the median of the first losses to the smoothed lowest.

    The noise is that of the differences between neighbours, of the first half. A median's error is
    sqrt(pi / 2) times a mean's, that of a median of three about 1.16 times; that of a weighted mean is the
    root of the sum of the squared weights, which is larger at the ends of the curve.
    """
    steps = np.diff(losses[: max(5, len(losses) // 2)])
    deviation = 1.4826 * float(np.median(np.abs(steps - np.median(steps)))) / float(np.sqrt(2))
    weights = _weights(logs)[lowest]
    return deviation * float(np.sqrt(1.16**2 * np.sum(weights**2) + np.pi / 2 / first))


def _weights(logs: Array) -> Array:
    """A Gaussian kernel over log rates, one row for each; not narrower than a step."""
    width = max(BANDWIDTH, float(logs[1] - logs[0]))
    weights = np.exp(-0.5 * ((logs[:, None] - logs[None, :]) / width) ** 2)
    scaled: Array = weights / weights.sum(axis=1, keepdims=True)
    return scaled


def _smoothed(logs: Array, losses: Array) -> Array:
    """A running median of three against spikes, then a Gaussian kernel over log rates."""
    padded = np.concatenate([losses[:1], losses, losses[-1:]])
    medians = np.median(np.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0)
    medians[-1] = losses[-1]
    smoothed: Array = _weights(logs) @ medians
    return smoothed
