"""The package's module and data."""

from dataclasses import dataclass

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class EncoderConfig:
    """Arguments that a package passes around as one object."""

    channels: int = 4
    dropout: float = 0.0


class Images(LightningDataModule):
    """Bright and dark images."""

    def __init__(self, batch_size: int = 8) -> None:
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage: str | None = None) -> None:
        y = torch.arange(32) % 2
        generator = torch.Generator().manual_seed(1)
        x = torch.rand(32, 1, 4, 4, generator=generator) + 0.5 * y.view(-1, 1, 1, 1)
        self.set = TensorDataset(x, y)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.set, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.set, batch_size=32)


class Vision(LightningModule):
    """An encoder and a head."""

    def __init__(self, encoder: EncoderConfig, lr: float = 0.01) -> None:
        super().__init__()
        self.lr = lr
        self.net = nn.Sequential(
            nn.Conv2d(1, encoder.channels, 3), nn.ReLU(), nn.Dropout(encoder.dropout), nn.Flatten(),
            nn.Linear(4 * encoder.channels, 2),
        )  # fmt: skip

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val/loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)
