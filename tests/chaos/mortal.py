"""A module whose worker process is killed in the middle of its training, once at each point."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from torch import Tensor

from sweeps.layout import BEST, LAST
from tests.modules import Line

POINTS = ("build", "start", "fit", "validation", "save", "write", "best", "rename")
"""While the classes are made, the training begins, an epoch trains, one validates; before a checkpoint is
written, while it is, after it became the best, and while it becomes the last."""


def die_once(name: str) -> None:
    """Ends this process by SIGKILL, unless it was done before."""
    try:
        os.close(os.open(f"killed-{name}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    Path(f"killed-{name}").write_text(str(time.time()))
    os.kill(os.getpid(), signal.SIGKILL)


class Mortal(Line):
    """Dies in its second epoch, or before the first."""

    def __init__(self, lr: float = 0.05, at: str = "", seconds: float = 0.0) -> None:
        super().__init__(lr)
        self.at, self.seconds = at, seconds
        if at == "build" and Path("sweeps.db").exists():  # in a trial, not before the first one
            die_once(at)

    def reach(self, *names: str, epoch: int = 1) -> bool:
        """Dies if this is the point; tells whether it is one of those that die a little later."""
        is_it = self.at in names and self.trainer.max_epochs != 1 and self.current_epoch == epoch
        return is_it and not Path(f"killed-{self.at}").exists()

    def on_train_start(self) -> None:
        print(f"begins at epoch {self.current_epoch}")  # noqa: T201
        if self.reach("start", epoch=0):
            die_once(self.at)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        if batch_idx == 3 and self.reach("fit"):
            die_once(self.at)
        return super().training_step(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        time.sleep(self.seconds)
        if self.reach("validation"):
            die_once(self.at)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.reach("save"):
            die_once(self.at)
        if self.reach("write"):
            threading.Timer(0.002, die_once, ("write",)).start()
        if self.reach("best", "rename"):
            self._die_at_the_rename()

    def _die_at_the_rename(self) -> None:
        """Dies after the checkpoint got the name of the best, or before it gets that of the last."""
        replace, at = Path.replace, self.at

        def replaced(path: Path, target: Path) -> Path:
            if at == "rename" and target.name == LAST:
                die_once(at)
            done = replace(path, target)
            if at == "best" and target.name == BEST:
                die_once(at)
            return done

        Path.replace = replaced  # type: ignore[assignment, method-assign]


class Faulty(Line):
    """Raises, or never comes to an end, in its second epoch."""

    def __init__(self, lr: float = 0.05, fault: str = "") -> None:
        super().__init__(lr)
        self.fault = fault

    def on_train_epoch_start(self) -> None:
        if self.current_epoch == 1:
            print(f"attempt that will {self.fault}")  # noqa: T201
            if self.fault == "raise":
                raise RuntimeError("the disk of the data is gone")
            if self.fault == "hang":
                time.sleep(3600)
