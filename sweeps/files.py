"""The sweep's folder: one folder a trial with its log and checkpoints, and which checkpoints stay."""

import contextlib
import heapq
import os
from pathlib import Path

from sweeps.errors import UserError
from sweeps.records import Assignment, Outcome, Report, State

CHECKPOINTS = ("best.ckpt", "last.ckpt", "new.ckpt", "new-best.ckpt")


class TrialFiles:
    """Keeps the checkpoints of the best trials and removes the others' as trials end.

    Args:
        folder: The sweep's folder.
        minimize: The objective's direction.
        keep: Of how many of the best complete trials the checkpoints stay.
    """

    def __init__(self, folder: Path, *, minimize: bool, keep: int = 1) -> None:
        self.folder = folder
        self._sign = -1.0 if minimize else 1.0
        self._keep = keep
        self._kept: list[tuple[float, int, int]] = []
        """A heap whose first is the worst kept: signed value, minus the number, the number."""

    def record(self, event: Assignment | Report | Outcome) -> None:
        """Removes the checkpoints that an outcome makes superfluous."""
        if not isinstance(event, Outcome):
            return
        if event.state is not State.COMPLETE or event.value is None or self._keep == 0:
            self._remove(event.number)
            return
        heapq.heappush(self._kept, (self._sign * event.value, -event.number, event.number))
        if len(self._kept) > self._keep:
            self._remove(heapq.heappop(self._kept)[-1])

    def _remove(self, number: int) -> None:
        for name in CHECKPOINTS:
            with contextlib.suppress(OSError):  # a checkpoint too many is no reason to end a sweep
                (self.folder / f"trial-{number}" / name).unlink()


def sweep_folder(root: str, name: str) -> Path:
    """The absolute folder of a sweep, not yet made.

    Raises:
        UserError: It holds something already, or it could not be made.
    """
    folder = (Path(root) / name).absolute()
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder}: holds the files of an earlier sweep; move them away or use --name")
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        raise UserError(f"{there}: is a file, not a folder; `files:` names another folder")
    if not os.access(there, os.W_OK):
        raise UserError(f"{there}: no permission to write there; `files:` names another folder")
    return folder
