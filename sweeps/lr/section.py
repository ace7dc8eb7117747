"""What a sweep file says about the learning-rate finder; imports nothing but pydantic."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]

MULTIPLIER = "lr_finder.multiplier"
"""Optuna's name of the searched factor of the rate that a trial finds."""

CONFIGS = 8


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class LrFinder(_Section):
    """The learning-rate finder of a sweep.

    `mode: range`: range tests before the sweep narrow the searched parameter. `mode: trial`: each trial
    begins with a range test of its own configuration, and trains with the rate found.
    """

    mode: Literal["range", "trial"] = "range"
    parameter: Annotated[str, Field(min_length=1)] = "optimizer.init_args.lr"
    """The configuration path of the learning rate."""
    configs: Annotated[int, Field(ge=1, le=1000)] = CONFIGS
    """How many configurations are tested; of each optimizer, where there are several."""
    low: Rate = 1e-8
    high: Rate = 1.0
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
