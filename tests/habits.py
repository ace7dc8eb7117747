"""More modules and data as users write them: each has a habit that a training must stand that goes on."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics import (
    ConfusionMatrix,
    MaxMetric,
    MeanMetric,
    MeanSquaredError,
    MetricCollection,
    MetricTracker,
)

from tests.modules import Data, Line


class PerEpoch(Line):
    """Logs in training by epochs, too, and at their end."""

    def __init__(self, lr: float = 0.05) -> None:
        super().__init__(lr)
        self.backbone = self.net[0]

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = nn.functional.mse_loss(self.net(batch[0]), batch[1])
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("ended", float(self.current_epoch))


class CountsEpochs(PerEpoch):
    """Has its training metrics drawn over epochs: by the `step` that it logs."""

    def on_train_epoch_end(self) -> None:
        self.log("step", float(self.current_epoch))


class Plateaus(PerEpoch):
    """Halves its rate in every epoch, by a scheduler that waits for a metric."""

    def __init__(self, lr: float = 0.05, monitor: str = "val_loss") -> None:
        super().__init__(lr)
        self.monitor = monitor

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, patience=0, threshold=10.0, factor=0.5
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": self.monitor}}


class Seldom(PerEpoch):
    """Logs `val_loss`, which is dear, at every second validation only."""

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        if self.current_epoch % 2 == 0:
            super().validation_step(batch, batch_idx)


class KeptProcesses(Data):
    """Its loaders keep their processes."""

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.set, 8, shuffle=True, num_workers=1, persistent_workers=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.set, 32, num_workers=1, persistent_workers=True)


class Drawing(Line):
    """Draws by its logger, and writes a file to the folder that Lightning names."""

    def on_validation_epoch_end(self) -> None:
        self.logger.experiment.add_text("prediction", "a picture", self.global_step)
        (Path(self.trainer.log_dir) / "table.txt").write_text(type(self.logger).__name__)


class Several(Data):
    """Trains with two loaders at once: 8 batches and 16."""

    def train_dataloader(self) -> dict[str, DataLoader[tuple[Tensor, ...]]]:  # type: ignore[override]
        return {"one": DataLoader(self.set, 8), "other": DataLoader(self.set, 4)}


class OfSeveral(Line):
    """Trains with one of them."""

    def training_step(self, batch: dict[str, list[Tensor]], batch_idx: int) -> Tensor:  # type: ignore[override]
        return super().training_step(batch["one"], batch_idx)


class Confused(Line):
    """Logs a matrix, which no logger takes, for a callback of its own."""

    def __init__(self, lr: float = 0.05) -> None:
        super().__init__(lr)
        self.matrix = ConfusionMatrix("binary")

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.matrix.update((self.net(batch[0]) > 0).int(), (batch[1] > 0).int())
        self.log("matrix", self.matrix, logger=False)


class Best(PerEpoch):
    """Logs the best so far by metrics that it keeps from epoch to epoch, and each batch of a validation."""

    def __init__(self, lr: float = 0.05) -> None:
        super().__init__(lr)
        self.highest, self.each = MaxMetric(), MeanMetric()
        self.tracker = MetricTracker(MetricCollection([MeanSquaredError()]), maximize=[True])

    def on_train_start(self) -> None:
        self.highest.reset()  # what the check of the validation has left

    def on_validation_epoch_start(self) -> None:
        self.tracker.increment()

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.tracker.update(self.net(batch[0]), batch[1])
        self.each.update(self.net(batch[0]).square())
        self.log("each", self.each)  # Lightning resets it
        self.log("val_loss", torch.rand(()), on_step=True, on_epoch=True)

    def on_validation_epoch_end(self) -> None:
        self.highest.update(torch.rand(()))
        self.log("highest", self.highest.compute())
        self.log_dict({f"best_{key}": value for key, value in self.tracker.best_metric().items()})


class Remembers(Callback):
    """Keeps NumPy's numbers in the checkpoint, or a path."""

    def __init__(self, path: bool = False) -> None:
        self.seen: list[Any] = [Path("here")] if path else []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seen.append(np.linspace(0, 1, 3).mean())

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen, "all": np.arange(3), "last": np.bool_(True)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seen = state_dict["seen"]


class MakesItsOptimizer(Line):
    """Takes its optimizer from the configuration as what makes one."""

    def __init__(self, optimizer: OptimizerCallable) -> None:
        super().__init__()
        self.optimizer = optimizer

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer(self.parameters())


class Copies(Callback):
    """Keeps a copy of the module, as callbacks that average its weights do."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.copied = copy.deepcopy(pl_module)


class WarmsUp(Line):
    """Its rate rises for four steps and falls until the end: a schedule for its length, and for no other.

    It asks for the best checkpoint so far.
    """

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr)
        total = max(self.trainer.estimated_stepping_batches, 3)
        cycle = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=self.lr, total_steps=total, pct_start=min(4 / total, 0.5)
        )
        return [optimizer], [{"scheduler": cycle, "interval": "step"}]

    def on_train_start(self) -> None:
        self.folder = self.trainer.checkpoint_callback.dirpath
        assert Path(self.folder).is_dir()

    def on_train_end(self) -> None:
        kept = self.trainer.checkpoint_callback
        self.print(f"best {kept.best_model_path} {kept.best_model_score}, last {kept.last_model_path}")
        self.print(f"by {kept.mode} {kept.monitor}: {len(kept.best_k_models)} of {kept.save_top_k}")


class WarmsUpByHand(WarmsUp):
    """The same, stepped by the module."""

    def __init__(self, lr: float = 0.05) -> None:
        super().__init__(lr)
        self.automatic_optimization = False

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(super().training_step(batch, batch_idx))
        optimizer.step()
        self.lr_schedulers().step()  # type: ignore[union-attr]
