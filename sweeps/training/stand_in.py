"""The Trainer's checkpoint callback of ours, where a user's module expects Lightning's own."""

from typing import ClassVar

from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor


class StandIn(Checkpoint):
    """Answers what a module or a callback asks `trainer.checkpoint_callback`, a ModelCheckpoint in a script.

    As a `Checkpoint` it is called after all other callbacks, EarlyStopping included, and Lightning adds no
    checkpoint callback of its own. This one saves nothing.

    Attributes:
        dirpath: The folder of the checkpoints.
        monitor: The metric that says which is the best.
        mode: `min` or `max`.
    """

    filename: ClassVar[str | None] = None
    save_top_k: ClassVar[int] = 1
    save_last: ClassVar[bool] = True
    kth_best_model_path: ClassVar[str] = ""

    def __init__(self, dirpath: str | None = None, monitor: str | None = None, mode: str = "min") -> None:
        super().__init__()
        self.dirpath, self.monitor, self.mode = dirpath, monitor, mode

    @property
    def best_model_path(self) -> str:
        """The best checkpoint so far; "" if there is none."""
        return ""

    @property
    def last_model_path(self) -> str:
        """The last checkpoint; "" if there is none."""
        return ""

    @property
    def best_model_score(self) -> Tensor | None:
        """The metric of the best one."""
        return None

    @property
    def current_score(self) -> Tensor | None:
        """The metric of the last one."""
        return None

    @property
    def best_k_models(self) -> dict[str, Tensor]:
        """The score of each that is kept, by its path."""
        path, score = self.best_model_path, self.best_model_score
        return {path: score} if path and score is not None else {}
