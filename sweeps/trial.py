"""One Lightning trial, inside a worker: it trains a configuration and reports each validation.

It knows neither Optuna nor MLflow. Whatever the user's module logs with `self.log` is collected by a
Lightning logger of our own, exactly as Lightning would hand it to any logger, and travels with the
reports.
"""

import math
import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import Logger

from sweeps.executors import Reporter, TrialFunction
from sweeps.isolation import describe_device, freeze, isolated, output_to, scrub_environment
from sweeps.lightning import TrialCLI
from sweeps.records import Assignment, Outcome, Point, Report, State, Timing, TrialContext
from sweeps.schedule import Schedule


def make_trial_function(context: TrialContext) -> TrialFunction:
    """Prepares a worker process and gives the function that trains one assignment in it."""
    prepare_process(context)
    is_warm = False

    def train(assignment: Assignment, reporter: Reporter) -> Outcome:
        nonlocal is_warm
        folder = context.files / f"trial-{assignment.number}"
        with isolated(), output_to(folder / "log.txt"):
            outcome = _train(assignment, reporter, context, folder)
        if not is_warm:
            is_warm = True
            freeze()  # what the first trial imported
        return outcome

    return train


def prepare_process(context: TrialContext) -> None:
    """Sets up a worker process once: environment, threads, where modules are found."""
    scrub_environment()
    find_modules(context.folders)
    os.chdir(context.folders[-1])  # relative paths in a configuration start where the sweep was launched
    torch.set_num_threads(context.cpus)
    freeze()


def find_modules(folders: tuple[str, ...]) -> None:
    """Puts the folders in front of the module search path, once each."""
    sys.path[:0] = [folder for folder in folders if folder not in sys.path]


def _train(assignment: Assignment, reporter: Reporter, context: TrialContext, folder: Path) -> Outcome:
    points = Points()
    saves = assignment.config.get("trainer", {}).get("enable_checkpointing") is not False
    progress = Progress(assignment.number, reporter, context, points, folder if saves else None)
    cli = TrialCLI(assignment.config, folder=str(folder), callback=progress, logger=points)
    try:
        started = time.perf_counter()
        cli.trainer.fit(cli.model, datamodule=cli.datamodule)
        fit_seconds = time.perf_counter() - started - reporter.wait_seconds
        device = describe_device(cli.trainer.strategy.root_device)
    finally:
        cli.release()
    return replace(
        progress.outcome(),
        points=points.take(),
        timing=Timing(fit_seconds=fit_seconds, wait_seconds=reporter.wait_seconds),
        device=device,
    )


class Points(Logger):
    """A Lightning logger that keeps what it is given until it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self._points: list[Point] = []

    @property
    def name(self) -> str:
        """Lightning names folders after loggers."""
        return "sweeps"

    @property
    def version(self) -> str:
        """Lightning names folders after loggers."""
        return ""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """The study has the parameters already."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Keeps one point a metric, with Lightning's own step."""
        now = time.time_ns() // 1_000_000
        self._points += [Point(key, float(value), step or 0, now) for key, value in metrics.items()]

    def take(self) -> tuple[Point, ...]:
        """Everything since the last time."""
        points, self._points = tuple(self._points), []
        return points


class Progress(Checkpoint):
    """Reports each validation, saves the checkpoints, and ends the training when told to.

    As a `Checkpoint` it is called after all other callbacks, EarlyStopping included, and Lightning adds no
    checkpoint callback of its own.

    The report is sent before the checkpoint is written and its answer read after the epoch's other
    callbacks, so that the way to the driver and back costs nothing.

    Args:
        number: The trial's number.
        reporter: The way to the driver.
        context: What all trials of the sweep share.
        points: Our logger.
        folder: Where `best.ckpt` and `last.ckpt` go; None for no checkpoints.
    """

    def __init__(
        self, number: int, reporter: Reporter, context: TrialContext, points: Points, folder: Path | None
    ) -> None:
        self._number, self._reporter, self._context = number, reporter, context
        self._points, self._folder = points, folder
        self._validations = 0
        self._total: int | None = None
        self._value: float | None = None
        self._metrics: dict[str, float] = {}
        self._awaits_answer = False
        self._pruned_at: int | None = None
        self._diverged: str = ""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Counts the validations to come."""
        batches = trainer.num_training_batches
        schedule = Schedule(
            max_epochs=-1 if trainer.max_epochs is None else trainer.max_epochs,
            max_steps=trainer.max_steps,
            accumulate=trainer.accumulate_grad_batches,
            check_every_epochs=trainer.check_val_every_n_epoch,
            interval=trainer.val_check_interval or 1.0,
        )
        self._total = schedule.validations(int(batches) if math.isfinite(batches) else None)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sends the report, then saves."""
        if trainer.sanity_checking:
            return
        value = objective(trainer, self._context.metric)
        self._validations += 1
        last = trainer.should_stop or self._validations == self._total
        points = self._points.take()
        self._reporter.send(Report(self._number, self._validations, value, last=last, points=points))
        self._awaits_answer = True
        if math.isfinite(value):
            self._keep(trainer, value)
        else:
            self._diverged = f"{self._context.metric} became {value} at validation {self._validations}"
        if not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._take_answer(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reads the answer before the next epoch."""
        self._take_answer(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Says what is missing if the training never validated."""
        if not self._validations:
            raise ValueError(
                f"the training ended without a validation, so {self._context.metric!r} was never logged; "
                "does the data have a val_dataloader and the module a validation_step?"
            )

    def outcome(self) -> Outcome:
        """How the trial ended, once `fit` is back."""
        state, reason = State.COMPLETE, ""
        if self._diverged:
            state, reason = State.DIVERGED, self._diverged
        elif self._pruned_at is not None:
            state, reason = State.PRUNED, f"pruned at validation {self._pruned_at}"
        return Outcome(self._number, state, self._value, reason=reason, metrics=self._metrics)

    def _take_answer(self, trainer: Trainer) -> None:
        if not self._awaits_answer:
            return
        self._awaits_answer = False
        ended_already = trainer.should_stop  # by EarlyStopping: that trial is complete, not pruned
        if self._reporter.stop_requested() and not ended_already:
            self._pruned_at = self._validations
        if self._pruned_at is not None or self._diverged:
            trainer.should_stop = True
            # The user's lower bounds are for early stopping; a pruned trial ends now.
            trainer.fit_loop.min_epochs, trainer.fit_loop.epoch_loop.min_steps = 0, 0

    def _keep(self, trainer: Trainer, value: float) -> None:
        """Saves `last.ckpt`, and `best.ckpt` as a second name of it where this is the value that counts."""
        if self._value is None or self._context.value == "last":
            counts = True
        else:
            counts = value < self._value if self._context.minimize else value > self._value
        if counts:
            self._value = value
            self._metrics = {key: float(logged) for key, logged in trainer.callback_metrics.items()}
        if self._folder is None:
            return
        new, last, best = (self._folder / name for name in ("new.ckpt", "last.ckpt", "best.ckpt"))
        trainer.save_checkpoint(new)
        if counts:
            second = self._folder / "new-best.ckpt"
            _link(new, second)
            second.replace(best)
        new.replace(last)  # last of all: from here on there is no half-written checkpoint


def objective(trainer: Trainer, metric: str) -> float:
    """The objective's value after a validation.

    Raises:
        MetricNotLoggedError: The module did not log it; the message lists what it logged.
    """
    logged = trainer.callback_metrics
    if metric not in logged:
        raise MetricNotLoggedError(metric, sorted(logged))
    return float(logged[metric])


class MetricNotLoggedError(Exception):
    """The objective's metric is not among what the module logged by the end of a validation."""

    def __init__(self, metric: str, logged: list[str]) -> None:
        super().__init__(metric, logged)
        self.metric, self.logged = metric, logged

    def __str__(self) -> str:
        there = ", ".join(self.logged) or "nothing"
        return f"the module did not log {self.metric!r} by the end of a validation; it logged {there}"


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
