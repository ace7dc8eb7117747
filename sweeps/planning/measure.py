"""`sweeps check --measure`: how many samples a second some settings train, and the largest batch that fits.

Each setting trains for a second or two in a process of its own, with the real model and data, at the centre
of the search space. What is fastest in samples a second is no advice on what trains best: another batch size
is another training.
"""

import copy
import importlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from search_spaces.paths import get, put
from sweeps.context import TrialContext
from sweeps.executors import Crew
from sweeps.oom import batch_size_path
from sweeps.planning.batch_size import Largest, find
from sweeps.planning.processes import FreshProcess
from sweeps.sweep_file.spec import SweepSpec
from sweeps.training.tried import Tried

WORKERS_PATHS = ("data.init_args.num_workers", "data.num_workers", "model.init_args.num_workers")
WORKER_COUNTS = (0, 1, 2, 4, 8)
BATCH_FACTORS = (0.5, 2.0, 4.0)

WORTH = 1.1
"""What is less than a tenth faster is as fast: measurements differ by so much."""


@dataclass(frozen=True)
class Setting:
    """A setting that was measured.

    Attributes:
        num_workers: Processes that load data; None where the data module has no such parameter.
        batch_size: Samples a batch; None where the configuration does not say.
        samples_per_second: How many were trained; 0 where it did not train.
        problem: Why it did not.
    """

    num_workers: int | None
    batch_size: int | None
    samples_per_second: float
    problem: str = ""


@dataclass(frozen=True)
class Measured:
    """What `--measure` found: the settings, what they say, a line each, and the largest batch."""

    settings: tuple[Setting, ...]
    advice: tuple[str, ...]
    largest: Largest | None

    def plain(self) -> dict[str, Any]:
        """It for `--json`."""
        return asdict(self)

    def parts(self) -> Iterator[RenderableType]:
        """It for a terminal."""
        table = Table("num_workers", "batch_size", "samples/s", title="Throughput", title_justify="left",
                      title_style="bold", box=None, padding=(0, 2, 0, 0))  # fmt: skip
        for one in self.settings:
            table.add_row(
                _text(one.num_workers), _text(one.batch_size),
                Text(one.problem or f"{one.samples_per_second:,.0f}"),
            )  # fmt: skip
        yield ""
        yield table
        for line in self.advice:
            yield Text.assemble(("Advice  ", "bold"), line)


def measure(spec: SweepSpec, context: TrialContext) -> Measured:
    """Measures a sweep's throughput in a process of its own; leaves nothing behind.

    Args:
        spec: The sweep, checked.
        context: What its trials share.
    """
    config = spec.space.configure(spec.base, spec.checked_constraints.points(1)[0])
    with FreshProcess(context, spec.trial_timeout or math.inf) as process:
        bench = Bench(process, context, config, batch_size_path(spec.oom.batch_size, config))
        settings = bench.run(max(2, context.cpus))
        lines = [*bench.notes, *advice(settings)]
        largest = None
        if bench.batch_path:
            largest = find(process, context, spec, bench.batch_path)
            lines.append(f"largest batch: {largest}")
    return Measured(tuple(settings), tuple(lines), largest)


class Bench:
    """Measures settings of one configuration.

    Args:
        process: Trains them.
        context: What the trials of the sweep share.
        config: The configuration.
        batch_path: The batch size's path; None where the configuration has none.

    Attributes:
        batch_path: The batch size's path.
        workers_path: The path of `num_workers`; None where the classes do not accept it.
        notes: What cannot be measured, a line each.
    """

    def __init__(
        self, process: Crew, context: TrialContext, config: Mapping[str, Any], batch_path: str | None
    ) -> None:
        self._process, self._context, self._config = process, context, config
        self.batch_path = batch_path
        [accepted] = process.map(_accepted, [(context, config, WORKERS_PATHS)])
        self.workers_path: str | None = accepted if isinstance(accepted, str) else None
        self.notes: list[str] = []
        if self.workers_path is None:
            self.notes.append("num_workers: the data module has no such parameter, so it loads as it does")
        if batch_path is None:
            self.notes.append("batch_size: the file names none, so only its own is measured")

    def run(self, most_workers: int) -> list[Setting]:
        """Several numbers of workers at the file's batch size, then more batch sizes at the best of them."""
        batch = get(self._config, self.batch_path) if self.batch_path else None
        counts: Sequence[int | None] = [None]
        if self.workers_path:
            own = get(self._config, self.workers_path)
            first = own if isinstance(own, int) else 0
            counts = list(dict.fromkeys([first, *(n for n in WORKER_COUNTS if n <= most_workers)]))
        settings = [self._measured(count, batch) for count in counts]
        if batch is None:
            return settings
        best, sizes = (
            fastest(settings),
            dict.fromkeys(max(1, int(batch * factor)) for factor in BATCH_FACTORS),
        )
        return settings + [self._measured(best.num_workers, size) for size in sizes if size != batch]

    def _measured(self, num_workers: int | None, batch_size: int | None) -> Setting:
        config = copy.deepcopy(dict(self._config))
        if self.workers_path and num_workers is not None:
            put(config, self.workers_path, num_workers)
        if self.batch_path and batch_size is not None:
            put(config, self.batch_path, batch_size)
        [found] = self._process.map(_speed, [(self._context, config)])
        if isinstance(found, Tried):
            problem = found.problem or ("" if found.samples_per_second else "too few batches to measure")
            return Setting(num_workers, batch_size, found.samples_per_second, problem)
        problem = str(found) if isinstance(found, TimeoutError) else "does not fit into memory"
        return Setting(num_workers, batch_size, 0.0, problem)


def fastest(settings: Sequence[Setting]) -> Setting:
    """The setting that trains most samples a second; the first among equals."""
    return max(settings, key=lambda setting: setting.samples_per_second)


def advice(settings: Sequence[Setting]) -> Iterator[str]:
    """What measurements say, a line each.

    Args:
        settings: The first one is the file's own.
    """
    own, top = settings[0], fastest(settings)
    if not own.samples_per_second:
        yield f"the file's own settings were not measured: {own.problem}"
        return
    best = fastest([setting for setting in settings if setting.batch_size == own.batch_size])
    if own.num_workers is not None:
        gain = best.samples_per_second / own.samples_per_second
        better = f"num_workers {best.num_workers}: {gain:.1f} times as fast as {own.num_workers}"
        yield better if gain >= WORTH else f"num_workers {own.num_workers}: none is clearly faster"
    if own.batch_size is not None:
        gain = top.samples_per_second / best.samples_per_second
        more = f"batch_size {top.batch_size}: {gain:.1f} times the samples a second of {own.batch_size}"
        but = "another batch size is another training, so search it together with the rate"
        same = f"batch_size {own.batch_size}: none is clearly faster"
        yield f"{more}; {but}" if gain >= WORTH else same


def _text(number: int | None) -> str:
    return "-" if number is None else str(number)


def _speed(*arguments: Any) -> Any:
    """In the process, where torch is imported."""
    return importlib.import_module("sweeps.training.trying").speed(*arguments)


def _accepted(*arguments: Any) -> Any:
    return importlib.import_module("sweeps.training.trying").accepted(*arguments)
