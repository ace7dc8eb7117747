"""What a checkpoint lacks of a training that goes on from it as if it had never been interrupted.

Lightning writes a checkpoint before it is done with the epoch: only then it logs the epoch's training metrics
and asks ReduceLROnPlateau. When it goes on, it begins with the next epoch and makes up for neither; one that
counts its steps (`max_steps`) ends the same epoch once more. It also forgets what was logged before, which a
metric that is not logged at every validation needs, how many batches it has validated, which is the step of
what is logged for each, which parameters a callback has frozen or not, and how many batches one has had
accumulated since the epoch began. For metrics see `kept_metrics`.
"""

from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loops.loop import _Loop
from torch.utils.data import DataLoader

from sweeps.training import kept_metrics


def taken(trainer: Trainer, metrics: dict[str, float], *, is_between_epochs: bool) -> dict[str, Any]:
    """What to put into the checkpoint, as plain values.

    Args:
        trainer: In the training.
        metrics: The numbers that were logged by now; a tensor takes 30 µs to write.
        is_between_epochs: The epoch's callbacks are through.
    """
    parameters = trainer.lightning_module.named_parameters()
    return {
        "metrics": metrics,
        "accumulated": trainer.accumulate_grad_batches,
        "frozen": [name for name, parameter in parameters if not parameter.requires_grad],
        "epoch_end": _epoch_end(trainer) if is_between_epochs else {},
        "validated": dict(trainer.fit_loop.epoch_loop.val_loop._seen_batches_per_dataloader),
        "kept": kept_metrics.states(trainer),
    }


def _epoch_end(trainer: Trainer) -> dict[str, Any]:
    """What Lightning logs at the end of the epoch, and the step that it logs it with; empty for nothing."""
    logged = {key: float(value) for key, value in trainer._logger_connector.metrics["log"].items()}
    if not logged:
        return {}
    if "step" in logged:  # the module's own
        return {"step": int(logged.pop("step")), "metrics": logged}
    step = trainer.fit_loop.epoch_loop._batches_that_stepped - 1
    return {"step": step, "metrics": {"epoch": trainer.current_epoch, **logged}}


def restore(trainer: Trainer, known: dict[str, Any], *, is_between_epochs: bool) -> None:
    """Puts it back once Lightning has restored its own part; it draws random numbers.

    Args:
        trainer: About to train.
        known: What `taken` gave; empty for a checkpoint of an earlier version.
        is_between_epochs: As when it was taken.
    """
    logged = {key: torch.tensor(value) for key, value in known.get("metrics", {}).items()}
    trainer.callback_metrics.update(logged)
    if "frozen" in known:
        for name, parameter in trainer.lightning_module.named_parameters():
            parameter.requires_grad_(name not in known["frozen"])
    if not is_between_epochs and "accumulated" in known:
        trainer.accumulate_grad_batches = known["accumulated"]
    if is_between_epochs:
        _begin_next_epoch(trainer)
        _start_loading(trainer)
    trainer.fit_loop.epoch_loop.val_loop._seen_batches_per_dataloader.update(known.get("validated", {}))


def _begin_next_epoch(trainer: Trainer) -> None:
    """Ends the epoch before, where Lightning has not."""
    loop = trainer.fit_loop
    if loop._iteration_based_training():
        # Lightning always takes this for a training that was interrupted within an epoch.
        loop.epoch_progress.increment_completed()
        _Loop.restarting.fset(loop, False)  # type: ignore[attr-defined]
        loop.reset_restart_stage()
        loop.epoch_loop.reset_restart_stage()
    if loop.epoch_loop._num_ready_batches_reached():
        loop.epoch_progress.current.completed -= 1  # the schedulers go by it
        loop.epoch_loop.update_lr_schedulers("epoch", update_plateau_schedulers=True)
        loop.epoch_progress.current.completed += 1


def _start_loading(trainer: Trainer) -> None:
    """Starts the processes of validation loaders that keep them: that draws a random number, only once."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    if loop._combined_loader is None:
        trainer.validating = True
        loop.setup_data()
        trainer.training = True
    for loader in () if loop._combined_loader is None else loop._combined_loader.flattened:
        if isinstance(loader, DataLoader) and loader.persistent_workers and loader._iterator is None:
            iter(loader)
