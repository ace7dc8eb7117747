"""A small transformer that learns to continue text, letter by letter.

Shows a search over sizes that depend on each other: a constraint keeps the width a multiple of the heads.
The text is any UTF-8 file; without one it is the help pages that every Python has (`pydoc_data.topics`).
"""

from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

LETTERS = 128


class TextDataModule(LightningDataModule):
    """Pieces of a text; the last tenth of it validates.

    Args:
        file: A UTF-8 text; "" for Python's help pages.
        length: Letters a piece.
        batch_size: Pieces a batch.
        most_letters: So many from the start of the text, at most.
    """

    def __init__(
        self, file: str = "", length: int = 64, batch_size: int = 32, most_letters: int = 200_000
    ) -> None:
        super().__init__()
        self.file, self.length, self.batch_size, self.most = file, length, batch_size, most_letters

    def setup(self, stage: str | None = None) -> None:
        """Cuts the text into pieces of shape (length + 1,); letters beyond ASCII become `?`."""
        text = Path(self.file).read_text(encoding="utf-8") if self.file else _help_pages()
        codes = torch.tensor(list(text[: self.most].encode("ascii", "replace")))
        pieces = codes[: len(codes) // (self.length + 1) * (self.length + 1)].view(-1, self.length + 1)
        held_out = max(1, len(pieces) // 10)
        self.train_set = TensorDataset(pieces[:-held_out])
        self.validation_set = TensorDataset(pieces[-held_out:])

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Shuffled training batches."""
        return DataLoader(self.train_set, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Validation batches."""
        return DataLoader(self.validation_set, batch_size=self.batch_size)


def _help_pages() -> str:
    from pydoc_data.topics import topics

    return "\n".join(topics[key] for key in sorted(topics))


class Transformer(LightningModule):
    """A decoder of equal layers.

    Args:
        width: Of the embeddings; a multiple of `heads`.
        heads: Attention heads a layer.
        depth: Layers.
        dropout: In each layer, 0 to 1.
        longest: Letters of the longest piece.
    """

    def __init__(
        self, width: int = 64, heads: int = 4, depth: int = 2, dropout: float = 0.1, longest: int = 256
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.letters, self.places = nn.Embedding(LETTERS, width), nn.Embedding(longest, width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(width, LETTERS)

    def forward(self, codes: Tensor) -> Tensor:
        """Logits of shape (batch, length, 128) for letters of shape (batch, length)."""
        length = codes.shape[1]
        x = self.letters(codes) + self.places(torch.arange(length, device=codes.device))
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=codes.device)
        logits: Tensor = self.head(self.layers(x, mask=mask, is_causal=True))
        return logits

    def _loss(self, batch: list[Tensor]) -> Tensor:
        [codes] = batch
        return functional.cross_entropy(self(codes[:, :-1]).flatten(0, 1), codes[:, 1:].flatten())

    def training_step(self, batch: list[Tensor], batch_index: int) -> Tensor:
        """The batch's loss in nats a letter."""
        loss = self._loss(batch)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_index: int) -> None:
        """Logs the loss in nats a letter."""
        self.log("val_loss", self._loss(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW, unless the configuration names an optimizer."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)
