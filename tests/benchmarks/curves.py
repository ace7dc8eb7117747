"""Real learning curves for the search benchmark; `python -m tests.benchmarks.curves` trains them again.

That takes about 20 minutes on one core. Spaces on a full grid, so that a search may propose any of its
points and gets what was really measured there: no surrogate, no nearest neighbour. 240 configurations, 27
epochs (three rungs of three), one seed:

- `digits`: one hidden layer on scikit-learn's 8x8 digits, 1,437 images to train and 360 to validate;
- `mnist1d`: two 1-D convolutions on MNIST-1D (Greydanus and Kobak 2024, arxiv.org/abs/2011.14439), 4,000
  sequences to train and 1,000 to validate;
- `moons`, `friedman`, `diabetes`, `cancer`, `wine`: one hidden layer on scikit-learn's data, four fifths of
  600, 1,500, 442, 569 and 178 rows to train;
- `digits_annealed`, `mnist1d_annealed`: the first two with schedules that end at a rate of 0, AdamW's falls
  like a cosine, SGD's rises and falls (OneCycleLR): what a high rate is worth shows at the end only.

The optimizer is a choice with a learning rate of its own in each branch. A table holds the validation
losses, one line a configuration; after a loss that is not finite, training ends. The loss is cross-entropy,
or the mean squared error over the variance.
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
ANNEALED = ("digits_annealed", "mnist1d_annealed")
SMALL = ("moons", "friedman", "diabetes", "cancer", "wine")
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


def late(curves: dict[Any, list[float]]) -> dict[Any, list[float]]:
    """The curves, each up to 8 epochs late: so long it stays where it begins. So they cross."""
    random, found = np.random.default_rng(1), {}
    for key, curve in curves.items():
        begins = int(random.integers(0, 9))
        whole = len(curve) == EPOCHS
        found[key] = ([curve[0]] * begins + curve)[:EPOCHS] if whole else curve
    return found


def mixed(task: str) -> dict[tuple[str, int, int, int], list[float]]:
    """Curves of AdamW at a constant rate and of SGD with a schedule, so that they cross by their kind."""
    annealed = load(f"{task}_annealed")
    return {key: curve if key[0] == "adamw" else annealed[key] for key, curve in load(task).items()}


def train(task: str, data: Any, optimizer: str, rate: int, width: int, batch: int) -> list[float]:
    """Trains one configuration.

    Returns:
        The loss on the validation data after each epoch.
    """
    import torch
    from torch import nn

    torch.manual_seed(0)
    x, y, x_val, y_val = data
    task, is_annealed = task.removesuffix("_annealed"), task in ANNEALED
    if task == "mnist1d":
        c = CHANNELS[width]
        model = nn.Sequential(
            nn.Unflatten(1, (1, 40)), nn.Conv1d(1, c, 5, stride=2, padding=2), nn.ReLU(),
            nn.Conv1d(c, c, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(10 * c, 10),
        )  # fmt: skip
    else:
        outputs = 1 if y.is_floating_point() else int(y.max()) + 1
        hidden = HIDDEN[width]
        model = nn.Sequential(nn.Linear(x.shape[1], hidden), nn.ReLU(), nn.Linear(hidden, outputs))
    low, high = RATES[optimizer]
    lr = low * (high / low) ** (rate / (RATE_LEVELS - 1))
    weights = list(model.parameters())
    made: torch.optim.Optimizer = torch.optim.SGD(weights, lr, momentum=0.9)
    if optimizer == "adamw":
        made = torch.optim.AdamW(weights, lr)
    size, losses = BATCHES.get(task, BATCHES["digits"])[batch], []
    steps = EPOCHS * math.ceil(len(x) / size)
    schedule: Any = torch.optim.lr_scheduler.ConstantLR(made, 1.0, 0)
    if is_annealed and optimizer == "adamw":
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(made, steps)
    elif is_annealed:
        schedule = torch.optim.lr_scheduler.OneCycleLR(made, lr, total_steps=steps)
    for _ in range(EPOCHS):
        order = torch.randperm(len(x))
        for chosen in order.split(size):
            made.zero_grad()
            loss_of(model(x[chosen]), y[chosen]).backward()
            made.step()
            schedule.step()
        with torch.no_grad():
            unit = y_val.var(correction=0) if y_val.is_floating_point() else 1.0
            losses.append(float(loss_of(model(x_val), y_val) / unit))
        if not math.isfinite(losses[-1]):
            break
    return losses


def loss_of(outputs: Any, targets: Any) -> Any:
    """Mean squared error of a number, cross-entropy of a class."""
    from torch.nn import functional

    if targets.is_floating_point():
        return functional.mse_loss(outputs.squeeze(-1), targets)
    return functional.cross_entropy(outputs, targets)


def data_of(task: str) -> Any:
    """Training inputs and targets, then those for validation, as tensors."""
    import torch

    task = task.removesuffix("_annealed")
    if task == "mnist1d":
        from mnist1d.data import get_dataset_args, make_dataset

        made = make_dataset(get_dataset_args())
        parts = [made["x"], made["y"], made["x_test"], made["y_test"]]
    else:
        x, y = rows_of(task)
        order = np.random.default_rng(0).permutation(len(y))
        x, y, train = x[order], y[order], 1437 if task == "digits" else int(0.8 * len(y))
        parts = [x[:train], y[:train], x[train:], y[train:]]
    classes = np.issubdtype(parts[1].dtype, np.integer)
    kinds = [torch.float32, torch.long if classes else torch.float32]
    return [torch.tensor(part, dtype=kinds[part.ndim == 1]) for part in parts]


def rows_of(task: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs, shape (rows, columns), and targets of scikit-learn's data, standardised but for digits."""
    from sklearn import datasets

    if task == "digits":
        digits = datasets.load_digits()
        return digits.data / 16, digits.target
    x, y = {
        "moons": lambda: datasets.make_moons(600, noise=0.3, random_state=0),
        "friedman": lambda: datasets.make_friedman1(1500, noise=1.0, random_state=0),
        "diabetes": lambda: datasets.load_diabetes(return_X_y=True),
        "cancer": lambda: datasets.load_breast_cancer(return_X_y=True),
        "wine": lambda: datasets.load_wine(return_X_y=True),
    }[task]()
    if not np.issubdtype(y.dtype, np.integer):
        y = (y - y.mean()) / y.std()
    return (x - x.mean(0)) / (x.std(0) + 1e-9), y


def main() -> None:
    """Trains every configuration and writes the tables."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=[*BATCHES, *SMALL, *ANNEALED])
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
