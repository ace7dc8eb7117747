"""The range test: a fresh model trains while its learning rate rises step by step; the raw losses are kept.

The idea is Smith's (Cyclical Learning Rates for Training Neural Networks, 2017, arXiv:1506.01186, section
3.3). Lightning's `Tuner.lr_find` is not used: it smooths the losses it keeps from a wrong start, needs one
parameter group's rate for all, is cut short by `max_epochs`, and saves and loads the user's model.

It runs in a worker. Nothing is left behind: model, data and Trainer are new ones and are dropped, files go
to a temporary folder, the process's random numbers and settings are put back.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import (
    BaseFinetuning,
    Checkpoint,
    EarlyStopping,
    GradientAccumulationScheduler,
)

from search_spaces.checks import is_number
from search_spaces.paths import get
from sweeps.context import TrialContext
from sweeps.lr.curve import FEWEST, Curve, rates_between
from sweeps.training.apart import apart_in_scratch
from sweeps.training.command_line import CliProblem, Extras, TrialCLI
from sweeps.training.faults import fault_of
from sweeps.training.lightning import build
from sweeps.training.points import Points
from sweeps.training.probe import prolong
from sweeps.training.stand_in import StandIn
from sweeps.training.user_code import where

LIMITS: dict[str, Any] = {
    "min_epochs": None, "min_steps": None, "max_time": None, "fast_dev_run": False,
    "limit_val_batches": 0, "num_sanity_val_steps": 0, "detect_anomaly": False, "profiler": None,
    "enable_progress_bar": False, "enable_model_summary": False,
}  # fmt: skip

MANUAL = "the module uses manual optimization, so no learning rate can be set for it"


def range_test(
    context: TrialContext,
    config: Mapping[str, Any],
    parameter: str,
    *,
    low: float,
    high: float,
    steps: int,
    seed: int | None = None,
) -> Curve:
    """Trains a configuration with a rate that rises from `low` to `high`, equal ratios between steps.

    A step is one optimizer step: several batches where gradients are accumulated. When the data end, they
    begin again. The rates of several parameter groups keep their ratios. Schedulers do not step, nothing is
    validated, logged or saved. The test ends early once the loss has clearly diverged.

    Args:
        context: What the trials of the sweep share.
        config: The LightningCLI configuration.
        parameter: The path of the learning rate in it.
        low: The first rate.
        high: The last rate.
        steps: How many optimizer steps.
        seed: Instead of the configuration's `seed_everything`.

    Returns:
        The curve; what the user's code raised is its `problem`, in one line.

    Raises:
        BaseException: What `training.faults` knows: out of memory, or a GPU that is unusable now. Where a
            high rate made it so, as NaN in a kernel's assertion does, its attribute `curve` is the curve
            until there. Nothing more should run in this process.
    """
    config = {**config, **({} if seed is None else {"seed_everything": seed})}
    rates, configured = rates_between(low, high, steps), get(config, tuple(parameter.split(".")))
    with apart_in_scratch(context, config) as folder:
        rising = _Rising(rates, float(configured) if is_number(configured) else None, folder)
        try:
            _fit(context, config, folder, rising)
        except _NotPossible as reason:
            return Curve((), (), problem=str(reason))
        except CliProblem as problem:
            return Curve((), (), problem=problem.rule)
        except BaseException as error:  # whatever the user's code does, SystemExit included
            fault, tells = fault_of(error), len(rising.losses) >= FEWEST and rising.is_in_step
            if fault == "cuda" and tells:
                vars(error)["curve"] = rising.curve(has_diverged=True)
            if fault:
                raise
            if not rising.is_over:
                if not tells:
                    return Curve((), (), problem=f"the range test does not train: {where(error)}")
                return rising.curve(has_diverged=True)
    return rising.curve()


def _fit(context: TrialContext, config: Mapping[str, Any], folder: str, rising: "_Rising") -> None:
    cli = build(config, Extras(folder, rising, Points(folder), LIMITS), context.cli)
    try:
        if not cli.model.automatic_optimization:
            raise _NotPossible(MANUAL)
        _keep_few_callbacks(cli)
        cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    finally:
        cli.release()


def _keep_few_callbacks(cli: TrialCLI) -> None:
    """Leaves out callbacks of Lightning that monitor, save or end; those that change what is trained stay."""

    def stays(callback: Callback) -> bool:
        if isinstance(callback, _Rising | GradientAccumulationScheduler | BaseFinetuning):
            return True
        is_lightnings = type(callback).__module__.startswith("lightning.")
        return not is_lightnings and not isinstance(callback, Checkpoint | EarlyStopping)

    callbacks: list[Callback] = cli.trainer.callbacks  # type: ignore[attr-defined]
    callbacks[:] = [callback for callback in callbacks if stays(callback)]


class _NotPossible(Exception):
    """The range test makes no sense for this module; the message says why."""


class _Rising(StandIn):
    """Sets the rate of each optimizer step, and keeps each step's loss.

    Attributes:
        losses: Of each step so far; None where it was not finite.
        optimizer: Its class.
        is_in_step: A batch is trained. What raises elsewhere, such as at the end of an epoch for want of a
            validation, says nothing about the rate.
        is_over: There is nothing more to be learnt.

    Args:
        rates: One for each step.
        configured: The rate in the configuration, None if there is none.
        folder: What a module is told that asks where checkpoints go.
    """

    def __init__(self, rates: tuple[float, ...], configured: float | None, folder: str) -> None:
        super().__init__(folder)
        self.rates, self._configured = rates, configured
        self.losses: list[float | None] = []
        self.optimizer = ""
        self.is_in_step = self.is_over = False
        self._ratios: list[float] = []
        self._sum, self._batches = 0.0, 0

    def curve(self, *, has_diverged: bool = False) -> Curve:
        """The curve so far; high rates make some modules raise, which is as good as a divergence."""
        losses = (*self.losses, None) if has_diverged else tuple(self.losses)
        return Curve(self.rates[: len(losses)], losses, self.optimizer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops the schedulers and notes the ratios between the parameter groups' rates."""
        if len(trainer.optimizers) != 1:
            raise _NotPossible(f"it needs one optimizer, but the module has {len(trainer.optimizers)}")
        prolong(trainer)
        groups = trainer.optimizers[0].param_groups
        self.optimizer = type(trainer.optimizers[0]).__name__
        # A scheduler keeps there what was in the group before it came.
        is_scheduled = any("initial_lr" in group for group in groups)
        self._ratios = _ratios(
            [float(group.get("initial_lr", group["lr"])) for group in groups], self._configured, is_scheduled
        )

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Sets the rate of the step that this batch is part of."""
        self.is_in_step = True
        self._set(trainer.optimizers[0])

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Sets it again: the module may have hooks that set rates, too."""
        self._set(optimizer)

    def _set(self, optimizer: torch.optim.Optimizer) -> None:
        rate = self.rates[min(len(self.losses), len(self.rates) - 1)]
        for group, ratio in zip(optimizer.param_groups, self._ratios, strict=False):
            # Some optimizers keep their rate as a tensor.
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(rate * ratio)
            else:
                group["lr"] = rate * ratio

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Takes the loss, and ends the test where it has diverged.

        Lightning divides each loss by the number of batches that a step accumulates.
        """
        self.is_in_step = False
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if loss is not None:
            self._sum += float(loss) * trainer.accumulate_grad_batches
            self._batches += 1
        if self._batches and trainer.global_step > len(self.losses):
            mean = self._sum / self._batches
            self.losses.append(mean if math.isfinite(mean) else None)
            self._sum, self._batches = 0.0, 0
            if has_diverged(self.losses) or len(self.losses) >= len(self.rates):
                trainer.should_stop = self.is_over = True


def _ratios(rates: list[float], configured: float | None, is_scheduled: bool) -> list[float]:
    """What each group's rate is times the parameter's.

    Without a scheduler that is known. With one, a scheduler such as OneCycleLR may have replaced all rates,
    so the group that has the configured rate counts as one, or else the largest.
    """
    largest = max(rates)
    reference = configured if configured and configured > 0 else largest
    if is_scheduled and not any(math.isclose(rate, reference, rel_tol=1e-6) for rate in rates):
        reference = largest
    if reference <= 0 or largest <= 0:
        return [1.0] * len(rates)
    return [rate / reference for rate in rates]


def has_diverged(losses: list[float | None]) -> bool:
    """Whether the last losses say that nothing more is to be learnt at higher rates.

    A loss that is not finite, or three in a row that are above the best by four times what the loss was at
    the beginning or had fallen by; fastai and Lightning stop at four times the best loss.
    """
    if losses[-1] is None:
        return True
    known = [loss for loss in losses if loss is not None]
    if len(known) < 6:
        return False
    start = sorted(known[:5])[2]
    best = min(known)
    limit = best + 3 * max(abs(start), start - best)
    return min(known[-3:]) > limit
