"""`oom`: what happens to a trial that ran out of memory.

It is trained again with smaller batches and as many more of them to an optimizer step, so that the effective
batch, and what it means to the search, stays the same. This is a function from a configuration to the next
one; `sweeps.study.retrying` makes an assignment of it.
"""

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from search_spaces import SearchSpace
from search_spaces.checks import is_whole
from search_spaces.paths import get, put
from sweeps.sweep_file.sections import Oom

FULL_PRECISIONS = ("None", "32", "32-true", "64", "64-true")
SMALLEST_SHARE = 8
"""An exact split is preferred down to this part of the batch: 25 becomes 5 x 5, not 12 x 2."""

COUNTED_IN_BATCHES = ("limit_train_batches", "limit_val_batches", "overfit_batches", "val_check_interval")
"""Settings of the Trainer that count batches where they are whole numbers."""


USUAL_PATHS = ("data.init_args.batch_size", "data.batch_size", "model.init_args.batch_size",
               "model.batch_size")  # fmt: skip


AUTO, AUTO_START = "auto", 8
"""What a file says for the largest batch that fits, and what stands for it until that is known."""


def auto_path(given: str | None, config: Mapping[str, Any]) -> str | None:
    """Where a configuration says `batch_size: auto`, among the places that `batch_size_path` looks at."""
    return next((path for path in ((given,) if given else USUAL_PATHS) if get(config, path) == AUTO), None)


def started(config: dict[str, Any], given: str | None) -> dict[str, Any]:
    """The configuration with a number in place of `batch_size: auto`, where it says that."""
    path = auto_path(given, config)
    if path:
        config = copy.deepcopy(config)
        put(config, path, AUTO_START)
    return config


def batch_size_path(given: str | None, config: Mapping[str, Any]) -> str | None:
    """Where a configuration has its batch size: the given path, else the first usual one that is there."""
    there = (path for path in ((given,) if given else USUAL_PATHS) if _is_count(get(config, path)))
    return next(there, None)


def problem(path: str | None, base: Mapping[str, Any], varied: Iterable[str]) -> str | None:
    """Why `oom.batch_size` cannot be right, or None.

    Args:
        path: What it says.
        base: The configuration that the search space varies.
        varied: The paths that it varies.
    """
    if path is None or path in varied or _is_count(get(base, path)):
        return None
    usual = batch_size_path(None, base)
    hint = f"; is {usual} meant?" if usual else ""
    return f"must be the path of a whole number in this file or in its search space, but got {path!r}{hint}"


def split(effective: int, batch: int) -> tuple[int, int]:
    """A batch at most half as large, and how many of them make up the effective batch.

    Exact wherever a divisor lies between an eighth and a half of the batch; else the nearest: 31 becomes
    15 x 2.

    Args:
        effective: Samples an optimizer step.
        batch: The batch that does not fit, at least 2.
    """
    sizes = range(max(1, batch // SMALLEST_SHARE), batch // 2 + 1)
    nearest = min(sizes, key=lambda size: (abs(size * round(effective / size) - effective), -size))
    return nearest, max(1, round(effective / nearest))


@dataclass(frozen=True)
class Failure:
    """A configuration that ran out of memory: its batch, and what else memory depends on.

    Attributes:
        batch: Samples a batch.
        precision: The Trainer's.
        kinds: The searched parameters that are words or switches: classes, optimizers.
        sizes: The searched whole numbers of model and data: widths, depths.
    """

    batch: int
    precision: str
    kinds: Mapping[str, Any]
    sizes: Mapping[str, int]

    def predicts(self, other: "Failure") -> bool:
        """Whether the other one runs out of memory, too: it is no smaller in anything that counts."""
        if (self.precision, self.kinds, self.sizes.keys()) != (
            other.precision,
            other.kinds,
            other.sizes.keys(),
        ):
            return False
        return self.batch <= other.batch and all(size <= other.sizes[key] for key, size in self.sizes.items())


class Shrinking:
    """Makes configurations smaller, and remembers what did not fit.

    Args:
        oom: The section of the sweep file.
        space: The search space.
    """

    def __init__(self, oom: Oom, space: SearchSpace) -> None:
        self._oom, self._space = oom, space
        self._failures: list[Failure] = []

    @property
    def is_on(self) -> bool:
        """Whether trials that run out of memory are made smaller."""
        return self._oom.policy == "shrink"

    def remember(self, params: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[int, str]:
        """Notes a configuration that ran out of memory; gives its batch and precision."""
        failure = self._described(params, config)
        self._failures.append(failure)
        return failure.batch, failure.precision

    def recall(
        self, params: Mapping[str, Any], config: Mapping[str, Any], failed: Iterable[Sequence[Any]]
    ) -> None:
        """Notes what an earlier driver kept of a trial: batches and precisions that did not fit."""
        described = self._described(params, config)
        self._failures += [replace(described, batch=int(n), precision=str(name)) for n, name in failed]

    def fitting(self, params: Mapping[str, Any], original: dict[str, Any]) -> dict[str, Any]:
        """The configuration, made as much smaller as trials of its kind had to be."""
        config = original
        while self._is_known_to_fail(self._described(params, config)):
            next_one = self.smaller(original, config)
            if next_one is None:
                break
            config = next_one
        return config

    def smaller(self, original: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any] | None:
        """The next smaller configuration; None if there is none.

        Args:
            original: As the search suggested it; its effective batch is kept.
            config: As it did not fit.
        """
        found = copy.deepcopy(dict(config))
        trainer = found.setdefault("trainer", {})
        path = batch_size_path(self._oom.batch_size, config)
        batch = get(config, path) if path else 0
        if path and batch > 1 and not _accumulates_by_epochs(trainer):
            before = get(original, "trainer.accumulate_grad_batches") or 1
            size, count = split(get(original, path) * before, batch)
            put(found, path, size)
            trainer["accumulate_grad_batches"] = count
            for key in COUNTED_IN_BATCHES:
                if _is_count(number := get(original, f"trainer.{key}")):
                    trainer[key] = math.ceil(number * count / before)
            return found
        if self._oom.precision and str(trainer.get("precision")) in FULL_PRECISIONS:
            trainer["precision"] = self._oom.precision
            return found
        return None

    def change(self, original: Mapping[str, Any], config: Mapping[str, Any]) -> str:
        """What was made smaller, in words; "" if nothing was."""
        parts = []
        (size, precision), (wanted, asked) = self._used(config), self._used(original)
        if size != wanted:
            count, before = (get(c, "trainer.accumulate_grad_batches") or 1 for c in (config, original))
            parts.append(f"batches of {size} x {count} instead of {wanted} x {before}")
        if precision != asked:
            parts.append(precision)
        return f"{' and '.join(parts)} to fit into memory" if parts else ""

    def _used(self, config: Mapping[str, Any]) -> tuple[int, str]:
        path = batch_size_path(self._oom.batch_size, config)
        return (get(config, path) if path else 0), str(get(config, "trainer.precision"))

    def _described(self, params: Mapping[str, Any], config: Mapping[str, Any]) -> Failure:
        batch, precision = self._used(config)
        batch_path = batch_size_path(self._oom.batch_size, config)
        kinds: dict[str, Any] = {}
        sizes: dict[str, int] = {}
        for name, value in params.items():
            path = self._space.config_path(name)
            if path in (batch_path, "trainer.precision") or isinstance(value, float):
                continue
            if not is_whole(value):
                kinds[name] = value
            elif path.startswith(("model", "data")):
                sizes[name] = value
        return Failure(batch, precision, kinds, sizes)

    def _is_known_to_fail(self, wanted: Failure) -> bool:
        return any(failure.predicts(wanted) for failure in self._failures)


def _accumulates_by_epochs(trainer: Mapping[str, Any]) -> bool:
    """Whether a callback sets how many batches are accumulated: Lightning takes no other number beside it."""
    callbacks = trainer.get("callbacks")
    listed = callbacks if isinstance(callbacks, list) else [callbacks]
    paths = [callback.get("class_path") for callback in listed if isinstance(callback, Mapping)]
    return any(str(path).rpartition(".")[2] == "GradientAccumulationScheduler" for path in [*paths, *listed])


def _is_count(value: Any) -> bool:
    return is_whole(value) and value > 0
