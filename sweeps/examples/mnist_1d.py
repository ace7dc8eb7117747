"""MNIST-1D: 5,000 signals of 40 points, made on the spot by the generator of the `mnist1d` package.

Shows a convolutional network whose width, kernel and regularisation are searched together with its optimizer.
The paper (Greydanus and Kobak, "Scaling Down Deep Learning with MNIST-1D", 2024) gives 94 % for a CNN.
Needs `pip install lightning-sweeps[examples]`.
"""

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

Batch = tuple[Tensor, Tensor]


class MNIST1DDataModule(LightningDataModule):
    """The published split: 4,000 signals to train and 1,000 to validate, always the same.

    Args:
        batch_size: Signals a training batch.
        samples: Signals altogether, of which four fifths train.
    """

    def __init__(self, batch_size: int = 100, samples: int = 5000) -> None:
        super().__init__()
        self.batch_size, self.samples = batch_size, samples

    def setup(self, stage: str | None = None) -> None:
        """Makes the signals as tensors of shape (1, 40)."""
        from mnist1d.data import get_dataset_args, make_dataset

        settings = get_dataset_args()
        settings.num_samples = self.samples
        made = make_dataset(settings)
        self.train_set, self.validation_set = (
            TensorDataset(torch.tensor(made[x], dtype=torch.float32).unsqueeze(1), torch.tensor(made[y]))
            for x, y in (("x", "y"), ("x_test", "y_test"))
        )

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Shuffled training batches."""
        return DataLoader(self.train_set, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """All validation signals in one batch."""
        return DataLoader(self.validation_set, batch_size=len(self.validation_set))


class MNIST1DClassifier(LightningModule):
    """Three strided convolutions and a linear layer.

    Args:
        channels: Of each convolution.
        kernel: Width of the first convolution, odd.
        dropout: Share of features dropped in training, 0 to 1.
    """

    def __init__(self, channels: int = 25, kernel: int = 5, dropout: float = 0.0) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layers = nn.Sequential(
            nn.Conv1d(1, channels, kernel, stride=2, padding=kernel // 2), nn.ReLU(),
            nn.Conv1d(channels, channels, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv1d(channels, channels, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels * 5, 10),
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
        return torch.optim.AdamW(self.parameters(), lr=1e-2)
