"""MNIST and CIFAR-10 with augmentation on the device, by kornia.

Shows augmentation whose strength is searched; it runs where the model does, in `on_after_batch_transfer`.
Data comes from OpenML through scikit-learn (`mnist_784`, `CIFAR_10`; downloaded once), or from a local `.npz`
or `.arff` file of that form: a row an image, pixels 0 to 255, and the class. It needs kornia.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

Batch = tuple[Tensor, Tensor]


class ImagesDataModule(LightningDataModule):
    """Images of OpenML's form; the last sixth validates.

    Args:
        source: OpenML's name of the data, or a local `.npz` (arrays `data` and `target`) or `.arff` file.
        channels: 1 for MNIST, 3 for CIFAR-10, whose rows hold one colour after the other.
        batch_size: Images a training batch.
        degrees: Largest rotation in training.
        shift: Largest shift in training, as a part of the image.
        flip: Whether images are mirrored in training: right for CIFAR-10, wrong for digits.
    """

    def __init__(
        self, source: str = "mnist_784", channels: int = 1, batch_size: int = 128, degrees: float = 10.0,
        shift: float = 0.1, flip: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.source, self.channels, self.batch_size = source, channels, batch_size
        self.augment = _augmentation(degrees, shift, flip)

    def setup(self, stage: str | None = None) -> None:
        """Loads the images as tensors of shape (channels, side, side), values 0 to 1."""
        rows, classes = load(self.source)
        side = round((rows.shape[1] / self.channels) ** 0.5)
        images = torch.tensor(rows, dtype=torch.float32).view(-1, self.channels, side, side) / 255
        labels = torch.tensor(classes.astype(np.int64))
        held_out = max(1, len(images) // 6)
        self.train_set = TensorDataset(images[:-held_out], labels[:-held_out])
        self.validation_set = TensorDataset(images[-held_out:], labels[-held_out:])

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Shuffled training batches."""
        return DataLoader(self.train_set, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Validation batches."""
        return DataLoader(self.validation_set, batch_size=1000)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augments training batches."""
        if self.trainer is None or not self.trainer.training:
            return batch
        return self.augment(batch[0]), batch[1]


def _augmentation(degrees: float, shift: float, flip: bool) -> nn.Module:
    from kornia.augmentation import AugmentationSequential, RandomAffine, RandomHorizontalFlip

    steps: list[Any] = [RandomAffine(degrees, translate=(shift, shift), p=1.0)]
    augmentation: nn.Module = AugmentationSequential(*steps, *([RandomHorizontalFlip()] if flip else []))
    return augmentation


def load(source: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of shape (images, pixels), 0 to 255, and classes of shape (images,)."""
    path = Path(source)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return file["data"], file["target"]
    if path.suffix == ".arff":
        from scipy.io import arff

        rows, _ = arff.loadarff(path)
        table = np.array([[float(value) for value in row] for row in rows.tolist()])
        return table[:, :-1], table[:, -1]
    from sklearn.datasets import fetch_openml

    bunch = fetch_openml(source, version=1, as_frame=False, parser="liac-arff")
    return bunch.data, bunch.target


class ImageClassifier(LightningModule):
    """Two convolutions with batch normalisation, and a linear layer.

    Args:
        channels: Of the images.
        width: Channels of the first convolution; the second has twice as many.
        dropout: Share of features dropped in training, 0 to 1.
    """

    def __init__(self, channels: int = 1, width: int = 32, dropout: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU(),
            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(dropout), nn.Linear(32 * width, 10),
        )  # fmt: skip

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """The batch's loss."""
        loss = functional.cross_entropy(self.layers(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Logs loss and accuracy."""
        logits = self.layers(batch[0])
        self.log("val_loss", functional.cross_entropy(logits, batch[1]))
        self.log("val_acc", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW, unless the configuration names an optimizer."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)
