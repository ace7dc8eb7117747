"""A trial's checkpoints: `best.ckpt`, `last.ckpt`, and the one before the last for when that one is damaged.

Nothing is ever half written under these names: a checkpoint is written as `new-*.ckpt` and renamed. That name
is the process's own, since a worker that was given up as lost may still write. They are read with
`weights_only=True`, so that nothing in them can run.
"""

import contextlib
import io
import os
import pickle
import secrets
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO
from typing_extensions import override

from sweeps.remote import RemoteFolder

BEST, LAST, PREVIOUS, NEW = "best.ckpt", "last.ckpt", "previous.ckpt", f"new-{secrets.token_hex(8)}.ckpt"


class PlainFile(TorchCheckpointIO):
    """Writes a file as Lightning does, without its temporary file: ours is renamed when it is whole."""

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Writes it.

        Raises:
            OSError: The disk is full or the folder is gone.
        """
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        Path(path).write_bytes(buffer.getbuffer())


def save(trainer: Trainer, folder: Path, *, is_best: bool, store: RemoteFolder | None = None) -> None:
    """Saves the training as `last.ckpt`; the best also gets the name `best.ckpt`; both also in a store.

    Raises:
        OSError: The disk is full or the folder is gone. The checkpoints of before are there, but no
            `best.ckpt` that is not the best any more.
    """
    new, last, second = folder / NEW, folder / LAST, folder / f"{NEW}-best"
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # the user has not chosen another
        trainer.strategy.checkpoint_io = PlainFile()
    try:
        trainer.save_checkpoint(new, weights_only=False)  # what it leaves out, not how it is read
        if is_best:
            _link(new, second)
            second.replace(folder / BEST)
        if last.exists():
            last.replace(folder / PREVIOUS)
        new.replace(last)
    except OSError:
        with contextlib.suppress(OSError):
            for path in (new, second, *([folder / BEST] if is_best else [])):
                path.unlink(missing_ok=True)
        raise
    if store is not None:
        store.send_checkpoint(last, is_best=is_best)


def usable(folder: Path, batching: int | None = None) -> Path | None:
    """The last checkpoint that a training can go on from, or None.

    Args:
        folder: The trial's.
        batching: The batches accumulated now. A checkpoint within an epoch counts batches: with smaller
            batches than it had the rest of its epoch would be another part of the data.
    """
    for name in (LAST, PREVIOUS):
        path = folder / name
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            ours = content["callbacks"]["TrialCallback"]
        except FileNotFoundError:
            continue
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError) as error:
            print(f"{path} cannot be read ({type(error).__name__}), so the one before is used")  # noqa: T201
            continue
        if not ours["is_between_epochs"] and ours["batching"] != batching:
            print(f"{path} stands within an epoch of other batches, so it is not used")  # noqa: T201
            continue
        return path
    return None


def tidy(folder: Path) -> None:
    """Removes what only a training that goes on needs, and what processes left that died in `save`."""
    (folder / PREVIOUS).unlink(missing_ok=True)
    for path in folder.glob("new-*.ckpt*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
