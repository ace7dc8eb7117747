"""A module with several parameter groups and a scheduler of its own, and a plain LightningCLI script."""

from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class Points(LightningDataModule):
    """Two clouds."""

    def __init__(self, batch_size: int = 8) -> None:
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage: str | None = None) -> None:
        generator = torch.Generator().manual_seed(1)
        y = torch.arange(64) % 2
        x = torch.randn(64, 4, generator=generator) + y.unsqueeze(1)
        self.set = TensorDataset(x, y)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.set, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.set, batch_size=64)


class FineTuned(LightningModule):
    """The backbone learns more slowly than the head."""

    def __init__(
        self,
        head_lr: float = 1e-2,
        backbone_factor: float = 0.1,
        schedule: dict[str, Any] | None = None,
        optimizer: str = "adamw",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.backbone = nn.Sequential(nn.Linear(4, 8), nn.Tanh())
        self.head = nn.Linear(8, 2)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = nn.functional.cross_entropy(self.head(self.backbone(batch[0])), batch[1])
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        logits = self.head(self.backbone(batch[0]))
        self.log("val/acc", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        given = self.hparams
        groups = [
            {"params": self.backbone.parameters(), "lr": given.head_lr * given.backbone_factor},
            {"params": self.head.parameters()},
        ]
        make = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[given.optimizer]
        optimizer = make(groups, lr=given.head_lr)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = {"total_steps": steps, "max_lr": [group["lr"] for group in optimizer.param_groups]}
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, **schedule | (given.schedule or {}))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


if __name__ == "__main__":
    cli = LightningCLI()
    print("final", float(cli.trainer.callback_metrics["val/acc"]))
