"""A small GAN on the handwritten digits that scikit-learn ships.

Shows manual optimisation: two optimizers, stepped by hand, whose rates are arguments of the module.
The objective is how far mean and spread of the made images are from those of real ones: no judge is needed.
Gradient accumulation and the `optimizer` key do not apply to such modules; pruning and resuming do.
"""

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional

Batch = tuple[Tensor, Tensor]


class GAN(LightningModule):
    """A generator and a discriminator of two layers each, for images of shape (1, 8, 8).

    Args:
        latent: Length of the noise that an image is made of.
        hidden: Width of both networks.
        generator_lr: Rate of the generator's Adam.
        discriminator_lr: Rate of the discriminator's.
    """

    def __init__(
        self, latent: int = 16, hidden: int = 64, generator_lr: float = 1e-3, discriminator_lr: float = 1e-3
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.latent, self.rates = latent, (generator_lr, discriminator_lr)
        self.generator = nn.Sequential(
            nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, 64), nn.Sigmoid()
        )
        self.discriminator = nn.Sequential(nn.Linear(64, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1))

    def forward(self, count: int) -> Tensor:
        """So many made images, of shape (count, 64)."""
        images: Tensor = self.generator(torch.randn(count, self.latent, device=self.device))
        return images

    def training_step(self, batch: Batch, batch_index: int) -> None:
        """A step of the discriminator, then one of the generator."""
        generator, discriminator = self.optimizers()  # type: ignore[attr-defined]
        real = batch[0].flatten(1)
        made = self(len(real))
        loss = (self._loss(real, 1.0) + self._loss(made.detach(), 0.0)) / 2
        discriminator.zero_grad()
        self.manual_backward(loss)
        discriminator.step()
        generator_loss = self._loss(made, 1.0)
        generator.zero_grad()
        self.manual_backward(generator_loss)
        generator.step()
        self.log_dict({"discriminator_loss": loss, "generator_loss": generator_loss})

    def _loss(self, images: Tensor, label: float) -> Tensor:
        judged = self.discriminator(images)
        return functional.binary_cross_entropy_with_logits(judged, torch.full_like(judged, label))

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Logs how far the made images are from the real ones."""
        real, made = batch[0].flatten(1), self(len(batch[0]))
        distance = (real.mean(0) - made.mean(0)).abs().mean() + (real.std(0) - made.std(0)).abs().mean()
        self.log("distance", distance)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam for each, with the momentum that GANs are trained with."""
        networks = (self.generator, self.discriminator)
        return [
            torch.optim.Adam(network.parameters(), lr=rate, betas=(0.5, 0.999))
            for network, rate in zip(networks, self.rates, strict=True)
        ]
