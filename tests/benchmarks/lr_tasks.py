"""Small tasks whose best learning rates can be found by trying them all, as a user writes them.

All data are on the machine: scikit-learn's digits and diabetes, MNIST-1D (made by its package), and the
documentation texts that come with Python.
"""

import functools

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

KINDS = (
    "mlp_digits",
    "cnn_digits",
    "mlp_mnist1d",
    "cnn_mnist1d",
    "transformer_text",
    "deep_diabetes",
    "gru_mnist1d",
    "autoencoder_digits",
)
LETTERS = "abcdefghijklmnopqrstuvwxyz .,()'\n"
CONTEXT = 16

Arrays = tuple[Tensor, Tensor, Tensor, Tensor]


@functools.cache
def arrays(kind: str) -> Arrays:
    """Training inputs and targets, validation inputs and targets."""
    name = kind.partition("_")[2]
    x, y = {"digits": _digits, "mnist1d": _mnist1d, "text": _text, "diabetes": _diabetes}[name]()
    if kind.startswith("cnn"):
        x = x.reshape(-1, 1, 8, 8) if name == "digits" else x.unsqueeze(1)
    if kind.startswith("autoencoder"):
        y = x
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    held_out = order[: len(x) // 4]
    kept = order[len(x) // 4 :]
    return x[kept], y[kept], x[held_out], y[held_out]


def _digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)


def _mnist1d() -> tuple[Tensor, Tensor]:
    from mnist1d.data import get_dataset_args, make_dataset

    settings = get_dataset_args()
    settings.num_samples = 2000
    made = make_dataset(settings)
    x = np.concatenate([made["x"], made["x_test"]])
    y = np.concatenate([made["y"], made["y_test"]])
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


def _text() -> tuple[Tensor, Tensor]:
    from pydoc_data.topics import topics

    text = "".join(topics[name] for name in sorted(topics)).lower()
    codes = torch.tensor([LETTERS.find(letter) + 1 for letter in text[:60_000]])
    windows = codes.unfold(0, CONTEXT + 1, CONTEXT)[:1600]
    return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()


def _diabetes() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_diabetes

    data = load_diabetes()
    x, y = torch.tensor(data.data, dtype=torch.float32) * 21, torch.tensor(data.target, dtype=torch.float32)
    return x, ((y - y.mean()) / y.std()).unsqueeze(1)


class Transformer(nn.Module):
    """Predicts each next letter; two layers."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.letters = nn.Embedding(len(LETTERS) + 1, width)
        self.places = nn.Parameter(0.02 * torch.randn(CONTEXT, width))
        layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, len(LETTERS) + 1)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(CONTEXT))

    def forward(self, x: Tensor) -> Tensor:
        """From letters (batch, context) to logits (batch, letters, context)."""
        return self.head(self.layers(self.letters(x) + self.places, mask=self.mask)).transpose(1, 2)


class Recurrent(nn.Module):
    """A GRU over the signal, five values at a time."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.cells = nn.GRU(5, width, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """From signals (batch, 40) to logits (batch, 10)."""
        states, _ = self.cells(x.unflatten(1, (8, 5)))
        return self.head(states[:, -1])


def network(kind: str, width: int = 32) -> nn.Module:
    """A fresh model of a kind."""
    match kind:
        case "mlp_digits":
            return nn.Sequential(nn.Linear(64, 2 * width), nn.ReLU(), nn.Linear(2 * width, 10))
        case "mlp_mnist1d":
            return nn.Sequential(nn.Linear(40, 3 * width), nn.ReLU(), nn.Linear(3 * width, 3 * width),
                                 nn.ReLU(), nn.Linear(3 * width, 10))  # fmt: skip
        case "cnn_digits":
            return nn.Sequential(nn.Conv2d(1, width // 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                                 nn.Conv2d(width // 4, width // 2, 3, padding=1), nn.ReLU(), nn.Flatten(),
                                 nn.Linear(16 * (width // 2), 10))  # fmt: skip
        case "cnn_mnist1d":
            return nn.Sequential(nn.Conv1d(1, width // 2, 5, stride=2, padding=1), nn.ReLU(),
                                 nn.Conv1d(width // 2, width // 2, 3, stride=2, padding=1), nn.ReLU(),
                                 nn.Conv1d(width // 2, width // 2, 3, stride=2, padding=1), nn.ReLU(),
                                 nn.Flatten(), nn.LazyLinear(10))  # fmt: skip
        case "transformer_text":
            return Transformer(width // 2)
        case "deep_diabetes":
            return nn.Sequential(nn.Linear(10, width), nn.BatchNorm1d(width), nn.ReLU(),
                                 nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(),
                                 nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(),
                                 nn.Linear(width, 1))  # fmt: skip
        case "gru_mnist1d":
            return Recurrent(width // 2)
        case "autoencoder_digits":
            return nn.Sequential(nn.Linear(64, width), nn.Tanh(), nn.Linear(width, 8), nn.Tanh(),
                                 nn.Linear(8, width), nn.Tanh(), nn.Linear(width, 64))  # fmt: skip
    raise ValueError(kind)


def loss_of(output: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy, or the squared error of a regression."""
    if y.is_floating_point():
        return nn.functional.mse_loss(output, y)
    return nn.functional.cross_entropy(output, y)


class Task(LightningModule):
    """A model of a kind; the optimizer is the configuration's."""

    def __init__(self, kind: str, width: int = 32) -> None:
        super().__init__()
        self.net = network(kind, width)
        self.net(arrays(kind)[0][:2])  # lazy layers get their shapes

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch."""
        return loss_of(self.net(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Logs `val_loss`."""
        self.log("val_loss", loss_of(self.net(batch[0]), batch[1]))


class TaskData(LightningDataModule):
    """The data of a kind, whole batches at a time."""

    def __init__(self, kind: str, batch_size: int = 32) -> None:
        super().__init__()
        self.kind, self.batch_size = kind, batch_size

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Shuffled batches; what is left over of an epoch is left out."""
        x, y, _, _ = arrays(self.kind)
        data = TensorDataset(x, y)
        return DataLoader(
            data, sampler=BatchSampler(RandomSampler(data), self.batch_size, True), batch_size=None
        )

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """One batch."""
        _, _, x, y = arrays(self.kind)
        return DataLoader(TensorDataset(x, y), batch_size=len(x))
