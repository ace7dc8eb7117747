"""What a trial adds to a Lightning training: it reports, saves, ends and goes on."""

import math
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer

from sweeps.context import TrialContext
from sweeps.executors import Reporter
from sweeps.layout import BEST, LAST, folder_of
from sweeps.records import Assignment, Outcome, Point, Report, State
from sweeps.remote import RemoteFolder
from sweeps.training import going_on, kept_metrics
from sweeps.training.checkpoints import Saver
from sweeps.training.points import Points, numbers, objective
from sweeps.training.randomness import random_state, set_random_state
from sweeps.training.schedule import Schedule
from sweeps.training.stand_in import StandIn
from sweeps.training.techniques import effective_settings, has_just_averaged, stopping_message


class TrialCallback(StandIn):
    """Reports each validation, saves the checkpoints, and ends the training when told to.

    The report is sent before the checkpoint is taken and its answer read after the epoch's other
    callbacks, so that the way to the driver and back costs nothing. After a validation at the end of an epoch
    the checkpoint is written when the epoch's callbacks are through: EarlyStopping then has counted this
    validation, and a training that goes on from there starts the next epoch.

    Args:
        assignment: The trial; what an earlier attempt reported and the study has is not said again.
        reporter: The way to the driver.
        context: What all trials of the sweep share.
        points: Our logger.
        folder: Where `best.ckpt` and `last.ckpt` go; None for no checkpoints.

    Attributes:
        batching: What a checkpoint within an epoch must agree with, since Lightning counts its batches.
        earlier_seconds: What the attempts before took until the checkpoint that this one goes on from.
    """

    def __init__(
        self,
        assignment: Assignment,
        reporter: Reporter,
        context: TrialContext,
        points: Points,
        folder: Path | None,
    ) -> None:
        super().__init__(points.save_dir, context.metric, "min" if context.minimize else "max")
        self._number, self._reporter, self._context = assignment.number, reporter, context
        self._known_step, self._change = assignment.known_step, assignment.change
        self.batching = assignment.config.get("trainer", {}).get("accumulate_grad_batches")
        self.earlier_seconds, self._began = 0.0, time.monotonic()
        self._points = points
        store = RemoteFolder(context.store) / folder_of(self._number) if context.store else None
        self._saver = Saver(folder, store) if folder else None
        self._validations = 0
        self._total: int | None = None
        self._value: float | None = None
        self._last_value: float | None = None
        self._measured: dict[str, float] = {}  # the objectives at the last validation
        self._others: tuple[float, ...] = ()
        self._metrics: dict[str, float] = {}
        self._last_report: Report | None = None
        self._random_state: dict[str, Any] | None = None
        self._beside: dict[str, Any] = {}  # what Lightning's checkpoint lacks
        self._kept: dict[str, Any] = {}  # of it, the states of metrics that are still to be put back
        self._awaits_answer = False
        self._unsaved: bool | None = None  # a validation waits for its checkpoint; whether it is the best
        self._is_between_epochs = False
        self._should_stop, self._stopped_early = False, ""
        self._pruned_at: int | None = None
        self._diverged = ""
        self._effective: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        """What goes into the checkpoint: enough to go on as if nothing had happened."""
        report = self._last_report
        points = [[p.key, p.value, p.step, p.time_ms] for p in report.points] if report else []
        return {
            "validations": self._validations,
            "value": self._value,
            "others": list(self._others),
            "metrics": self._metrics,
            "report": [report.step, report.value, report.last, points] if report else None,
            "random": random_state(),
            "is_between_epochs": self._is_between_epochs,
            "beside": self._beside,
            "batching": self.batching,
            "total": self._total,
            "should_stop": self._should_stop,
            "seconds": self.earlier_seconds + time.monotonic() - self._began,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what a checkpoint holds."""
        self._validations = state_dict["validations"]
        self._value, self._metrics = state_dict["value"], state_dict["metrics"]
        self._others = tuple(state_dict["others"])
        self._last_value = state_dict["report"][1]
        step, value, last, points = state_dict["report"]
        points = tuple(Point(*point) for point in points)
        self._last_report = Report(self._number, step, value, last=last, points=points)
        self._random_state, self._is_between_epochs = state_dict["random"], state_dict["is_between_epochs"]
        self._total, self._should_stop = state_dict["total"], state_dict["should_stop"]
        self.earlier_seconds = state_dict.get("seconds", 0.0)
        self._beside = state_dict.get("beside", {})
        self._kept = self._beside.get("kept", {})
        if epoch_end := self._beside.get("epoch_end"):
            self._points.log_metrics(**epoch_end)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Says again what an earlier attempt reported and the study did not get."""
        trainer.should_stop = self._should_stop  # EarlyStopping had ended it: Lightning does not keep that
        report = self._last_report
        if report is not None and report.step > self._known_step:
            self._reporter.send(report)
            self._awaits_answer = True
            self._take_answer(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Counts the validations to come, and goes on with the random numbers of the checkpoint."""
        batches = trainer.num_training_batches
        schedule = Schedule(
            max_epochs=-1 if trainer.max_epochs is None else trainer.max_epochs,
            max_steps=trainer.max_steps,
            accumulate=trainer.accumulate_grad_batches,
            check_every_epochs=trainer.check_val_every_n_epoch,
            interval=getattr(trainer, "val_check_interval", None),  # it has none where that is a time
        )
        self._total = schedule.validations(int(batches) if math.isfinite(batches) else None)
        if self._random_state is not None:
            going_on.restore(trainer, self._beside, is_between_epochs=self._is_between_epochs)
            set_random_state(self._random_state)
            if self._is_between_epochs:
                # Lightning has chosen the order of the next epoch's batches already: choose it again.
                iter(trainer.fit_loop._data_fetcher)  # type: ignore[arg-type]
        self._is_between_epochs = False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts back the metrics' states, which a module may have reset when the training started."""
        if self._kept:  # this comes before each batch, too
            kept_metrics.put_back(pl_module, self._kept)
            self._kept = {}

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Likewise where it goes on within an epoch."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sends the report, then saves."""
        if trainer.sanity_checking:
            return
        self._measured = {metric: objective(trainer, metric) for metric in self._all_metrics}
        wrong = [metric for metric, value in self._measured.items() if not math.isfinite(value)]
        value = self._measured[wrong[0] if wrong else self._context.metric]
        self._validations += 1
        # That of averaged weights is one more than all that were counted on.
        last = trainer.should_stop or self._validations in (self._total, (self._total or -1) + 1)
        points = self._points.take()
        self._last_report = Report(self._number, self._validations, value, last=last, points=points)
        self._reporter.send(self._last_report)
        self._awaits_answer = True
        if math.isfinite(value):
            self._last_value = value
            self._unsaved = self._counts(value)
        else:
            self._diverged = f"{wrong[0]} became {value} at validation {self._validations}"
        if not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._save_and_take_answer(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves, and reads the answer before the next epoch."""
        self._is_between_epochs = True
        self._save_and_take_answer(trainer)
        self._is_between_epochs = False

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validates the averaged weights, which Lightning puts into the module after the last validation."""
        if self._pruned_at is None and not self._diverged and has_just_averaged(trainer):
            trainer.validating = True
            trainer.fit_loop.epoch_loop.val_loop.run()
            trainer.training = True
            self._save_and_take_answer(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Says what is missing if the training never validated; a trial that is done needs no way back."""
        if trainer.should_stop and (self._total is None or self._validations < self._total):
            self._stopped_early = f"stopped early at validation {self._validations}"
            self._stopped_early += f" of {self._total}" if self._total else ""
            self._stopped_early += stopping_message(trainer)
        self._effective = effective_settings(trainer)
        if self._saver is not None:
            self._saver.wait()
            self._saver.tidy()
        if not self._validations:
            raise ValueError(
                f"the training ended without a validation, so {self._context.metric!r} was never logged; "
                "does the data have a val_dataloader and the module a validation_step, and is it asked for?"
            )

    def close(self) -> None:
        """Waits until the checkpoints are written, however the training ended."""
        if self._saver is not None:
            self._saver.close()

    def outcome(self) -> Outcome:
        """How the trial ended, once `fit` is back."""
        notes = [self._change, self._stopped_early, self._saver.unwritten if self._saver else ""]
        state, reason = State.COMPLETE, "; ".join(filter(None, notes))
        if self._diverged:
            state, reason = State.DIVERGED, self._diverged
        elif self._pruned_at is not None:
            state, reason = State.PRUNED, f"pruned at validation {self._pruned_at}"
        # As for Optuna, the value of a trial that was cut short is its last one.
        value = self._value if state is State.COMPLETE else self._last_value
        return Outcome(
            self._number, state, value, reason=reason, metrics=self._metrics, effective=self._effective,
            others=self._others if state is State.COMPLETE else (),
        )  # fmt: skip

    @property
    def best_model_path(self) -> str:
        """See `StandIn`."""
        return self._saver.path(BEST) if self._saver else ""

    @property
    def last_model_path(self) -> str:
        """See `StandIn`."""
        return self._saver.path(LAST) if self._saver else ""

    @property
    def best_model_score(self) -> torch.Tensor | None:
        """See `StandIn`."""
        return None if self._value is None else torch.tensor(self._value)

    @property
    def current_score(self) -> torch.Tensor | None:
        """See `StandIn`."""
        return None if self._last_value is None else torch.tensor(self._last_value)

    @property
    def _all_metrics(self) -> tuple[str, ...]:
        return (self._context.metric, *self._context.other_metrics)

    def _save_and_take_answer(self, trainer: Trainer) -> None:
        self._should_stop = trainer.should_stop
        if self._unsaved is not None:
            logged = numbers(trainer)  # once: each is waited for until the GPU has it
            if self._unsaved:  # at an epoch's end there are the means of its training, too
                self._metrics = logged | self._measured
            if self._saver is not None:
                self._beside = going_on.taken(trainer, logged, is_between_epochs=self._is_between_epochs)
                self._saver.save(trainer, self._validations, is_best=self._unsaved)
        self._unsaved = None
        self._take_answer(trainer)

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

    def _counts(self, value: float) -> bool:
        """Whether this is the value that counts so far; it is kept then."""
        if self._value is None or self._context.value == "last":
            counts = True
        else:
            counts = value < self._value if self._context.minimize else value > self._value
        if counts:
            self._value = value
            self._others = tuple(self._measured[metric] for metric in self._context.other_metrics)
        return counts
