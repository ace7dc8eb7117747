"""The sections of a sweep file, each a frozen record that checks itself."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MULTIPLIER = "lr_finder.multiplier"
"""Optuna's name of the searched factor of the rate that a trial finds."""

CONFIGS = 8

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Section(BaseModel):
    """What all sections have in common: no other keys than these, and none that changes."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True,
        ser_json_inf_nan="constants",  # else an infinite value is stored as null
    )  # fmt: skip


class Objective(Section):
    """What is optimised: a metric that the module logs during validation.

    Of several objectives the first decides which validation counts; all values are those of that one.
    """

    metric: Annotated[str, Field(min_length=1)]
    direction: Literal["minimize", "maximize"]
    value: Literal["best", "last"] = "best"


class Budget(Section):
    """When the sweep ends: after `trials` finished trials, or with those that began within `hours`."""

    trials: Annotated[int, Field(gt=0)] | None = None
    hours: Positive | None = None

    @model_validator(mode="after")
    def _has_an_end(self) -> "Budget":
        if self.trials is None and self.hours is None:
            raise ValueError("a sweep needs an end: give `trials`, `hours` or both")
        return self


class Resources(Section):
    """What one trial takes. `gpus: null` means one GPU where there are GPUs, else none."""

    cpus: Positive = 1.0
    gpus: NotNegative | None = None
    accelerator: Annotated[str, Field(min_length=1)] | None = None
    """The type of the GPUs, as Ray names it, such as `H100`."""
    autoscaling: bool = False
    """The cluster adds nodes for what waits, and a trial may need what none of them has yet."""

    @field_validator("gpus")
    @classmethod
    def _one_gpu_or_a_part_of_it(cls, gpus: float | None) -> float | None:
        if gpus is not None and gpus > 1:
            raise ValueError(f"a trial takes one GPU or a fraction of one, but got {gpus:g}")
        return gpus

    @model_validator(mode="after")
    def _has_gpus_of_its_type(self) -> "Resources":
        if self.accelerator and self.gpus == 0:
            raise ValueError(f"accelerator: {self.accelerator} is a type of GPU, but gpus is 0")
        return self

    @model_validator(mode="after")
    def _says_what_nodes_are_added_for(self) -> "Resources":
        if self.autoscaling and self.gpus is None and self.accelerator is None:
            raise ValueError("autoscaling: true needs gpus, such as 0 or 1: no node may be there yet to tell")
        return self


class Retries(Section):
    """How often a trial may go on after it raised, and after workers were lost with no validation between."""

    exceptions: Annotated[int, Field(ge=0)] = 0
    lost_workers: Annotated[int, Field(ge=0)] = 5


class Component(Section):
    """An Optuna sampler or pruner by class, as `{class_path, init_args}`."""

    class_path: str
    init_args: dict[str, Any] = {}


def written_out(algorithm: str | Component) -> Component:
    """A sampler or pruner in its long form; its class path may be a short name, too."""
    return Component(class_path=algorithm) if isinstance(algorithm, str) else algorithm


class StopWhen(Section):
    """What ends a sweep early; the first that holds does. Trials that run are finished."""

    no_improvement_for: Annotated[int, Field(gt=0)] | None = None
    """So many trials ended since the best one did."""
    value: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """The objective is at least this good."""

    @model_validator(mode="after")
    def _says_something(self) -> "StopWhen":
        if self.no_improvement_for is None and self.value is None:
            raise ValueError("give `no_improvement_for`, `value` or both")
        return self

    def __str__(self) -> str:
        patience = self.no_improvement_for
        rules = [
            f"{patience} trials in a row were no better than the best" if patience else "",
            f"the objective reaches {self.value:g}" if self.value is not None else "",
        ]
        return " or ".join(filter(None, rules))


class Oom(Section):
    """What happens to a trial that runs out of memory.

    Attributes:
        policy: `shrink`: smaller batches, accumulated; `fail`: like any exception.
        batch_size: The batch size's path in the configuration; None if it has the usual name.
        precision: The precision to take when a batch of one does not fit; None for none.
        most: The largest batch that `batch_size: auto` tries; None for all training data.
    """

    policy: Literal["shrink", "fail"] = "shrink"
    batch_size: Annotated[str, Field(min_length=1)] | None = None
    precision: Literal["16-mixed", "bf16-mixed", "16-true", "bf16-true"] | None = None
    most: Annotated[int, Field(gt=0)] | None = None


class LrFinder(Section):
    """The learning-rate finder of a sweep.

    `mode: range`: range tests before the sweep narrow the searched parameter. `mode: trial`: each trial
    begins with a range test of its own configuration, and trains with the rate found.
    """

    mode: Literal["range", "trial"] = "range"
    parameter: Annotated[str, Field(min_length=1)] = "optimizer.init_args.lr"
    """The configuration path of the learning rate."""
    configs: Annotated[int, Field(ge=1, le=1000)] = CONFIGS
    """How many configurations are tested; of each optimizer, where there are several."""
    low: Positive = 1e-8
    high: Positive = 1.0
    steps: Annotated[int, Field(ge=20, le=10_000)] = 100
    """Optimizer steps of one range test, from `low` to `high`."""
    multiplier: Any = None
    """With `mode: trial`: what the found rate is multiplied with, written like a parameter of the search
    space, and searched like one."""

    @model_validator(mode="after")
    def _fits_together(self) -> "LrFinder":
        if self.low >= self.high:
            raise ValueError(f"low < high must hold, but got low={self.low:g}, high={self.high:g}")
        if self.mode == "range" and self.multiplier is not None:
            raise ValueError("`multiplier` belongs to `mode: trial`")
        if self.mode == "trial" and self.configs != CONFIGS:
            raise ValueError(
                "`configs` belongs to `mode: range`; each trial tests its own with `mode: trial`"
            )
        return self
