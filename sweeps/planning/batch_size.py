"""`batch_size: auto`: the largest batch that fits on a slot's share of memory, found before the first trial.

Sizes are doubled until one does not fit, then the gap is halved. Each is trained for two steps in a worker;
one that ran out of memory is replaced. On a GPU the share is what torch lets the worker take; without one, it
is the slot's share of the machine's memory.
"""

import copy
import importlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from search_spaces.paths import get, put
from sweeps.context import TrialContext
from sweeps.executors import Crew
from sweeps.sweep_file.spec import SweepSpec
from sweeps.training.memory import share_of_machine

FINE = 8
"""The gap is halved until it is at most this part of what fits."""


@dataclass(frozen=True)
class Largest:
    """What the search found.

    Attributes:
        path: The batch size's path in the configuration.
        size: The largest that fits; None if not even one sample does.
        tried: Each size that was tried, and whether it fits.
        limit: What ended the search, in words.
    """

    path: str
    size: int | None
    tried: tuple[tuple[int, bool], ...]
    limit: str

    def __str__(self) -> str:
        if self.size is None:
            return f"{self.path}: no batch fits: {self.limit}"
        sizes = ", ".join(str(size) for size, _ in self.tried)
        return f"{self.path}: {self.size}, {self.limit}; tried {sizes}"


def search(fits: Callable[[int], bool], start: int, most: Callable[[], float]) -> int | None:
    """The largest size that fits, to an eighth: doubled (or halved) from `start`, then the gap is halved.

    Args:
        fits: Whether a size does.
        start: Where to begin.
        most: The largest size worth trying; asked after each try.
    """
    size, top = start, None
    while not fits(size):
        if size == 1:
            return None
        size, top = size // 2, size
    while top is None and size < most():
        following = int(min(2 * size, most()))
        if fits(following):
            size = following
        else:
            top = following
    while top is not None and top - size > max(1, size // FINE):
        middle = (size + top) // 2
        size, top = (middle, top) if fits(middle) else (size, middle)
    return size


def find(workers: Crew, context: TrialContext, spec: SweepSpec, path: str) -> Largest:
    """Looks for the largest batch of the configuration at the centre of the space.

    Args:
        workers: Run the trainings.
        context: What the trials of the sweep share.
        spec: The sweep.
        path: The batch size's path in the configuration.
    """
    centre = spec.checked_constraints.points(1)[0]
    config: dict[str, Any] = spec.space.configure(spec.base, centre)
    memory = 0 if context.gpus else share_of_machine(spec.resources.cpus)
    tried: dict[int, bool] = {}
    problem, samples = "", float("inf")

    def fits(size: int) -> bool:
        nonlocal problem, samples
        changed = copy.deepcopy(config)
        put(changed, path, size)
        [result] = workers.map(_fits, [(context, changed, memory)])
        tried[size] = not isinstance(result, Exception) and not result.problem and result.steps > 0
        if isinstance(result, TimeoutError):
            problem = str(result)
        elif not isinstance(result, Exception):
            problem = result.problem or problem
            samples = result.samples or samples
        return tried[size]

    start = get(config, path)
    most = spec.oom.most or float("inf")
    size = search(fits, int(min(start, most)), lambda: min(most, samples))
    share = "its part of the GPU" if context.gpus else f"a slot's {memory / 2**30:.1f} GiB of this machine"
    return Largest(path, size, tuple(tried.items()), _limit(size, tried, samples, problem, share))


def _limit(size: int | None, tried: Mapping[int, bool], samples: float, problem: str, share: str) -> str:
    if size is None:
        return problem or f"{share} is too little for one sample"
    if any(not did for other, did in tried.items() if other > size):
        return problem or f"the largest that fits into {share}"
    why = "all training data" if size >= samples else "the most that `oom.most` allows"
    return f"{why}: {share} holds more"


def _fits(*arguments: Any) -> Any:
    """In a worker, where torch is imported."""
    return importlib.import_module("sweeps.training.trying").fits(*arguments)


def settled(workers: Crew, context: TrialContext, spec: SweepSpec) -> tuple[SweepSpec, Largest | None]:
    """The sweep with the batch size in place of `auto`; as it is, and None, where it names one.

    Raises:
        SpecError: No batch fits.
    """
    path = spec.auto_batch_size
    if path is None:
        return spec, None
    found = find(workers, context, spec, path)
    if found.size is None:
        raise spec.error(path, f"no batch fits: {found.limit}")
    changed: dict[str, Any] = copy.deepcopy({key: getattr(spec, key) for key in ("data", "model", "config")})
    head = path.partition(".")[0]
    put(changed if changed.get(head) is not None else changed["config"], path, found.size)
    return spec.changed(**changed), found


def noted(found: Largest | None) -> dict[str, Any]:
    """What the study keeps of it."""
    return {} if found is None else {"batch_size": asdict(found)}
