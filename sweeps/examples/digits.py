"""Handwritten digits: a small CNN on the 1,797 8x8 images that scikit-learn ships; nothing is downloaded."""

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

Batch = tuple[Tensor, Tensor]


class DigitsDataModule(LightningDataModule):
    """1,437 images to train and 360 to validate, always the same split.

    Args:
        batch_size: Images a training batch.
    """

    def __init__(self, batch_size: int = 64) -> None:
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage: str | None = None) -> None:
        """Loads the images as tensors of shape (1, 8, 8), values 0 to 1."""
        digits = load_digits()
        images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
        labels = torch.tensor(digits.target)
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        train, validation = order[:1437], order[1437:]
        self.train_set = TensorDataset(images[train], labels[train])
        self.validation_set = TensorDataset(images[validation], labels[validation])

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Shuffled training batches."""
        return DataLoader(self.train_set, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """All validation images in one batch."""
        return DataLoader(self.validation_set, batch_size=len(self.validation_set))


class DigitsClassifier(LightningModule):
    """Two convolutions and two linear layers.

    The optimizer is the configuration's; without one it is AdamW.

    Args:
        channels: Channels of the first convolution; the second has twice as many.
        hidden: Width of the hidden layer.
        dropout: Share of hidden units dropped in training, 0 to 1.
    """

    def __init__(self, channels: int = 16, hidden: int = 64, dropout: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layers = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1), nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(2 * channels * 16, hidden), nn.ReLU(),
            nn.Dropout(dropout), nn.Linear(hidden, 10),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        """Logits of shape (batch, 10) for images of shape (batch, 1, 8, 8)."""
        logits: Tensor = self.layers(images)
        return logits

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """The batch's loss."""
        images, labels = batch
        loss = functional.cross_entropy(self(images), labels)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Logs loss and accuracy."""
        images, labels = batch
        logits = self(images)
        self.log("val_loss", functional.cross_entropy(logits, labels), prog_bar=True)
        self.log("val_acc", (logits.argmax(1) == labels).float().mean(), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW, unless the configuration names an optimizer."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)
