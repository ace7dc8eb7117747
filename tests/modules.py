"""Modules as users write them, each with a habit that a sweep must stand; they train in a blink."""

import math
import os
import random
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from sweeps.training.callbacks import TrialCallback


class Data(LightningDataModule):
    """64 points of a line with noise; 8 training batches of 8, 2 validation batches."""

    def __init__(self, batch_size: int = 8, size: int = 64) -> None:
        super().__init__()
        self.batch_size, self.size = batch_size, size

    def setup(self, stage: str | None = None) -> None:
        x = torch.linspace(-1, 1, self.size).unsqueeze(1)
        self.set = TensorDataset(x, 2 * x + 0.1 * torch.sin(40 * x))

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.set, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.set, batch_size=self.size // 2)


class Loading(Data):
    """Loads in processes of its own."""

    def __init__(self, batch_size: int = 8, num_workers: int = 0) -> None:
        super().__init__(batch_size)
        self.num_workers = num_workers

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.set, batch_size=self.batch_size, num_workers=self.num_workers)


class Line(LightningModule):
    """Fits the line; logs `loss` in training, `val_loss` and `val/mae` in validation."""

    def __init__(self, lr: float = 0.05, width: int = 4, name: str = "line") -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        self.net = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, 1))
        self.batches = 0

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.batches += 1
        loss = nn.functional.mse_loss(self.net(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        error = self.net(batch[0]) - batch[1]
        self.log("val_loss", error.square().mean())
        self.log("val/mae", error.abs().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class InvalidConfig(Exception):
    """A project's own exception: `sweeps.InvalidConfig` is known by its name."""


class Picky(Line):
    """Takes no width above 5, by an exception of its own."""

    def __init__(self, lr: float = 0.05, width: int = 4) -> None:
        super().__init__(lr, width)
        if width > 5:
            raise InvalidConfig(f"{width} is wider than 5")


class Scheduled(Line):
    """Its `val_loss` is the next of a list of numbers, whatever it learns."""

    def __init__(self, values: list[float], lr: float = 0.05) -> None:
        super().__init__(lr)
        self.values = values
        self.register_buffer("validations", torch.tensor(0))  # in checkpoints, too

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_loss", torch.tensor(self.values[int(self.validations) % len(self.values)]))

    def on_validation_epoch_end(self) -> None:
        self.validations += 1


class Counting(Scheduled):
    """Its `epoch_mean`, over the batches of an epoch's training, is the epoch's number."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.log("epoch_mean", float(self.current_epoch), on_step=False, on_epoch=True)
        return super().training_step(batch, batch_idx)


class Diverging(Line):
    """NaN from the second validation on."""

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_loss", torch.tensor(0.5 if self.current_epoch < 1 else math.nan))


def is_probed(trainer: Trainer) -> bool:
    """Whether this is the one batch that is trained before a sweep."""
    return isinstance(trainer.limit_val_batches, int)


class Failing(Line):
    """Raises when `lr` is above a limit."""

    def __init__(self, lr: float = 0.05, limit: float = 0.0) -> None:
        super().__init__(lr)
        self.limit = limit

    def on_train_start(self) -> None:
        print("about to fail")
        if not is_probed(self.trainer) and self.lr > self.limit:
            raise RuntimeError(f"lr {self.lr} is\ntoo high")


class Exiting(Line):
    """Ends its process as a script would."""

    def on_train_epoch_end(self) -> None:
        if not is_probed(self.trainer):
            sys.exit(4)


class Chatty(Line):
    """Writes to stdout, to stderr, through C, and from another process."""

    def on_fit_start(self) -> None:
        print("to stdout")
        print("to stderr", file=sys.stderr)
        os.write(1, b"to descriptor 1\n")
        subprocess.run(["echo", "from a child"], check=True)


class Messy(Line):
    """Changes everything of the process that it can reach."""

    def on_fit_start(self) -> None:
        torch.set_default_dtype(torch.float64)
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = True
        torch.set_num_threads(2)
        torch.manual_seed(99)
        random.seed(99)
        np.random.seed(99)
        os.environ["MESSY"] = "1"
        os.chdir("/")
        sys.path.insert(0, "/nowhere")


class LogOutputs(Callback):
    """Logs what a validation_step returns; Lightning's demo modules log nothing themselves."""

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        pl_module.log_dict({key: value for key, value in outputs.items() if value.ndim == 0})


class WithoutValidation(LightningModule):
    """Has no validation_step."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.layer(batch[0]).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class WrongShape(Line):
    """Its layers do not fit the data."""

    def __init__(self, lr: float = 0.05, width: int = 4) -> None:
        super().__init__(lr, width)
        self.net = nn.Linear(7, 1)


class MissingFile(Data):
    """Its data are not there."""

    def setup(self, stage: str | None = None) -> None:
        with open("data/points.csv") as file:
            file.read()


class Noisy(Line):
    """Draws from every random number generator while it trains."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        noise = random.random() + np.random.random() + torch.rand(1).item()
        return super().training_step([batch[0], batch[1] + 0.1 * noise], batch_idx)


class Slow(Line):
    """Takes its time for each validation."""

    def __init__(self, lr: float = 0.05, seconds: float = 0.1) -> None:
        super().__init__(lr)
        self.seconds = seconds

    def on_validation_epoch_end(self) -> None:
        time.sleep(self.seconds)


class FullDisk(Line):
    """No file may grow while one of its validations is saved; it prints all the same."""

    def __init__(self, at: int, lr: float = 0.05) -> None:
        super().__init__(lr)
        self.at = at

    def on_validation_epoch_end(self) -> None:
        if self.current_epoch + 1 == self.at:
            self.limit(10)
            print("there is no room for this")

    def on_train_epoch_start(self) -> None:
        [ours] = [callback for callback in self.trainer.callbacks if isinstance(callback, TrialCallback)]
        ours._saver.wait()  # the checkpoint is written while the training goes on
        self.limit(resource.RLIM_INFINITY)

    def teardown(self, stage: str) -> None:
        self.limit(resource.RLIM_INFINITY)

    def limit(self, size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


class Hungry(Line):
    """Runs out of memory where batch times width is above a limit, from an epoch on."""

    def __init__(self, width: int = 4, limit: int = 16, from_epoch: int = 0, halved: bool = True) -> None:
        super().__init__(width=width)
        self.limit, self.from_epoch, self.halved = limit, from_epoch, halved

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        size = len(batch[0]) * self.hparams["width"]
        if self.halved and str(self.trainer.precision).startswith(("16", "bf16")):
            size /= 2
        if self.current_epoch >= self.from_epoch and size > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().training_step(batch, batch_idx)


class HungryByHand(Hungry):
    """Optimises by hand."""

    def __init__(self, width: int = 4, limit: int = 16) -> None:
        super().__init__(width, limit)
        self.automatic_optimization = False


class Greedy(Line):
    """Takes memory on its GPU for each sample of a batch."""

    def __init__(self, width: int = 4, bytes_per_sample: int = 2**20) -> None:
        super().__init__(width=width)
        self.bytes_per_sample = bytes_per_sample

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        size = len(batch[0]) * self.bytes_per_sample
        held = torch.empty(size, dtype=torch.uint8, device=self.device)
        loss = super().training_step(batch, batch_idx)
        del held
        return loss


class Compressed(TorchCheckpointIO):
    """A user's own way to write checkpoints."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        super().save_checkpoint(checkpoint | {"compressed": True}, path, storage_options)


class Rewriting(Line):
    """Writes over its weights in place as soon as it was validated and saved."""

    def __init__(self, lr: float = 0.05, fails_at: int = -1) -> None:
        super().__init__(lr)
        self.fails_at = fails_at
        self.register_buffer("mark", torch.zeros(500_000))

    def on_validation_epoch_end(self) -> None:
        self.mark[:] = self.mark[0].abs() + 1

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.mark[:] = -self.mark.abs()
        if self.current_epoch == self.fails_at:
            raise RuntimeError(f"in epoch {self.current_epoch}")
