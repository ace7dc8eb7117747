"""What travels between the rooms: frozen records, and nothing else.

`Assignment` goes from the study to a worker, `Report` comes back after each validation, `Outcome` ends
the trial. The study, the executors, the recorder and the progress display all speak only these.
"""

from dataclasses import dataclass, field
from enum import StrEnum
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
        value: The objective: of the kept checkpoint (`value: best`) or of the last validation
            (`value: last`); None if there was none.
        reason: Why a trial ended before its time, in one line: pruned, diverged, failed, invalid, or
            complete by EarlyStopping.
        others: The further objectives' values at the validation that gave `value`, if there are any.
        metrics: Every metric that the module had logged by the end of the validation that gave `value`, or of
            the epoch if that ended it.
        points: Everything that was logged since the last report.
        timing: Where the time went.
        worker: Which worker ran it.
        device: What it ran on, such as `cpu` or `cuda:0 (NVIDIA H100)`.
        lost: The worker is gone, or its GPU, by no fault of the trial's as far as is known.
        effective: The settings that the training really used, such as `precision`, `batch_size` and
            `accumulate_grad_batches`; see `sweeps.training.techniques.effective_settings`.
        fault: What made a failed trial fail, where that matters to what happens next: `oom`, it ran out of
            memory; `cuda`, an error after which its process cannot use the GPU any more; `killed`, a person
            ended it; else "".
        rate: What the trial's own range test found; see `sweeps.lr.in_trial`. Empty without one.
        config: The configuration that was trained, where that is known only now: with the rate found.
        code: The user's modules that its worker had imported from files that somebody edited while the sweep
            ran, and their digests; see `sweeps.executors.sources`.
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
    code: dict[str, str] = field(default_factory=dict)

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
