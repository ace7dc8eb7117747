"""Four tasks as users sweep them: a wide rate, five other parameters, epochs of hundreds of steps.

A multilayer perceptron, a convolutional network and an autoencoder on 10,000 signals of MNIST-1D (its
generator, more samples), and a model of letters (embeddings of eight, then layers, as Bengio et al. 2003 have
it) on the documentation texts that come with Python.
"""

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from tests.benchmarks.lr_tasks import LETTERS, Arrays

EPOCHS = {"mlp_mnist1d": 8, "cnn_mnist1d": 6, "letters": 5, "autoencoder": 6}
SAMPLES = 10_000
LETTERS_SEEN, EMBEDDING, STRIDE = 8, 12, 7
CODE = 6
"""Numbers between the two halves of the autoencoder."""


@functools.cache
def arrays(kind: str) -> Arrays:
    """Training inputs and targets, validation inputs and targets; a quarter is held out."""
    x, y = _letters() if kind == "letters" else _signals()
    if kind == "autoencoder":
        y = x
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    held_out, kept = order[: len(x) // 4], order[len(x) // 4 :]
    return x[kept], y[kept], x[held_out], y[held_out]


def _signals() -> tuple[Tensor, Tensor]:
    from mnist1d.data import get_dataset_args, make_dataset

    settings = get_dataset_args()
    settings.num_samples = SAMPLES
    made = make_dataset(settings)
    x = np.concatenate([made["x"], made["x_test"]])
    return torch.tensor(x, dtype=torch.float32), torch.tensor(np.concatenate([made["y"], made["y_test"]]))


def _letters() -> tuple[Tensor, Tensor]:
    from pydoc_data.topics import topics

    text = "".join(topics[name] for name in sorted(topics)).lower()
    codes = torch.tensor([LETTERS.find(letter) + 1 for letter in text[: 2 * SAMPLES * STRIDE]])
    windows = codes.unfold(0, LETTERS_SEEN + 1, STRIDE)
    return windows[:, :-1].contiguous(), windows[:, -1].contiguous()


def network(kind: str, width: int, depth: int, dropout: float) -> nn.Module:
    """A fresh model."""
    if kind == "cnn_mnist1d":
        layers: list[nn.Module] = [nn.Unflatten(1, (1, 40))]
        channels, length = 1, 40
        for _ in range(depth):
            layers += [nn.Conv1d(channels, width // 4, 5, stride=2, padding=2), nn.ReLU()]
            channels, length = width // 4, -(-length // 2)
        return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels * length, 10))
    if kind == "autoencoder":
        halves = [_layers(40, width, depth, dropout, CODE), _layers(CODE, width, depth, dropout, 40)]
        return nn.Sequential(*itertools.chain(*halves))
    is_text = kind == "letters"
    size = LETTERS_SEEN * EMBEDDING if is_text else 40
    layers = [nn.Embedding(len(LETTERS) + 1, EMBEDDING), nn.Flatten()] if is_text else []
    classes = len(LETTERS) + 1 if is_text else 10
    return nn.Sequential(*layers, *_layers(size, width, depth, dropout, classes))


def _layers(size: int, width: int, depth: int, dropout: float, results: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(size, width), nn.ReLU(), nn.Dropout(dropout)]
        size = width
    return [*layers, nn.Linear(size, results)]


def loss_of(kind: str, predicted: Tensor, wanted: Tensor) -> Tensor:
    """The loss of a batch."""
    if kind == "autoencoder":
        return nn.functional.mse_loss(predicted, wanted)
    return nn.functional.cross_entropy(predicted, wanted)


class Net(LightningModule):
    """A model of a kind; the optimizer is the configuration's."""

    def __init__(self, kind: str, width: int = 64, depth: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        self.kind, self.net = kind, network(kind, width, depth, dropout)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch."""
        return loss_of(self.kind, self.net(batch[0]), batch[1])


class NetData(LightningDataModule):
    """The data of a kind, whole batches at a time."""

    def __init__(self, kind: str, batch_size: int = 64) -> None:
        super().__init__()
        self.kind, self.batch_size = kind, batch_size

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Shuffled batches; what is left over of an epoch is left out."""
        data = TensorDataset(*arrays(self.kind)[:2])
        sampler = BatchSampler(RandomSampler(data), self.batch_size, True)
        return DataLoader(data, sampler=sampler, batch_size=None)


def raw_spec(kind: str, trials: int, seed: int) -> dict[str, Any]:
    """The sweep file of a task, which names neither sampler nor pruner."""
    package = "tests.benchmarks.lr_sweep_tasks"
    return {
        "name": "bench", "objective": {"metric": "val_loss", "direction": "minimize"},
        "budget": {"trials": trials}, "seed_everything": seed,
        "model": {"class_path": f"{package}.Net", "init_args": {"kind": kind}},
        "data": {"class_path": f"{package}.NetData", "init_args": {"kind": kind}},
        "optimizer": {"class_path": "torch.optim.AdamW"},
        "trainer": {"accelerator": "cpu", "max_epochs": EPOCHS[kind]},
        "search_space": {
            "optimizer.init_args.lr": {"type": "float", "low": 1e-5, "high": 1.0, "log": True},
            "optimizer.init_args.weight_decay": {"type": "float", "low": 1e-5, "high": 1.0, "log": True},
            "model.init_args.width": {"type": "int", "low": 16, "high": 128, "log": True},
            "model.init_args.depth": {"type": "int", "low": 1, "high": 3},
            "model.init_args.dropout": {"type": "float", "low": 0.0, "high": 0.5},
            "data.init_args.batch_size": [32, 64, 128],
        },
    }  # fmt: skip


def training(kind: str, config: dict[str, Any], seed: int) -> Iterator[float]:
    """Trains a configuration in a plain loop; gives the validation loss of each epoch."""
    torch.manual_seed(seed)
    arguments = {key: value for key, value in config["model"]["init_args"].items() if key != "kind"}
    net = network(kind, **arguments)
    settings = config["optimizer"]["init_args"]
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=settings["lr"], weight_decay=settings["weight_decay"], fused=True
    )
    batch = config["data"]["init_args"]["batch_size"]
    x, y, x_val, y_val = arrays(kind)
    for _ in range(EPOCHS[kind]):
        net.train()
        for some in torch.randperm(len(x))[: len(x) // batch * batch].split(batch):
            loss = loss_of(kind, net(x[some]), y[some])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            yield loss_of(kind, net(x_val), y_val).item()
