"""The sampler of a sweep that names none: spread out first, then a Gaussian process, then TPE.

The quasi-random sequence and TPE are Optuna's. The Gaussian process learns from what there is: trials that
run are taken to come out as predicted, a pruned trial as heading where the complete ones went, one that
diverged, failed or was excluded as the worst; values count by rank. Up to there no configuration is proposed
twice. Why each of these, and what it brings: `tests/benchmarks/search.md`.
"""

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, QMCSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtri

from search_spaces.checks import is_whole
from sweeps.samplers.columns import Columns, Params
from sweeps.samplers.gaussian_process import GaussianProcess

if TYPE_CHECKING:
    from optuna.study import Study

Array = NDArray[np.float64]

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
RANDOM_CANDIDATES = 512
BEST_KEPT, CANDIDATES_NEAR_EACH = 10, 30
STEP_SIZES = (-2.0, -0.5)
"""Of candidates near a good point: decimal logarithms of the smallest and largest, in widths of the range."""


class AutoSampler(BaseSampler):
    """Asks a quasi-random sequence, a Gaussian process or TPE, by how many trials have ended.

    Args:
        columns: The search space.
        seed: Of all random numbers.
        n_startup_trials: So many trials, earlier sweeps' included, must have ended before a model is asked.
            Those that broke a constraint count a tenth: they say nothing of values, and cost nothing.
        n_gp_trials: Up to so many, the Gaussian process is asked, then TPE, whose cost grows more slowly.
        history: Complete trials of earlier sweeps, for the Gaussian process: parameters and values.
    """

    def __init__(
        self,
        *,
        columns: Columns,
        seed: int | None = None,
        n_startup_trials: int = 10,
        n_gp_trials: int = 200,
        history: Sequence[tuple[Params, float]] = (),
    ) -> None:
        for name, number in (("n_startup_trials", n_startup_trials), ("n_gp_trials", n_gp_trials)):
            if not is_whole(number) or number < 1:
                raise ValueError(f"`{name}` must be a whole number from 1 on, but got {number!r}")
        self._columns, self._history = columns, history
        self._n_startup_trials, self._n_gp_trials = n_startup_trials, n_gp_trials
        self._random = np.random.default_rng(seed)
        self._settings: Array | None = None
        self._failed: set[int] = set()
        self._killed: set[int] = set()
        is_conditional = any(column.conditions for column in columns.columns)
        self._spread = QMCSampler(scramble=True, seed=int(self._random.integers(2**31)))
        self._tpe = TPESampler(
            seed=seed,
            n_startup_trials=n_startup_trials,
            multivariate=is_conditional or None,
            group=is_conditional,
        )

    def infer_relative_search_space(self, study: "Study", trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Every parameter: the trial takes those that turn out to be active."""
        if self._asks_tpe(study):
            return self._tpe.infer_relative_search_space(study, trial)
        return self._columns.distributions

    def sample_relative(
        self, study: "Study", trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next configuration."""
        if self._asks_tpe(study):
            return self._tpe.sample_relative(study, trial, search_space)
        ended = study.get_trials(deepcopy=False, states=ENDED)
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        running = [other for other in running if other.number != trial.number]
        failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        failed = [other for other in failed if other.number in self._failed | self._killed]
        tried = [other.params for other in (*ended, *running, *failed)]
        excluded = sum(map(_is_excluded, ended))
        if len(ended) - 0.9 * excluded + len(self._history) < self._n_startup_trials:
            return self._not_again(self._spread.sample_relative(study, trial, search_space), tried)
        room = self._n_gp_trials - len(ended)  # the latest: the process' cost grows with the cube of them
        known = [other.params for other in ended]
        lessons = [t for t in failed if t.number in self._failed and t.params not in known][::-1][:room]
        beliefs = [other.params for other in running]
        return self._columns.params(self._ask_gp([*ended, *lessons], beliefs, tried, is_minimised(study)))

    def sample_independent(
        self, study: "Study", trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A single parameter, where TPE does not know it yet."""
        return self._tpe.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: "Study", trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Notes a failure. Those of an earlier driver do not count: what made them fail may be mended."""
        was_killed = trial.user_attrs.get("outcome", {}).get("fault") == "killed"
        if state is TrialState.FAIL:  # one that a person ended may have been as good as any
            (self._killed if was_killed else self._failed).add(trial.number)

    def _asks_tpe(self, study: "Study") -> bool:
        if len(study.directions) > 1:
            return True
        return len(study.get_trials(deepcopy=False, states=ENDED)) > self._n_gp_trials

    def _ask_gp(
        self,
        ended: Sequence[FrozenTrial],
        running: Sequence[Params],
        tried: Sequence[Params],
        minimised: bool,
    ) -> Array:
        sign = 1.0 if minimised else -1.0
        earlier = [sign * value for _, value in self._history]
        values = np.array([*likely_ends(ended, sign, earlier), *earlier])
        scores = normal_scores(values)
        asked = [*(trial.params for trial in ended), *(params for params, _ in self._history)]
        points = self._columns.numbers(asked)
        process = GaussianProcess(points, scores, self._columns.categories, self._settings)
        self._settings, best = process.settings, process.best()
        if running:
            process.believe(self._columns.numbers(running))
        taken = self._columns.numbers(tried) if tried else points[:0]
        candidates = self._candidates(points[np.argsort(scores, kind="stable")[:BEST_KEPT]], taken)
        found: Array = candidates[np.argmax(process.log_expected_improvement(candidates, best))]
        return found

    def _not_again(self, params: dict[str, Any], known: Sequence[Params]) -> dict[str, Any]:
        """The parameters; others if they make a configuration that is known, as in small spaces."""
        asked = self._columns.snapped(self._columns.numbers([params]))
        if not known or len(_new(asked, there := self._columns.numbers(known))):
            return params
        new = _new(self._everywhere(), there)
        return self._columns.params(self._random.permutation(new)[0]) if len(new) else params

    def _candidates(self, good: Array, known: Array) -> Array:
        """Points all over the space and near good ones; none that is known, if there is any other."""
        near = self._moved(np.repeat(good, CANDIDATES_NEAR_EACH, axis=0))
        candidates = np.concatenate([self._everywhere(), self._columns.snapped(near)])
        new = _new(candidates, known)
        return self._random.permutation(new if len(new) else np.unique(candidates.round(12), axis=0))

    def _everywhere(self) -> Array:
        return self._columns.drawn(self._random.random((RANDOM_CANDIDATES, len(self._columns.columns))))

    def _moved(self, rows: Array) -> Array:
        """Rows of which one to three parameters are changed: half of these a little, half to anything."""
        count = len(self._columns.columns)
        order = self._random.random(rows.shape).argsort(1)
        chosen = order < self._random.integers(1, min(3, count) + 1, (len(rows), 1))
        steps = self._random.normal(size=rows.shape) * 10 ** self._random.uniform(*STEP_SIZES, rows.shape)
        levels = np.array([column.levels or 0 for column in self._columns.columns])
        least = np.where(levels > 0, 1 / np.maximum(levels, 1), 0.0)  # to the next level, at least
        steps = np.sign(steps) * np.maximum(np.abs(steps), least)
        anything = self._columns.drawn(self._random.random(rows.shape))
        is_little = (self._random.random(rows.shape) < 0.5) & ~self._columns.categories
        little = np.clip(rows + steps, 0.0, 1.0)
        moved: Array = np.where(chosen, np.where(is_little, little, anything), rows)
        return moved


def _is_excluded(trial: FrozenTrial) -> bool:
    return bool(trial.user_attrs.get("outcome", {}).get("state") == "excluded")


def _new(rows: Array, known: Array) -> Array:
    """The rows that are not known, each once."""
    taken = {tuple(row) for row in known.round(12)}
    found: Array = np.unique(rows.round(12), axis=0)
    return found[[tuple(row) not in taken for row in found]]


def is_minimised(study: "Study") -> bool:
    """Whether smaller is better."""
    return bool(study.direction == StudyDirection.MINIMIZE)


def likely_ends(trials: Sequence[FrozenTrial], sign: float, earlier: Sequence[float] = ()) -> list[float]:
    """The value of each trial, times `sign`; of a pruned one, the value that it was heading for.

    A pruned trial is taken to change from its last validation on as the complete trials did, in the median.
    One that diverged, failed, was invalid or broke a constraint is as bad as the worst.

    Args:
        trials: Those that ended.
        sign: -1 where larger is better.
        earlier: The values of earlier sweeps' trials, times `sign`.
    """
    gains: dict[int, float] = {}
    found = [_likely_end(trial, trials, gains) for trial in trials]
    known = [sign * value for value in found if value is not None]
    worst = max([*known, *earlier], default=0.0)
    return [worst if value is None else sign * value for value in found]


def _likely_end(trial: FrozenTrial, trials: Sequence[FrozenTrial], gains: dict[int, float]) -> float | None:
    if trial.state is TrialState.COMPLETE:
        return trial.value
    said = trial.user_attrs.get("outcome", {}).get("state", "pruned")
    step = trial.last_step
    if trial.state is not TrialState.PRUNED or said != "pruned" or step is None:
        return None
    if step not in gains:
        complete = [t for t in trials if t.state is TrialState.COMPLETE and step in t.intermediate_values]
        changes = [t.value - t.intermediate_values[step] for t in complete if t.value is not None]
        gains[step] = statistics.median(changes) if changes else 0.0
    return trial.intermediate_values[step] + gains[step]


def normal_scores(values: Array) -> Array:
    """The values by their rank, as quantiles of the normal distribution; equal ones get their mean rank.

    So that neither a few diverging trials nor the objective's scale matter. Source: the Gaussian copula of
    Salinas et al. 2020 (proceedings.mlr.press/v119/salinas20a.html).
    """
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(count) - (count - 1) / 2
    scores: Array = ndtri((ranks[place] - 0.5) / len(values))
    return scores
