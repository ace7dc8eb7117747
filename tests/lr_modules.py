"""Modules for the learning-rate finder; each notes what rates it was trained with."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.modules import Line

SEEN: list[list[float]] = []
"""The rates of all parameter groups after each batch; tests empty it."""


class Watched(Line):
    """Notes its rates."""

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        SEEN.append([float(group["lr"]) for group in self.trainer.optimizers[0].param_groups])


class TwoGroups(Watched):
    """The second layer has a tenth of the rate; a scheduler steps after each batch."""

    def __init__(self, lr: float = 0.05, scheduler: str = "") -> None:
        super().__init__(lr)
        self.scheduler = scheduler

    def configure_optimizers(self) -> Any:
        first, _, second = self.net
        groups = [{"params": first.parameters()}, {"params": second.parameters(), "lr": self.lr / 10}]
        optimizer = torch.optim.SGD(groups, lr=self.lr)
        schedulers = torch.optim.lr_scheduler
        match self.scheduler:
            case "one_cycle":
                steps = int(self.trainer.estimated_stepping_batches)
                rates = [self.lr, self.lr / 10]
                made: Any = schedulers.OneCycleLR(optimizer, rates, total_steps=steps)
            case "warmup":
                made = schedulers.LambdaLR(optimizer, lambda step: min(1.0, step / 100))
            case "plateau":
                plateau = schedulers.ReduceLROnPlateau(optimizer)
                return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val_loss"}}
            case _:
                return optimizer
        return [optimizer], [{"scheduler": made, "interval": "step"}]


class Scaled(Watched):
    """Trains with twice the rate that it is given."""

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=2 * self.lr)


class Stubborn(Watched):
    """Sets its own rate before each batch."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.trainer.optimizers[0].param_groups[0]["lr"] = 123.0


class NanAbove(Watched):
    """Its loss is NaN above a rate."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        is_high = self.trainer.optimizers[0].param_groups[0]["lr"] > 1e-3
        return loss * math.nan if is_high else loss


class SaysItsRate(Watched):
    """Logs what its scheduler says."""

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        return [optimizer], [torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)]

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.log("rate", self.lr_schedulers().get_last_lr()[0])  # type: ignore[union-attr]
        return super().training_step(batch, batch_idx)


class RaisesAbove(Watched):
    """Raises above a rate, as a Cholesky decomposition of NaNs does."""

    def __init__(self, lr: float = 0.05, limit: float = 1e-3, text: str = "it is too high") -> None:
        super().__init__(lr)
        self.limit, self.text = limit, text

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        if (SEEN and SEEN[-1][0] > self.limit) or self.limit == 0:
            raise RuntimeError(self.text)
        return super().training_step(batch, batch_idx)


class Reads(Watched):
    """Reads at the end of an epoch what its validation logged."""

    def on_train_epoch_end(self) -> None:
        self.seen = float(self.trainer.callback_metrics["val_loss"])


class Adversarial(Line):
    """Optimizes by hand, as a GAN does."""

    def __init__(self, lr: float = 0.05) -> None:
        super().__init__(lr)
        self.automatic_optimization = False

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        for optimizer in self.optimizers():
            loss = nn.functional.mse_loss(self.net(batch[0]), batch[1])
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(self.parameters(), lr=self.lr) for _ in range(2)]


class Writes(Line):
    """Says where its Trainer keeps files, and saves there."""

    def on_train_end(self) -> None:
        folder = Path(self.trainer.default_root_dir)
        (folder / "left.txt").write_text("here")
        SEEN.append([float(folder.exists())])
        self.trainer.save_checkpoint(folder / "some.ckpt")
