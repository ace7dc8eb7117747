"""How many validations a training has: the unit that pruners count in.

A pruning step is one finished validation, counted from 1. The rules are those of Lightning's training
loop (`lightning.pytorch.loops.training_epoch_loop._TrainingEpochLoop._should_check_val_fx`); a test
compares them with what a real Trainer does.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Schedule:
    """The settings of a Trainer that decide when it validates and when it ends.

    Attributes:
        max_epochs: Epochs, -1 for no limit.
        max_steps: Optimizer steps, -1 for no limit.
        accumulate: Batches an optimizer step.
        check_every_epochs: `check_val_every_n_epoch`; None when `interval` counts over epochs.
        interval: `val_check_interval`: a fraction of an epoch (float) or a number of batches (int); None
            where it is a time, so that nobody knows the number of validations.
    """

    max_epochs: int
    max_steps: int
    accumulate: int = 1
    check_every_epochs: int | None = 1
    interval: float | None = 1.0

    @classmethod
    def of(cls, trainer: Mapping[str, Any]) -> "Schedule":
        """Reads it from the `trainer` part of a LightningCLI configuration, with Lightning's defaults."""
        steps = trainer.get("max_steps")
        epochs = trainer.get("max_epochs")
        steps = -1 if steps is None else int(steps)
        if epochs is None:
            # Lightning's rule: 1000 epochs unless steps (or time) bound the training.
            epochs = 1000 if steps == -1 and trainer.get("max_time") is None else -1
        interval = trainer.get("val_check_interval")
        if isinstance(interval, str | Mapping):
            interval = None
        elif interval is None:
            interval = 1.0
        return cls(
            max_epochs=int(epochs),
            max_steps=steps,
            accumulate=int(trainer.get("accumulate_grad_batches") or 1),
            check_every_epochs=trainer.get("check_val_every_n_epoch", 1),
            interval=interval,
        )

    @property
    def bounded(self) -> bool:
        """Whether the training ends by itself."""
        return self.max_epochs >= 0 or self.max_steps >= 0

    @property
    def needs_batches(self) -> bool:
        """Whether the number of validations depends on the number of batches an epoch."""
        # A part of an epoch is rounded down to batches: a quarter of 10 is 2, so there are 5 validations.
        if self.interval is None:
            return False
        whole_epochs = isinstance(self.interval, float) and self.interval == 1.0
        return self.max_steps >= 0 or not whole_epochs or self.check_every_epochs is None

    def validations(self, batches: int | None = None) -> int | None:
        """How many validations the training has; None if unbounded, by time, or not known without `batches`.

        Args:
            batches: Training batches an epoch.
        """
        if not self.bounded or self.interval is None:
            return None
        if not self.needs_batches:
            return self.max_epochs // (self.check_every_epochs or 1)
        if not batches:
            return None
        total = self._total_batches(batches)
        if self.check_every_epochs is None:
            return total // max(1, int(self.interval))
        full, rest = divmod(total, batches)
        every, between = self.check_every_epochs, _batches_between(self.interval, batches)
        count = full // every * (batches // between)
        if (full + 1) % every == 0:
            count += rest // between
        return count

    def _total_batches(self, batches: int) -> int:
        steps_per_epoch = math.ceil(batches / self.accumulate)  # the last, shorter group steps too
        by_epochs = self.max_epochs * batches if self.max_epochs >= 0 else math.inf
        by_steps: float = math.inf
        if self.max_steps >= 0:
            full, rest = divmod(self.max_steps, steps_per_epoch)
            by_steps = full * batches + rest * self.accumulate
        return int(min(by_epochs, by_steps))


def _batches_between(interval: float, batches: int) -> int:
    if isinstance(interval, int):
        return max(1, interval)
    return max(1, int(batches * interval))
