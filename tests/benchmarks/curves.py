"""Real learning curves for the search benchmark; `python -m tests.benchmarks.curves` trains them again.

That takes about 10 minutes on one core. Two spaces on a full grid, so that a search may propose any of its
points and gets what was really measured there: no surrogate, no nearest neighbour. 240 configurations, 27
epochs (three rungs of three), one seed:

- `digits`: one hidden layer on scikit-learn's 8x8 digits, 1,437 images to train and 360 to validate;
- `mnist1d`: two 1-D convolutions on MNIST-1D (Greydanus and Kobak 2024, arxiv.org/abs/2011.14439), 4,000
  sequences to train and 1,000 to validate.

The optimizer is a choice with a learning rate of its own in each branch. A table holds the validation losses,
one line a configuration; after a loss that is not finite, training ends.
"""

import argparse
import csv
import itertools
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

EPOCHS = 27
RATES = {"adamw": (1e-5, 1e-1), "sgd": (1e-4, 1.0)}
RATE_LEVELS = 8
HIDDEN = (8, 16, 32, 64, 128)
CHANNELS = (4, 8, 16, 24, 32)
BATCHES = {"digits": (16, 32, 64), "mnist1d": (64, 128, 256)}
GRID = [(o, r, w, b) for o, r, w, b in itertools.product(RATES, range(RATE_LEVELS), range(5), range(3))]
"""Every configuration: the optimizer's name and the levels of learning rate, width and batch size."""


def search_space() -> dict[str, Any]:
    """The space as a sweep file has it; whole numbers are the levels of the grid."""
    rate = {"type": "int", "low": 0, "high": RATE_LEVELS - 1}
    return {
        "model.init_args.width": {"type": "int", "low": 0, "high": 4},
        "data.init_args.batch_size": {"type": "int", "low": 0, "high": 2},
        "optimizer": {name: {"class_path": name, "init_args": {"lr": dict(rate)}} for name in RATES},
    }


def key_of(params: dict[str, Any]) -> tuple[str, int, int, int]:
    """The table's key of a trial's parameters."""
    name = params["optimizer"]
    return (name, params[f"optimizer.{name}.init_args.lr"], params["model.init_args.width"],
            params["data.init_args.batch_size"])  # fmt: skip


def path_of(task: str) -> Path:
    """Where a table is kept."""
    return Path(__file__).with_name(f"curves_{task}.csv")


def load(task: str) -> dict[tuple[str, int, int, int], list[float]]:
    """The validation losses of each configuration, epoch by epoch; the last may be NaN or infinite."""
    with path_of(task).open() as file:
        rows = list(csv.reader(file))
    return {(r[0], int(r[1]), int(r[2]), int(r[3])): [float(v) for v in r[4:]] for r in rows}


def train(task: str, data: Any, optimizer: str, rate: int, width: int, batch: int) -> list[float]:
    """Trains one configuration.

    Returns:
        The mean cross-entropy on the validation data after each epoch.
    """
    import torch
    from torch import nn
    from torch.nn import functional

    torch.manual_seed(0)
    x, y, x_val, y_val = data
    if task == "digits":
        model = nn.Sequential(nn.Linear(64, HIDDEN[width]), nn.ReLU(), nn.Linear(HIDDEN[width], 10))
    else:
        c = CHANNELS[width]
        model = nn.Sequential(
            nn.Unflatten(1, (1, 40)), nn.Conv1d(1, c, 5, stride=2, padding=2), nn.ReLU(),
            nn.Conv1d(c, c, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(10 * c, 10),
        )  # fmt: skip
    low, high = RATES[optimizer]
    lr = low * (high / low) ** (rate / (RATE_LEVELS - 1))
    weights = list(model.parameters())
    made: torch.optim.Optimizer = torch.optim.SGD(weights, lr, momentum=0.9)
    if optimizer == "adamw":
        made = torch.optim.AdamW(weights, lr)
    size, losses = BATCHES[task][batch], []
    for _ in range(EPOCHS):
        order = torch.randperm(len(x))
        for chosen in order.split(size):
            made.zero_grad()
            functional.cross_entropy(model(x[chosen]), y[chosen]).backward()
            made.step()
        with torch.no_grad():
            losses.append(float(functional.cross_entropy(model(x_val), y_val)))
        if not math.isfinite(losses[-1]):
            break
    return losses


def data_of(task: str) -> Any:
    """Training inputs and labels, then those for validation, as tensors."""
    import torch

    if task == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        order = np.random.default_rng(0).permutation(len(digits.target))
        x, y = digits.data[order] / 16, digits.target[order]
        parts = [x[:1437], y[:1437], x[1437:], y[1437:]]
    else:
        from mnist1d.data import get_dataset_args, make_dataset

        made = make_dataset(get_dataset_args())
        parts = [made["x"], made["y"], made["x_test"], made["y_test"]]
    return [torch.tensor(p, dtype=torch.long if p.ndim == 1 else torch.float32) for p in parts]


def main() -> None:
    """Trains every configuration and writes the tables."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=list(BATCHES))
    torch.set_num_threads(1)
    for task in parser.parse_args().tasks:
        data = data_of(task)
        with path_of(task).open("w", newline="") as file:
            for number, key in enumerate(GRID):
                losses = train(task, data, *key)
                csv.writer(file).writerow([*key, *(f"{loss:.4g}" for loss in losses)])
                sys.stderr.write(f"\r{task} {number + 1}/{len(GRID)}")


if __name__ == "__main__":
    main()
