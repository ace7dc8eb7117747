"""What travels between the rooms: frozen records, and nothing else.

`Assignment` goes from the study to a worker, `Report` comes back after each validation, `Outcome` ends
the trial. The study, the executors, the recorder and the progress display all speak only these.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

MOST_OBJECTIVES = 8
"""More than anybody can choose between."""


class State(StrEnum):
    """How a trial ended.

    `DIVERGED` is a trial whose objective became NaN or infinite. Optuna is told PRUNED for it, since its
    samplers learn nothing from FAIL; people are shown `diverged`. `INVALID` is one whose own code declared
    its configuration invalid: told likewise, and in no budget.
    """

    COMPLETE = "complete"
    PRUNED = "pruned"
    DIVERGED = "diverged"
    FAILED = "failed"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Assignment:
    """One trial to be trained.

    Attributes:
        number: Optuna's trial number.
        params: Optuna's name of each active parameter and its value.
        config: The complete LightningCLI configuration, parameters applied.
        attempt: How often the trial was started before; it then goes on from its last checkpoint.
        known_step: The last validation that the study has a value of.
        change: How the configuration differs from what the parameters say, in words; "" if it does not.
    """

    number: int
    params: dict[str, Any]
    config: dict[str, Any]
    attempt: int = 0
    known_step: int = 0
    change: str = ""


@dataclass(frozen=True, slots=True)
class Started:
    """A trial that was submitted has got its slot.

    Attributes:
        number: Optuna's trial number.
        time: When, in seconds since the epoch.
    """

    number: int
    time: float


@dataclass(frozen=True, slots=True)
class Point:
    """One logged value of one metric, as the module logged it.

    Attributes:
        key: The metric's name.
        value: Its value; may be NaN or infinite.
        step: Lightning's global step (optimizer steps) at that moment.
        time_ms: When it was logged, in milliseconds since the epoch.
    """

    key: str
    value: float
    step: int
    time_ms: int


@dataclass(frozen=True, slots=True)
class Report:
    """One finished validation.

    Attributes:
        number: Optuna's trial number.
        step: Which validation of the trial this was, counted from 1.
        value: The objective's metric at this validation; NaN if one of several objectives is not finite.
        last: Training ends here anyway, so nobody needs to decide.
        points: Everything that was logged since the report before.
    """

    number: int
    step: int
    value: float
    last: bool = False
    points: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a trial's last report.

    Attributes:
        number: Optuna's trial number.
        stop: Whether the trial ends here.
    """

    number: int
    stop: bool


@dataclass(frozen=True, slots=True)
class Timing:
    """Where a trial's time went; seconds, `started` in seconds since the epoch.

    Attributes:
        started: When the worker took the trial.
        slot_seconds: From the start to the outcome.
        fit_seconds: Inside `Trainer.fit`, without `wait_seconds`.
        wait_seconds: Waiting for the answers to reports.
        earlier_seconds: Of the attempts before, until the checkpoint that this one went on from.
    """

    started: float = 0.0
    slot_seconds: float = 0.0
    fit_seconds: float = 0.0
    wait_seconds: float = 0.0
    earlier_seconds: float = 0.0


Fault = Literal["", "oom", "cuda", "killed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a trial.

    Attributes:
        number: Optuna's trial number.
        state: How it ended.
        value: The objective of the kept checkpoint, or with `value: last` of the last validation, if any.
        reason: Why a trial ended before its time, in one line; also that EarlyStopping completed it.
        others: The further objectives' values at the validation that gave `value`, if there are any.
        metrics: Every metric that the module had logged by the validation that gave `value`.
        points: Everything that was logged since the last report.
        timing: Where the time went.
        worker: Which worker ran it.
        device: What it ran on, such as `cpu` or `cuda:0 (NVIDIA H100)`.
        lost: The worker is gone, by no fault of the trial's as far as is known.
        effective: The settings really used; see `sweeps.training.techniques.effective_settings`.
        fault: `oom`, for want of memory; `cuda`, it has lost its GPU; `killed`, by a person; else "".
        rate: What the trial's own range test found; see `sweeps.lr.in_trial`. Empty without one.
        config: The configuration that was trained, where that is known only now: with the rate found.
    """

    number: int
    state: State
    value: float | None = None
    reason: str = ""
    others: tuple[float, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    points: tuple[Point, ...] = ()
    timing: Timing = Timing()
    worker: str = ""
    device: str = ""
    lost: bool = False
    effective: dict[str, Any] = field(default_factory=dict)
    fault: Fault = ""
    rate: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def values(self) -> tuple[float, ...]:
        """The values of all objectives; empty if there is none."""
        return () if self.value is None else (self.value, *self.others)


@dataclass(frozen=True, slots=True)
class Again:
    """An attempt failed, for this reason; the trial's next `Assignment` will have this attempt and change."""

    number: int
    attempt: int
    change: str
    reason: str


@dataclass(frozen=True, slots=True)
class Request:
    """What another terminal asks of the driver.

    Attributes:
        command: `stop`, `pause`, `resume`, `update`, `kill` or `retry`.
        arguments: Such as `{"now": true}` or `{"trials": 200}`.
    """

    command: str
    arguments: dict[str, Any]


Event = Started | Report | Outcome
"""What an executor gives."""

News = Assignment | Event | Again | Request
"""What observers see; of a trial that is tried again `Again` in the place of the outcome."""


@dataclass(frozen=True)
class CliCall:
    """How the user's script calls LightningCLI; plain data, since the driver imports no classes.

    Attributes:
        class_path: The user's own LightningCLI class; "" for LightningCLI itself.
        keywords: What its constructor gets, by the names of the sweep file.
    """

    class_path: str = ""
    keywords: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RateSearch:
    """How each trial finds its own learning rate.

    Attributes:
        parameter: The rate's path in the configuration.
        low: The first rate of the range test.
        high: The last one.
        steps: Its optimizer steps.
        bounds: The rate's ranges in the space, by Optuna's names: what is found is held to the active one.
    """

    parameter: str
    low: float
    high: float
    steps: int
    bounds: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class TrialContext:
    """What all trials of a sweep share.

    Attributes:
        metric: The (first) objective's metric, as the module logs it.
        minimize: Its direction.
        other_metrics: The further objectives' metrics.
        value: Which validation's value counts: `best` or `last`.
        files: The sweep's folder; trial 7 writes into `trial-7` there.
        store: The address of the sweep's folder where that is not on this machine, else "".
        patience: How long to wait for the store before a trial goes on, in seconds.
        folders: Where the user's modules are looked for: names of copies where they were sent to the node.
        start: The folder that the sweep was launched in.
        cpus: Threads of torch.
        gpus: GPUs of the trial; with none, the worker sees none.
        cli: How the user's script calls LightningCLI.
        rate: How each trial finds its learning rate; None if it does not.
    """

    metric: str
    minimize: bool
    value: str
    files: Path
    folders: tuple[str, ...]
    start: str = ""
    store: str = ""
    patience: float = 300.0
    cpus: int = 1
    gpus: float = 0.0
    cli: CliCall = CliCall()
    other_metrics: tuple[str, ...] = ()
    rate: RateSearch | None = None


@dataclass(frozen=True)
class Inspection:
    """What an inspection found.

    Attributes:
        problem: Key and rule of the first mistake, None if there is none.
        resolved: The configuration at the centre of the space as YAML, defaults of the classes filled in.
        batches: Training batches an epoch at the centre of the space, None if not known.
        logged: The metrics that the module logged in the probe.
        trainer: The Trainer's plain settings at the centre of the space, defaults included.
        sources: The user's modules and a digest of each one's file.
        built: The parameters of the configuration that was built, None if none was.
        build_seconds: How long that took.
    """

    problem: tuple[str, str] | None = None
    resolved: str = ""
    batches: int | None = None
    logged: tuple[str, ...] = ()
    trainer: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    built: dict[str, Any] | None = None
    build_seconds: float = 0.0
