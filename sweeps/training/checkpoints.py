"""A trial's checkpoints: `best.ckpt`, `last.ckpt`, and the one before the last for when that one is damaged.

Nothing is ever half written under these names: a checkpoint is written as `new-*.ckpt`, synced and renamed
(see `sweeps.durable`). That name is the process's own, since a worker that was given up as lost may still
write. They are read with `weights_only=True`, so that nothing in them can run; NumPy's numbers, which
callbacks and schedulers hold, are read as well.
"""

import contextlib
import io
import os
import pickle
import re
import secrets
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.io import AsyncCheckpointIO, TorchCheckpointIO
from typing_extensions import override

from sweeps.durable import sync, sync_names
from sweeps.layout import BEST, LAST, PREVIOUS
from sweeps.remote import RemoteFolder, reason_of

NEW = f"new-{secrets.token_hex(8)}.ckpt"
DAMAGED = "new-damaged.ckpt"  # `tidy` removes it with the new ones


_MAKERS: list[Any] = [made.__reduce__()[0] for made in (np.empty(0), np.float64(0))]
_KINDS = [type(np.dtype(code)) for code in np.typecodes["AllInteger"] + np.typecodes["AllFloat"] + "?"]
torch.serialization.add_safe_globals([np.ndarray, np.dtype, *_MAKERS, *_KINDS, frozenset])

REFUSED = re.compile(r"GLOBAL (\S+) was not an allowed global|but got <class '(.+?)'>")
"""What torch says of a checkpoint that holds something else."""


class Taken(TorchCheckpointIO):
    """Takes what Lightning would write to a file at once, and keeps it until it is written.

    Attributes:
        content: The bytes of the file.
    """

    def __init__(self) -> None:
        self.content = b""

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Keeps it."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        self.content = buffer.getvalue()


class Saver:
    """Saves one trial's training as `last.ckpt`; the best also gets the name `best.ckpt`.

    What is saved is the state of now; it gets to the disk, and to the store, while the training goes on.

    Args:
        folder: Where the checkpoints go.
        store: Gets them, too.

    Attributes:
        unwritten: Which checkpoint could not be written last, and why; "" if all were.
    """

    def __init__(self, folder: Path, store: RemoteFolder | None = None) -> None:
        self.unwritten = ""
        self._folder, self._store = folder, store
        self._pool = ThreadPoolExecutor(1, "checkpoints")
        self._writing: Future[None] | None = None
        self._owes_best = False  # the store's `best.ckpt` is not the best one

    def save(self, trainer: Trainer, validation: int, *, is_best: bool) -> None:
        """Saves it once the one before is written; a full disk is noted, as training is dearer."""
        self.wait()
        taken, chosen = Taken(), (usual := trainer.strategy.checkpoint_io)
        if isinstance(usual, AsyncCheckpointIO) and usual.checkpoint_io:
            chosen = usual.checkpoint_io  # its thread would write after we give the names; we have one
        # Unless the user has chosen how it is written.
        trainer.strategy.checkpoint_io = taken if type(chosen) is TorchCheckpointIO else chosen
        try:
            # `weights_only` is what it leaves out here, not how it is read.
            trainer.save_checkpoint(self._folder / NEW, weights_only=False)
        except OSError as error:
            self._note(validation, error, is_best=is_best)
        else:
            self._writing = self._pool.submit(self._write, taken.content, validation, is_best)
        finally:
            trainer.strategy.checkpoint_io = usual

    def wait(self) -> None:
        """Waits until what was saved is written."""
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def path(self, name: str) -> str:
        """The file of a checkpoint, once it is written; "" if there is none."""
        self.wait()
        path = self._folder / name
        return str(path) if path.exists() else ""

    def close(self) -> None:
        """Waits likewise, whatever happened, and ends the thread."""
        self._pool.shutdown()

    def tidy(self) -> None:
        """Removes what only a training that goes on needs."""
        tidy(self._folder)
        if self._store is not None:
            with self._outage(self._store, BEST):
                self._send_owed(self._store)
            with contextlib.suppress(Exception):  # one file too many
                self._store.remove(PREVIOUS)

    def _write(self, content: bytes, validation: int, is_best: bool) -> None:
        try:
            if content:  # else Lightning has written it
                (self._folder / NEW).write_bytes(content)
            replaces = (self._folder / LAST).exists()
            place(self._folder, is_best=is_best)
        except OSError as error:
            self._note(validation, error, is_best=is_best)
            return
        if self._store is not None:
            self._send(self._store, validation, is_best=is_best, replaces=replaces)

    def _send(self, store: RemoteFolder, validation: int, *, is_best: bool, replaces: bool) -> None:
        with self._outage(store, f"checkpoint of validation {validation}"):
            self._owes_best |= is_best
            store.send_checkpoint(self._folder / LAST, is_best=is_best, replaces=replaces)
            self._owes_best &= not is_best
            self._send_owed(store)

    def _send_owed(self, store: RemoteFolder) -> None:
        """Sends the best one that the store did not take when it was new, or removes what is not it."""
        if self._owes_best and (self._folder / BEST).exists():
            store.send(self._folder / BEST, BEST)
        elif self._owes_best:
            store.remove(BEST)
        self._owes_best = False

    @contextlib.contextmanager
    def _outage(self, store: RemoteFolder, what: str) -> Iterator[None]:
        """A store that is away is noted, as training is dearer."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - each file system has errors of its own
            self._say(f"no {what} in {store}: {reason_of(store.uri, error)}")

    def _say(self, unwritten: str) -> None:
        self.unwritten = unwritten
        print(unwritten)  # noqa: T201 - to the trial's log

    def _note(self, validation: int, error: OSError, *, is_best: bool) -> None:
        """Leaves the checkpoints of before, but no `best.ckpt` that is not the best any more."""
        self._say(f"no checkpoint of validation {validation}: {error}")
        self._owes_best |= is_best
        with contextlib.suppress(OSError):
            for name in (NEW, f"{NEW}-best", *([BEST] if is_best else [])):
                (self._folder / name).unlink(missing_ok=True)


def place(folder: Path, *, is_best: bool) -> None:
    """Gives the checkpoint just written its names.

    Raises:
        OSError: The folder is gone, or is not to be written any more.
    """
    new, last, second = folder / NEW, folder / LAST, folder / f"{NEW}-best"
    if new.is_file():  # else the user's own way of writing made a folder
        sync(new)
    if is_best:
        _link(new, second)
        second.replace(folder / BEST)
    if last.exists():
        last.replace(folder / PREVIOUS)
    new.replace(last)
    sync_names(folder)


def usable(folder: Path, batching: int | None = None) -> Path | None:
    """The last checkpoint that a training can go on from, or None.

    A last one that is damaged is set aside: with the next it would take the place of the one before.

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
            if refused := REFUSED.search(str(error)):
                what = f"{refused[1] or refused[2]}, which is not read since it could run something"
                advice = "keep numbers, texts, tensors and arrays of numbers in checkpoints"
                print(f"{path} holds {what}, so the trial starts again: {advice}")  # noqa: T201
                return None
            print(f"{path} cannot be read ({type(error).__name__}), so the one before is used")  # noqa: T201
            if name == LAST:
                with contextlib.suppress(OSError):
                    path.replace(folder / DAMAGED)
            continue
        if not ours["is_between_epochs"] and ours["batching"] != batching:
            print(f"{path} stands within an epoch of other batches, so it is not used")  # noqa: T201
            continue
        return path
    return None


def tidy(folder: Path) -> None:
    """Removes what only a training that goes on needs, and what processes left that died while they saved."""
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
