"""What learning rate is best, by trying: writes `lr_truth.json`, which `lr_finder.py` compares with.

    python -m tests.benchmarks.lr_truth

21 rates from 1e-5 to 1, 3 seeds, a fixed number of epochs for each pair of task and optimizer; the training
loop is a plain one (the optimizers are torch's), in one thread. About 1,500 trainings, ten to twenty minutes.
"""

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from tests.benchmarks.lr_tasks import KINDS, arrays, loss_of, network

FILE = Path(__file__).parent / "lr_truth.json"
RATES = [float(f"{rate:.6g}") for rate in np.logspace(-5, 0, 21)]
SEEDS = (0, 1, 2)
OPTIMIZERS = {
    "sgd": ("torch.optim.SGD", {"momentum": 0.9}),
    "adam": ("torch.optim.Adam", {}),
    "adamw": ("torch.optim.AdamW", {"weight_decay": 0.01}),
}
EPOCHS = {"mlp_digits": 8, "cnn_digits": 6, "mlp_mnist1d": 6, "cnn_mnist1d": 4, "transformer_text": 3,
          "deep_diabetes": 15, "gru_mnist1d": 5, "autoencoder_digits": 8}  # fmt: skip
FACTOR_FOR_LARGE_BATCHES = 3


def pairs() -> Iterator[tuple[str, str, int]]:
    """Task, optimizer and batch size."""
    for kind in KINDS:
        yield from ((kind, "sgd", 32), (kind, "adam", 32), (kind, "adamw", 256), (kind, "sgd", 256))


def epochs_of(kind: str, batch: int) -> int:
    """Epochs of a training: three times as many where a batch is eight times as large."""
    return EPOCHS[kind] * (FACTOR_FOR_LARGE_BATCHES if batch > 32 else 1)


def optimizer_of(name: str, parameters: object, rate: float) -> torch.optim.Optimizer:
    """The optimizer of a pair."""
    path, options = OPTIMIZERS[name]
    return getattr(torch.optim, path.rpartition(".")[2])(parameters, lr=rate, **options)


def batches(kind: str, batch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """One shuffled epoch; as `TaskData` gives it."""
    x, y, _, _ = arrays(kind)
    order = torch.randperm(len(x))
    for start in range(0, len(x) - batch + 1, batch):
        some = order[start : start + batch]
        yield x[some], y[some]


def fresh(kind: str, seed: int) -> torch.nn.Module:
    """A model of a seed."""
    torch.manual_seed(seed)
    net = network(kind)
    net(arrays(kind)[0][:2])
    return net


def train(kind: str, optimizer: str, batch: int, rate: float, seed: int) -> float:
    """The validation loss at the end of a training; infinite if it diverged."""
    net = fresh(kind, seed)
    steps = optimizer_of(optimizer, net.parameters(), rate)
    for _ in range(epochs_of(kind, batch)):
        for x, y in batches(kind, batch):
            loss = loss_of(net(x), y)
            steps.zero_grad()
            loss.backward()
            steps.step()
        if not math.isfinite(loss.item()):
            return math.inf
    net.eval()
    _, _, x, y = arrays(kind)
    with torch.no_grad():
        value = loss_of(net(x), y).item()
    return value if math.isfinite(value) else math.inf


def main() -> None:
    """Tries everything that the file does not hold yet."""
    torch.set_num_threads(1)
    table = json.loads(FILE.read_text()) if FILE.exists() else {}
    for kind, optimizer, batch in pairs():
        name = f"{kind} {optimizer} {batch}"
        if name in table:
            continue
        started = time.perf_counter()
        losses = [[train(kind, optimizer, batch, rate, seed) for seed in SEEDS] for rate in RATES]
        rounded = [[None if math.isinf(v) else float(f"{v:.5g}") for v in row] for row in losses]
        table[name] = {"epochs": epochs_of(kind, batch), "rates": RATES, "losses": rounded}
        FILE.write_text(json.dumps(table).replace('}, "', '},\n"') + "\n")
        print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
