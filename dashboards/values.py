"""What several figures share before anything is drawn: a trial's value, thinning, the range worth showing."""

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import TypeVar

from dashboards.records import Trial

T = TypeVar("T")

# A value is an outlier if it lies this many interquartile ranges beyond the quartiles: Tukey's "far out"
# (Exploratory Data Analysis, 1977).
_FAR_OUT = 3.0


def value_of(trial: Trial) -> float | None:
    """Return a trial's objective, or its last finite one if it was stopped; None without any."""
    if trial.value is not None and math.isfinite(trial.value):
        return trial.value
    return next((v for v in reversed(list(trial.intermediate.values())) if math.isfinite(v)), None)


def spread(items: Sequence[T], most: int) -> list[T]:
    """Return at most `most` items, evenly spaced, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    if most < 2:
        return list(items[:most])
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def thinned(values: Sequence[float], most: int) -> list[int]:
    """Return the places of at most `most` points that keep a curve's look: ends, extremes, an even rest."""
    if len(values) <= most:
        return list(range(len(values)))
    finite = [i for i, value in enumerate(values) if math.isfinite(value)]
    kept = {0, len(values) - 1}
    if finite:
        kept |= {min(finite, key=values.__getitem__), max(finite, key=values.__getitem__)}
    rest = [i for i in range(len(values)) if i not in kept]
    return sorted(kept | set(spread(rest, most - len(kept))))


def view(values: Iterable[float], direction: str) -> tuple[float, float] | None:
    """Return the range to show, so that a few bad outliers do not flatten the rest; None shows everything.

    Only outliers on the bad side are left outside: above for `minimize`, below for `maximize`.
    """
    finite = sorted(value for value in values if math.isfinite(value))
    if len(finite) < 4:
        return None
    lower, _, upper = statistics.quantiles(finite, method="inclusive")
    reach = _FAR_OUT * (upper - lower)
    low, high = finite[0], finite[-1]
    if direction == "maximize":
        low = max(low, lower - reach)
    else:
        high = min(high, upper + reach)
    if (low, high) == (finite[0], finite[-1]) or low == high:
        return None
    margin = 0.05 * (high - low)
    return low - margin, high + margin


def outside(values: Iterable[float], range_: tuple[float, float] | None) -> int:
    """Count the finite values that a range does not show."""
    if range_ is None:
        return 0
    return sum(not range_[0] <= value <= range_[1] for value in values if math.isfinite(value))
