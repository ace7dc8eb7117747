"""What a training made of its settings: which precision it had, why it stopped early, whether it averaged."""

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, StochasticWeightAveraging


def effective_settings(trainer: Trainer) -> dict[str, Any]:
    """What the training really used, which may differ from what was asked for.

    Lightning trains `16-mixed` as `bf16-mixed` on a CPU, and a trial that ran out of memory goes on with
    smaller batches. `batch_size` is that of the training data, `effective_batch_size` the number of samples
    an optimizer step; both are missing if the data do not say.
    """
    used: dict[str, Any] = {
        "precision": str(trainer.precision),
        "accumulate_grad_batches": trainer.accumulate_grad_batches,
        "gradient_clip_val": trainer.gradient_clip_val,
    }
    batch_size = getattr(trainer.train_dataloader, "batch_size", None)
    if isinstance(batch_size, int):
        used["batch_size"] = batch_size
        used["effective_batch_size"] = batch_size * trainer.accumulate_grad_batches
    return {name: value for name, value in used.items() if value is not None}


def has_just_averaged(trainer: Trainer) -> bool:
    """Whether StochasticWeightAveraging has changed the weights at the end of the training.

    With batch normalisation it does so an epoch earlier, and Lightning validates the average itself.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, StochasticWeightAveraging) and callback.n_averaged:
            has_norm = callback.pl_module_contains_batch_norm(trainer.lightning_module)
            if trainer.max_epochs == -1 or (not has_norm and trainer.current_epoch - 1 == callback.swa_end):
                return True
    return False


def stopping_message(trainer: Trainer) -> str:
    """What EarlyStopping said, after a colon; "" if something else ended the training."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, EarlyStopping) and callback.stopping_reason_message:
            message = " ".join(callback.stopping_reason_message.split())
            return f": {message.removesuffix(' Signaling Trainer to stop.')}"
    return ""
