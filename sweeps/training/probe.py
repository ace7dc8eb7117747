"""Short trainings before a sweep, of modules that know the true length of theirs.

A module makes its schedulers for `trainer.max_epochs` or `trainer.estimated_stepping_batches`, and may not
take another number than that of its trainings. So the Trainer has the user's own until the training begins.
"""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO
from typing_extensions import override

from sweeps.context import TrialContext
from sweeps.records import Assignment, Report
from sweeps.training.callbacks import TrialCallback
from sweeps.training.points import Points

PROBE_LIMITS: Mapping[str, Any] = {
    "min_epochs": None, "min_steps": None, "max_time": None, "limit_val_batches": 1, "overfit_batches": 0.0,
    "val_check_interval": 1.0, "check_val_every_n_epoch": 1, "num_sanity_val_steps": 0,
}  # fmt: skip
"""Of a training of one batch."""

EPOCHS = 100_000
"""More than a range test or a measurement can have: one step an epoch is the least."""


def prolong(trainer: Trainer) -> None:
    """Lets a training that begins go on as long as wanted; its schedulers, which end with it, stand still."""
    epoch_loop = trainer.fit_loop.epoch_loop
    trainer.fit_loop.max_epochs, epoch_loop.max_steps = EPOCHS, -1
    setattr(epoch_loop, "update_lr_schedulers", _stand_still)  # noqa: B010 - it is a method
    for config in trainer.strategy.lr_scheduler_configs:  # a module that optimises by hand steps them itself
        setattr(config.scheduler, "step", _stand_still)  # noqa: B010


def _stand_still(*arguments: Any, **keywords: Any) -> None:
    """What stepping a scheduler comes to."""


class OneBatch(TrialCallback):
    """Makes the first batch the last one, once optimizers and schedulers are made; nothing is saved.

    Args:
        context: What all trials of the sweep share.
        points: Our logger.
    """

    def __init__(self, context: TrialContext, points: Points) -> None:
        super().__init__(Assignment(0, {}, {}), _Answering(), context, points, None)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Has nothing written that others save."""
        trainer.strategy.checkpoint_io = _Nowhere()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Cuts the epoch."""
        super().on_train_start(trainer, pl_module)
        fetcher = trainer.fit_loop._data_fetcher
        assert fetcher is not None  # noqa: S101 - the loop has made it
        trainer.fit_loop.max_batches = trainer.val_check_batch = fetcher.length = 1

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ends the training."""
        super().on_train_epoch_end(trainer, pl_module)
        trainer.should_stop = True


class _Nowhere(TorchCheckpointIO):
    """Writes no checkpoint."""

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Does nothing."""


class _Answering:
    """A reporter for one validation that nobody decides about."""

    wait_seconds = 0.0

    def send(self, report: Report) -> None:
        """Takes the report."""

    def stop_requested(self) -> bool:
        """Goes on."""
        return False
