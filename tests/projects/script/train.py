"""A script that calls LightningCLI with its classes, and a scheduler that watches a metric."""

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class Waves(LightningDataModule):
    """A sine."""

    def __init__(self, batch_size: int = 16, noise: float = 0.0) -> None:
        super().__init__()
        self.batch_size, self.noise = batch_size, noise

    def setup(self, stage: str | None = None) -> None:
        x = torch.linspace(-3, 3, 64).unsqueeze(1)
        self.set = TensorDataset(x, x.sin() + self.noise * (50 * x).sin())

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.set, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.set, batch_size=64)


class Regressor(LightningModule):
    """A small network."""

    def __init__(self, width: int = 8, activation: str = "tanh") -> None:
        super().__init__()
        self.save_hyperparameters()
        bends = {"tanh": nn.Tanh, "relu": nn.ReLU}[activation]
        self.net = nn.Sequential(nn.Linear(1, width), bends(), nn.Linear(width, 1))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = nn.functional.mse_loss(self.net(batch[0]), batch[1])
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val/loss", nn.functional.mse_loss(self.net(batch[0]), batch[1]))


def main() -> None:
    cli = LightningCLI(
        Regressor,
        Waves,
        save_config_callback=None,
        trainer_defaults={"max_epochs": 2, "accelerator": "cpu", "log_every_n_steps": 2},
        seed_everything_default=7,
    )
    print("final", float(cli.trainer.callback_metrics["val/loss"]))


if __name__ == "__main__":
    main()
