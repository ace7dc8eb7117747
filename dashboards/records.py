"""What a reader gets: frozen records of a sweep and its trials, and their plain JSON form."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime
from typing import Any

from dashboards.wording import short_names


@dataclass(frozen=True, slots=True)
class Counts:
    """How many trials of a sweep are in which state.

    `invalid` are those whose own code declared their configuration invalid; no budget counts them.
    In an interrupted sweep `running` are the trials that it was training when it ended.
    """

    waiting: int = 0
    running: int = 0
    complete: int = 0
    pruned: int = 0
    diverged: int = 0
    failed: int = 0
    invalid: int = 0

    @property
    def finished(self) -> int:
        """The trials that ended, as the budget counts them."""
        return self.complete + self.pruned + self.diverged + self.failed


@dataclass(frozen=True, slots=True)
class SweepSummary:
    """One sweep in one row.

    Attributes:
        name: The sweep's, and the Optuna study's, name.
        state: `running`, `paused`, `finished`, `failed` or `interrupted`.
        metric: What was optimized; of several objectives the first.
        direction: Its direction, `minimize` or `maximize`.
        counts: The trials by state.
        trials_asked: The budget's number of trials; None if only time limits the sweep.
        best_value: The best complete trial's value; None if no trial is complete.
        best_number: That trial's number; the lowest if several are equally good.
        started: When the sweep was created.
        updated: When a trial last started or ended.
        duration_seconds: From the start until now, or until the last update if it does not run any more.
        objectives: Metric and direction of each objective, if there are several; else empty.
        front: The numbers of the Pareto set, the best in the first objective first; else empty.
        hours_left: Of the budget's hours, in which trials may begin; None if it has none.
    """

    name: str
    state: str
    metric: str
    direction: str
    counts: Counts
    trials_asked: int | None
    best_value: float | None
    best_number: int | None
    started: datetime | None
    updated: datetime | None
    duration_seconds: float | None
    objectives: tuple[tuple[str, str], ...] = ()
    front: tuple[int, ...] = ()
    hours_left: float | None = None


@dataclass(frozen=True, slots=True)
class Parameter:
    """What one parameter may be: the widest range, or all choices, that any trial of the sweep was given.

    Attributes:
        name: Optuna's name.
        kind: `float`, `int` or `categorical`.
        low: The lower bound; None for a categorical one.
        high: The upper bound; None for a categorical one.
        log: Whether it is searched on a logarithmic scale.
        choices: What a categorical one may be; empty for a number.
    """

    name: str
    kind: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Driver:
    """The process that ran a sweep from its launch, or from a resumption on, and with what trials train.

    Attributes:
        started: When it began.
        versions: Of the libraries and Python.
        git_commit: Of the user's folder, with `-dirty` if files differed from it; None if it has none.
        sources: The user's modules, and the SHA-256 of each one's file, shortened.
    """

    started: datetime | None
    versions: dict[str, str]
    git_commit: str | None
    sources: dict[str, str]


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial.

    Attributes:
        number: Optuna's trial number.
        state: `waiting`, `running`, `complete`, `pruned`, `diverged`, `failed` or `invalid`.
        value: The (first) objective; None if the trial has none.
        params: Optuna's name of each active parameter and its value.
        config: The complete LightningCLI configuration; empty if the trial never got one.
        reason: Why a trial ended before its time, in one line.
        metrics: Every metric logged by the validation that gave `value`.
        timing: `started` (seconds since the epoch), `slot_seconds`, `fit_seconds`, `wait_seconds` of the
            attempt that ended the trial; `earlier_seconds` of those before, until its checkpoint.
        intermediate: The objective at each validation, counted from 1.
        worker: Which worker ran it.
        device: What it ran on.
        effective: The settings that the training really used, such as `precision` and `batch_size`.
        started: When it was asked for.
        ended: When it was told.
        values: All objectives, if there are several and the trial has them; else empty.
        rate: What the trial's own range test found: `parameter`, `suggestion`, `interval`, `multiplier`,
            `rate`, `notes` and `curve`; empty without one.
        drivers: Which of the sweep's drivers trained it, oldest first; empty while none did.
        code: The user's modules that were edited while the sweep ran, before its worker imported them, and
            their digests; the others are those of its last driver.
    """

    number: int
    state: str
    value: float | None
    params: dict[str, Any]
    config: dict[str, Any]
    reason: str
    metrics: dict[str, float]
    timing: dict[str, float]
    intermediate: dict[int, float]
    worker: str
    device: str
    started: datetime | None
    ended: datetime | None
    effective: dict[str, Any] = field(default_factory=dict)
    values: tuple[float, ...] = ()
    rate: dict[str, Any] = field(default_factory=dict)
    drivers: tuple[int, ...] = ()
    code: dict[str, str] = field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        """Whether it has, however it did."""
        return self.state not in ("running", "waiting")

    @property
    def seconds(self) -> float | None:
        """What the trial took, all its attempts together; None while it is not known."""
        ended = self.timing.get("slot_seconds")
        return None if ended is None else ended + self.timing.get("earlier_seconds", 0.0)


@dataclass(frozen=True, slots=True)
class Sweep:
    """One sweep, completely.

    Attributes:
        summary: Its row in the list of sweeps.
        spec: The sweep file's content.
        trials: Every trial, by number.
        files: The folder of the trials' logs and checkpoints.
        mlflow: `tracking_uri` and `experiment`; empty if the sweep was not recorded there.
        versions: The libraries it was started with.
        git_commit: The commit it was started from, if any.
        space: Every parameter that a trial had, in the order in which they first came up.
        stop_reason: Why it ended before its budget was used; "" if it did not.
        lr_finder: What the learning-rate finder found before the sweep; empty without one.
        drivers: That of the launch, and that of each resumption: with what trials were trained.
    """

    summary: SweepSummary
    spec: dict[str, Any]
    trials: tuple[Trial, ...]
    files: str | None
    mlflow: dict[str, str]
    versions: dict[str, str]
    git_commit: str | None
    space: tuple[Parameter, ...] = ()
    stop_reason: str = ""
    lr_finder: dict[str, Any] = field(default_factory=dict)
    drivers: tuple[Driver, ...] = ()

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.summary.name

    @property
    def labels(self) -> dict[str, str]:
        """What figures and tables call each parameter, by Optuna's name."""
        return short_names(parameter.name for parameter in self.space)

    @property
    def best(self) -> Trial | None:
        """The best complete trial, the lowest number among equals; None if there is none.

        Of several objectives it is the one of the Pareto set that is best in the first.
        """
        return next(iter(self.ranking()), None)

    def ranking(self) -> list[Trial]:
        """The complete trials, best first: the Pareto set, then the others, each by the first objective.

        Those whose value is infinite are left out: no figure has a place for them.
        """
        trials = [t for t in self.trials if t.value is not None and math.isfinite(t.value)]
        found = ranked(trials, self.summary.direction)
        first = set(self.summary.front)
        return sorted(found, key=lambda trial: trial.number not in first) if first else found


def ranked(trials: Iterable[Trial], direction: str) -> list[Trial]:
    """Return the complete trials, best first, the lowest number first among equals."""
    sign = -1 if direction == "maximize" else 1
    complete = [
        (sign * t.value, t.number, t) for t in trials if t.state == "complete" and t.value is not None
    ]
    return [trial for *_, trial in sorted(complete, key=lambda item: item[:2])]


def to_json(value: Any) -> Any:
    """Return a record, or anything in one, as plain JSON: NaN and infinities become None, times ISO text."""
    if is_dataclass(value) and not isinstance(value, type):
        plain = {part.name: to_json(getattr(value, part.name)) for part in fields(value)}
        return plain | {"finished": value.finished} if isinstance(value, Counts) else plain
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.isoformat()
    return value if value is None or isinstance(value, bool | int | str) else str(value)
