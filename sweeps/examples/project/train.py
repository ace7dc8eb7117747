"""The project's script: `python -m sweeps.examples.project.train fit --config fit.yml`.

Shows a sweep of a project that knows nothing of sweeps: neither this file nor `fit.yml` is changed for it.
`sweep.yaml` names both, and `sweeps export` writes a configuration for this very script.
"""

from typing import Any

import torch
from lightning.pytorch.cli import LightningCLI
from torch import Tensor, nn

from sweeps.examples.digits import DigitsClassifier, DigitsDataModule


class Classifier(DigitsClassifier):
    """Its loss may smooth the labels.

    Args:
        smoothing: Of the labels, 0 to 1.
        hidden: Width of the hidden layer.
        dropout: Share of hidden units dropped in training, 0 to 1.
    """

    def __init__(self, smoothing: float = 0.0, hidden: int = 64, dropout: float = 0.1) -> None:
        super().__init__(hidden=hidden, dropout=dropout)
        self.loss = nn.CrossEntropyLoss(label_smoothing=smoothing)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """The batch's loss."""
        loss: Tensor = self.loss(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss


def main(**settings: Any) -> None:
    """Runs the command line."""
    torch.set_float32_matmul_precision("high")
    LightningCLI(Classifier, DigitsDataModule, **settings)


if __name__ == "__main__":
    main()
