"""A few batches of a configuration, in a process of their own: do they fit into memory, how fast are they?

Nothing is left behind: model, data and Trainer are new ones, files go to a temporary folder. A process that
ran out of memory is ended at once, since nobody knows what it still holds: who called it sees it die.
"""

import contextlib
import copy
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping

from search_spaces.paths import get, put
from sweeps.context import TrialContext
from sweeps.training.apart import apart_in_scratch
from sweeps.training.command_line import CliProblem, Extras
from sweeps.training.faults import fault_of
from sweeps.training.isolation import isolated
from sweeps.training.lightning import build, parse
from sweeps.training.memory import held_to
from sweeps.training.points import Points
from sweeps.training.probe import prolong
from sweeps.training.stand_in import StandIn
from sweeps.training.tried import Tried
from sweeps.training.user_code import where

STEPS = 2
"""Optimizer steps that show whether a batch fits: the first makes the optimizer's state."""

WARM_UP, MOST_BATCHES, SECONDS = 2, 200, 1.5
"""Of a measurement: batches before it begins, and where it ends."""

EXIT_CODE = 86
"""Of a process that ran out of memory."""

LIMITS: dict[str, Any] = {
    "min_epochs": None, "min_steps": None, "max_time": None, "fast_dev_run": False,
    "overfit_batches": 0.0, "num_sanity_val_steps": 0, "accumulate_grad_batches": 1, "profiler": None,
    "limit_train_batches": 1.0, "val_check_interval": 1.0, "check_val_every_n_epoch": 1,
    "enable_progress_bar": False, "enable_model_summary": False,
}  # fmt: skip


def fits(context: TrialContext, config: Mapping[str, Any], memory_bytes: int) -> Tried:
    """Trains and validates enough to see whether a configuration fits into memory.

    Args:
        context: What the trials of the sweep share.
        config: The LightningCLI configuration.
        memory_bytes: What a training without a GPU may take; 0 for no limit.
    """
    limits = {**LIMITS, "limit_train_batches": STEPS, "limit_val_batches": 1}
    with held_to(memory_bytes):
        return _tried(context, config, limits, _Clock(measures=False))


def speed(context: TrialContext, config: Mapping[str, Any]) -> Tried:
    """Measures how many samples a second a configuration trains; nothing is validated."""
    return _tried(context, config, {**LIMITS, "limit_val_batches": 0}, _Clock(measures=True))


def accepted(context: TrialContext, config: Mapping[str, Any], paths: Sequence[str]) -> str | None:
    """The first of some paths at which the user's classes accept a number; None if they do nowhere."""
    for path in paths:
        changed = copy.deepcopy(dict(config))
        if get(config, path.rpartition(".")[0].removesuffix(".init_args")) is None:
            continue
        put(changed, path, 0)
        with isolated(), contextlib.suppress(Exception, SystemExit):
            parse(changed, context.cli)
            return path
    return None


def _tried(
    context: TrialContext, config: Mapping[str, Any], limits: Mapping[str, Any], clock: "_Clock"
) -> Tried:
    with apart_in_scratch(context, config) as folder:
        try:
            clock.dirpath = folder
            extras = Extras(folder, clock, Points(folder), limits)
            with _built(context, config, extras) as (trainer, model, data):
                trainer.fit(model, datamodule=data)
                loader = trainer.train_dataloader
                steps = trainer.global_step
        except CliProblem as problem:
            return Tried(problem=problem.rule)
        except BaseException as error:  # noqa: BLE001 - whatever the user's code does, SystemExit included
            if fault_of(error):
                os._exit(EXIT_CODE)
            return Tried(problem=where(error))
    samples = None
    with contextlib.suppress(TypeError, AttributeError):
        samples = len(loader.dataset)  # type: ignore[union-attr]
    return Tried(samples, steps, clock.samples_per_second)


@contextlib.contextmanager
def _built(
    context: TrialContext, config: Mapping[str, Any], extras: Extras
) -> Iterator[tuple[Trainer, LightningModule, Any]]:
    cli = build(config, extras, context.cli)
    try:
        callbacks: list[Any] = cli.trainer.callbacks  # type: ignore[attr-defined]
        ours = extras.callback
        callbacks[:] = [c for c in callbacks if c is ours or not isinstance(c, Checkpoint | EarlyStopping)]
        yield cli.trainer, cli.model, cli.datamodule
    finally:
        cli.release()


class _Clock(StandIn):
    """Counts samples and seconds, and ends the training once there is enough of them.

    Args:
        measures: That is enough to tell its speed, instead of whether it fits.
    """

    def __init__(self, *, measures: bool) -> None:
        super().__init__()
        self._measures, self._batches, self._samples = measures, 0, 0
        self._began = self._ended = 0.0

    @property
    def samples_per_second(self) -> float:
        """What was measured."""
        return self._samples / max(self._ended - self._began, 1e-9) if self._samples else 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lets few data begin again."""
        prolong(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ends where both steps are done and the validation was tried."""
        if not self._measures and self._batches >= STEPS:
            trainer.should_stop = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Begins after a few batches, and ends after many or a while."""
        self._batches += 1
        if not self._measures or self._batches < WARM_UP:
            return
        is_first = self._batches == WARM_UP
        is_last = self._batches >= MOST_BATCHES + WARM_UP or time.perf_counter() - self._began > SECONDS
        if (is_first or is_last) and pl_module.device.type != "cpu":
            torch.accelerator.synchronize(pl_module.device)  # it is behind by as much as it was told ahead
        self._ended = time.perf_counter()
        if is_first:
            self._began = self._ended
            return
        self._samples += samples_of(batch)
        if is_last:
            trainer.should_stop = True


def samples_of(batch: Any) -> int:
    """How many samples a batch has: the first dimension of the first tensor in it; 0 if there is none."""
    if isinstance(batch, torch.Tensor):
        return int(batch.shape[0]) if batch.ndim else 0
    inner = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, list | tuple) else ()
    return next((count for count in map(samples_of, inner) if count), 0)
