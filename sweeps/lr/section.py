"""What a sweep file says about the learning-rate finder; imports nothing but pydantic."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class LrFinder(_Section):
    """The learning-rate finder of a sweep: range tests before it narrow the searched parameter."""

    mode: Literal["range"] = "range"
    parameter: Annotated[str, Field(min_length=1)] = "optimizer.init_args.lr"
    """The configuration path of the learning rate."""
    configs: Annotated[int, Field(ge=1, le=1000)] = 8
    """How many configurations are tested; of each optimizer, where there are several."""
    low: Rate = 1e-8
    high: Rate = 1.0
    steps: Annotated[int, Field(ge=20, le=10_000)] = 100
    """Optimizer steps of one range test, from `low` to `high`."""

    @model_validator(mode="after")
    def _fits_together(self) -> "LrFinder":
        if self.low >= self.high:
            raise ValueError(f"low < high must hold, but got low={self.low:g}, high={self.high:g}")
        return self
