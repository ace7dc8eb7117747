"""A project with a LightningCLI of its own: fixed classes, linked arguments, own arguments, own defaults."""

import math

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class Spirals(LightningDataModule):
    """Points of several spirals."""

    def __init__(self, arms: int = 2, batch_size: int = 16, points: int = 96) -> None:
        super().__init__()
        self.num_classes, self.batch_size, self.points = arms, batch_size, points

    def setup(self, stage: str | None = None) -> None:
        label = torch.arange(self.points) % self.num_classes
        radius = torch.linspace(0.1, 1, self.points)
        angle = 6 * radius + label * 2 * math.pi / self.num_classes
        self.set = TensorDataset(torch.stack([radius * angle.cos(), radius * angle.sin()], 1), label)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.set, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.set, batch_size=self.points)


class Classifier(LightningModule):
    """Does not choose its optimizer: the command line does."""

    def __init__(self, width: int, num_classes: int, depth: int = 1, label: str = "") -> None:
        super().__init__()
        self.save_hyperparameters()
        layers: list[nn.Module] = [nn.Linear(2, width), nn.Tanh()]
        for _ in range(depth - 1):
            layers += [nn.Linear(width, width), nn.Tanh()]
        self.net = nn.Sequential(*layers, nn.Linear(width, num_classes))
        self.smoothing = 0.0

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1], label_smoothing=self.smoothing)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        logits = self.net(batch[0])
        self.log("val/loss", nn.functional.cross_entropy(logits, batch[1]))
        self.log("val/acc", (logits.argmax(1) == batch[1]).float().mean())


class SpiralsCLI(LightningCLI):
    """What a project adds to LightningCLI over the years."""

    def __init__(self) -> None:
        keep = ModelCheckpoint(monitor="val/loss")
        super().__init__(
            Classifier,
            Spirals,
            trainer_defaults={
                "max_epochs": 3,
                "log_every_n_steps": 2,
                "accelerator": "cpu",
                "callbacks": keep,
            },
            seed_everything_default=3,
            save_config_kwargs={"overwrite": True},
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--experiment", default="default")
        parser.add_argument("--loss.smoothing", type=float, default=0.0)
        parser.add_lightning_class_args(EarlyStopping, "stopping")
        parser.set_defaults({"stopping.monitor": "val/loss", "stopping.patience": 5})
        parser.add_optimizer_args(torch.optim.SGD)
        parser.link_arguments("data.num_classes", "model.num_classes", apply_on="instantiate")
        parser.link_arguments("experiment", "model.label")

    def before_instantiate_classes(self) -> None:
        # Written for the script's own form of the configuration, as most of such hooks are.
        if self.config.fit.model.depth > 3:
            self.config.fit.trainer.gradient_clip_val = 1.0

    def after_instantiate_classes(self) -> None:
        self.model.smoothing = self.config.fit.loss.smoothing

    def before_fit(self) -> None:
        print(f"about to fit {self.config.fit.experiment} with {self.model.hparams.num_classes} classes")

    def after_fit(self) -> None:
        print("final", float(self.trainer.callback_metrics["val/loss"]))


if __name__ == "__main__":
    SpiralsCLI()
