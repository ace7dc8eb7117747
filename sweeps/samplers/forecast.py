"""A pruner that forecasts where a trial will end, from those that did.

How it compares with the median pruner and others, and where it loses: `tests/benchmarks/search.md`.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.special import stdtr

from search_spaces.checks import is_number, is_whole

if TYPE_CHECKING:
    from optuna.study import Study

Array = NDArray[np.float64]

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
FARTHEST = 1e100
PRIOR_TRIALS = 2.0
"""How many trials the expectation of how far forecasts are off counts for."""
PRIOR_VARIANCE = 1.0
"""Of a forecast for a whole training: as far off as the complete trials' values lie apart."""
PRIOR_PRECISION = 1.0
"""Of the slope, which is expected to be 0: as if one more trial had shown it."""


class ForecastPruner(BasePruner):
    """Prunes a trial once to train it to its end is a worse bet than to train a new one.

    At validation s, each complete trial i shows a change c_i from x_i, its best value until s, to its end.
    The changes are a line in x with normal deviations, and by Bayesian linear regression the end of a
    trial that stands at x is distributed as Student's t around x + mean(c) + b (x - mean(x)), with

        S = sum((x_i - mean(x))^2) + 1,  b = sum((x_i - mean(x)) (c_i - mean(c))) / S,
        n - 1 + 2 degrees of freedom and the variance v (1 + 1/n + (x - mean(x))^2 / S), where
        v = (sum((c_i - mean(c) - b (x_i - mean(x)))^2) + b^2 + 2 r) / (n + 1)

    and r is the share of the training that is left. So it prunes little while few trials are complete, and
    far from where they stood. The chance that its end is better than the best so far costs the share r of a
    training; of m trials that ended and a new one, drawn like them, each is as likely the best, and that
    chance of 1 / (m + 1) costs a whole training. The trial is pruned if it gives less for the same cost.
    The best quarter of all trials at a validation is never pruned: what the complete ones do is learned from
    those that were let go on, and slow starters would be missing among them.
    Values count as asinh((value - best) / spread), where spread is how far the complete trials' values lie
    from their median, in the median: evenly near the best, by orders of magnitude far from it, whatever the
    objective's scale, zero and sign.
    Trainings are taken to be equally long. Where the space varies their length and the schedule goes with it,
    long ones stand behind short ones at a validation, and are pruned: `sweeps check` advises against it.

    Source: the conjugate prior of linear regression, Gelman et al., Bayesian Data Analysis (2013), 14.8
    (stat.columbia.edu/~gelman/book); the best share that goes on is that of asynchronous successive halving
    (Li et al. 2020, arXiv:1810.05934).

    Args:
        n_startup_trials: So many complete trials must have gone on from the validation, or nothing is pruned.
        n_warmup_steps: The first validation at which a trial may be pruned.
        fraction: Of a new trial's chance: below it a trial is pruned. A smaller one prunes less.
        keep: The share of the trials, those that stand best at a validation, that is not pruned there.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self, *, n_startup_trials: int, n_warmup_steps: int, fraction: float = 1.0, keep: float = 0.25
    ) -> None:
        for name, number in (("n_startup_trials", n_startup_trials), ("n_warmup_steps", n_warmup_steps)):
            if not is_whole(number) or number < 0:
                raise ValueError(f"`{name}` must be a whole number from 0 on, but got {number!r}")
        if not is_number(fraction) or not 0 < fraction < math.inf:
            raise ValueError(f"`fraction` must be a number above 0, but got {fraction!r}")
        if not is_number(keep) or not 0 <= keep < 1:
            raise ValueError(f"`keep` must be a number from 0 to below 1, but got {keep!r}")
        self._n_startup_trials, self._n_warmup_steps = n_startup_trials, n_warmup_steps
        self._fraction, self._keep = fraction, keep
        self._study: Study | None = None
        self._curves: dict[int, Curve] = {}
        self._forecasts: dict[int, Forecast | None] = {}

    def prune(self, study: "Study", trial: FrozenTrial) -> bool:
        """Whether the trial, which has just reported, is to end."""
        step = trial.last_step
        if step is None or step < self._n_warmup_steps:
            return False
        sign = 1.0 if study.direction == StudyDirection.MINIMIZE else -1.0
        self._learn(study, study.get_trials(deepcopy=False, states=ENDED), sign)
        curves = [curve for curve in self._curves.values() if curve.steps]
        if step not in self._forecasts:
            self._forecasts[step] = forecast(curves, step, max(1, self._n_startup_trials))
        found = self._forecasts[step]
        if found is None:
            return False
        value, of_a_new_one = Curve.of(trial, sign).until(step), 1 / (len(curves) + 1)
        if found.chance(value) >= self._fraction * of_a_new_one * found.left:
            return False
        better = (curve for curve in curves if curve.steps[-1] >= step and curve.until(step) < value)
        enough = math.ceil(self._keep * len(curves))
        return sum(1 for _ in islice(better, enough)) == enough

    def _learn(self, study: "Study", ended: Sequence[FrozenTrial], sign: float) -> None:
        """Keeps the curves of the trials that ended, which change no more, and what follows from them."""
        if study is not self._study:
            self._study, self._curves, self._forecasts = study, {}, {}
        if len(ended) != len(self._curves):
            new = {t.number: Curve.of(t, sign) for t in ended if t.number not in self._curves}
            if any(math.isfinite(curve.end) for curve in new.values()):
                self._forecasts = {}
            self._curves |= new


@dataclass(frozen=True)
class Curve:
    """What a trial reported, times the sign of the direction: smaller is better.

    Attributes:
        steps: Its validations, in order.
        best: The best finite value until each.
        end: Its value; NaN if it is not complete.
    """

    steps: tuple[int, ...]
    best: tuple[float, ...]
    end: float

    @classmethod
    def of(cls, trial: FrozenTrial, sign: float) -> "Curve":
        """The curve of a trial."""
        best, found = math.inf, []
        for _, value in sorted(trial.intermediate_values.items()):
            if math.isfinite(value):
                best = min(best, sign * value)
            found.append(best)
        is_complete = trial.state is TrialState.COMPLETE and trial.value is not None
        end = sign * trial.value if is_complete else math.nan  # type: ignore[operator]
        return cls(tuple(sorted(trial.intermediate_values)), tuple(found), end)

    def until(self, step: int) -> float:
        """The best value until a validation; infinite if there is none."""
        index = bisect_right(self.steps, step)
        return self.best[index - 1] if index else math.inf

    def is_known(self, step: int) -> bool:
        """Whether it tells how a training goes on from a validation."""
        return bool(self.steps) and self.steps[-1] > step and math.isfinite(self.until(step))


@dataclass(frozen=True)
class Forecast:
    """The distribution of a trial's end, given where it stands; see `ForecastPruner`.

    Attributes:
        best: The best value so far.
        spread: The unit of values.
        mean: Of the complete trials, at the validation.
        change: Their mean change from there to their ends.
        slope: What a trial that stands one unit higher changes more.
        squares: S of the formula.
        variance: v of the formula.
        trials: Complete trials.
        left: r of the formula.
    """

    best: float
    spread: float
    mean: float
    change: float
    slope: float
    squares: float
    variance: float
    trials: int
    left: float

    def chance(self, value: float) -> float:
        """The chance, 0 to 1, that a trial whose best value so far this is ends below the best one."""
        if not math.isfinite(value):
            return 0.0
        stands = float(scaled(np.array([value]), self.best, self.spread)[0])
        away = stands - self.mean
        deviation = math.sqrt(self.variance * (1 + 1 / self.trials + away**2 / self.squares))
        end = stands + self.change + self.slope * away
        return float(stdtr(self.trials - 1 + PRIOR_TRIALS, -end / deviation))


def forecast(curves: Sequence[Curve], step: int, least: int) -> Forecast | None:
    """What the complete trials say of the end of a trial that has come to a validation.

    Args:
        curves: Of the complete trials.
        step: The validation.
        least: How many of them must have gone on from there.

    Returns:
        None if too few did, or if all ended at the same value.
    """
    ends = np.array([curve.end for curve in curves if math.isfinite(curve.end)])
    known = [curve for curve in curves if math.isfinite(curve.end) and curve.is_known(step)]
    if len(known) < max(1, least) or not (spread := spread_of(ends)):
        return None
    best = float(ends.min())
    stood = scaled(np.array([curve.until(step) for curve in known]), best, spread)
    changes = scaled(np.array([curve.end for curve in known]), best, spread) - stood
    left = float(np.mean([1 - step / curve.steps[-1] for curve in known]))
    apart = stood - stood.mean()
    squares = float(apart @ apart) + PRIOR_PRECISION
    slope = float(apart @ changes) / squares
    rest = changes - changes.mean() - slope * apart
    prior = PRIOR_PRECISION * slope**2 + PRIOR_TRIALS * PRIOR_VARIANCE * left
    variance = (float(rest @ rest) + prior) / (len(known) - 1 + PRIOR_TRIALS)
    return Forecast(
        best, spread, float(stood.mean()), float(changes.mean()), slope, squares, variance, len(known), left
    )


def spread_of(ends: Array) -> float:
    """The median absolute deviation from the median; the standard deviation where that is 0 by ties."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = float(np.median(np.abs(ends - np.median(ends)))) or float(ends.std())
    return found if math.isfinite(found) else 0.0


def scaled(values: Array, best: float, spread: float) -> Array:
    """The values as they count, shape (any,); see `ForecastPruner`."""
    with np.errstate(over="ignore"):
        found: Array = np.arcsinh(np.clip((values - best) / spread, -FARTHEST, FARTHEST))
    return found
