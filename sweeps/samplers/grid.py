"""Grid search: every configuration once, and then no more.

Optuna's GridSampler knows no conditions, and both it and BruteForceSampler give configurations again that
still run, as soon as the last ones are asked. This one asks each once.
"""

import random
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from search_spaces.checks import is_whole
from sweeps.sweep_file.cells import cells_of
from sweeps.sweep_file.sections import written_out
from sweeps.sweep_file.spec import SweepSpec

Cell = Mapping[str, Any]


class GridSampler(BaseSampler):
    """Gives the cells of a grid in random order, so that a sweep cut short has seen all parts of it.

    Args:
        cells: The parameters of each configuration, the active ones only.
        seed: Of the order.
    """

    def __init__(self, cells: Sequence[Cell], seed: int | None = None) -> None:
        order = list(cells)
        random.Random(seed).shuffle(order)  # noqa: S311 - no secret
        self._left = {_key(cell): cell for cell in order}
        self._given: dict[int, Cell] = {}
        self._is_fresh = True

    def is_exhausted(self, study: optuna.Study) -> bool:
        """Whether each cell was asked; as Optuna's sampler of this name says it of finished ones."""
        self._look_back(study)
        return not self._left

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Chooses the trial's cell, unless it has parameters already."""
        self._look_back(study)
        if trial.number in self._given:  # another object for the same trial
            return
        given = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
        if not given:
            self._given[trial.number] = self._left.pop(next(iter(self._left)), {}) if self._left else {}
            return
        # Of a trial that has some of its parameters: the rest of a cell that has them, too.
        cell = next((cell for cell in self._left.values() if given.items() <= cell.items()), given)
        self._left.pop(_key(cell), None)
        self._given[trial.number] = cell

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Nothing: each parameter is looked up when it is asked for."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing."""
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The parameter's value in the trial's cell; at random where a starting point is in none."""
        cell = self._given.get(trial.number, {})
        if param_name in cell:
            return cell[param_name]
        return optuna.samplers.RandomSampler(seed=trial.number).sample_independent(
            study, trial, param_name, param_distribution
        )

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Forgets the trial's cell."""
        self._given.pop(trial.number, None)

    def _look_back(self, study: optuna.Study) -> None:
        """Takes out what earlier drivers asked."""
        if not self._is_fresh:
            return
        self._is_fresh = False
        # Not through the study: a pruner may show the sampler only a part of the trials.
        for trial in study._storage.get_all_trials(study._study_id, deepcopy=False):
            self._left.pop(_key(trial.params), None)


def grid_sampler(spec: SweepSpec, given: Mapping[str, Any]) -> GridSampler:
    """Makes the sampler for `grid` or `brute_force`.

    Args:
        spec: The sweep.
        given: What its file gives as `init_args`.

    Raises:
        SpecError: One of them is not accepted, or the space is no grid.
    """
    name = written_out(spec.sampler).class_path
    for key in given.keys() - ({"points", "seed"} if name == "grid" else {"seed"}):
        accepted = "points and seed" if name == "grid" else "seed; `grid` takes `points` of a range"
        raise spec.error(f"sampler.init_args.{key}", f"{name} does not accept it; it accepts {accepted}")
    seed = given.get("seed", int(spec.seed_everything))
    if not is_whole(seed):
        raise spec.error("sampler.init_args.seed", f"must be a whole number, but got {seed!r}")
    return GridSampler(cells_of(spec), seed)


def _key(cell: Cell) -> Hashable:
    # 1, 1.0 and true are equal, but no two choices of a parameter are.
    return tuple(sorted(cell.items()))
