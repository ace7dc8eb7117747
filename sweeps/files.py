"""The sweep's folder: one folder a trial with its log and checkpoints, and which checkpoints stay."""

import contextlib
import heapq
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from sweeps.errors import UserError
from sweeps.layout import folder_of
from sweeps.records import News, Outcome, State
from sweeps.remote import RemoteFolder
from sweeps.storages.sqlite import is_there
from sweeps.study.front import Front
from sweeps.sweep_file.sections import Objective

CHECKPOINTS = "*.ckpt*"


class TrialFiles:
    """Keeps the checkpoints of the best trials and removes the others' as trials end.

    Args:
        folder: The sweep's folder.
        objectives: The sweep's.
        keep: Of how many of the best complete trials the checkpoints stay; with several objectives all of
            the Pareto set's do, unless it is 0.
        store: The address of the sweep's folder, where the checkpoints are not on this machine.
        when_kept: Makes a call once the study has what was told; None where it has that at once. Until then
            a trial that has ended would go on from its checkpoint after a crash.
    """

    def __init__(
        self,
        folder: Path,
        objectives: Sequence[Objective],
        *,
        keep: int = 1,
        store: str = "",
        when_kept: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        self.folder, self._when_kept = folder, when_kept or (lambda call: call())
        self._store = RemoteFolder(store) if store else None
        self._sign = -1.0 if objectives[0].direction == "minimize" else 1.0
        self._front = Front(objectives) if len(objectives) > 1 else None
        self._keep = keep
        self._kept: list[tuple[float, int, int]] = []
        """A heap whose first is the worst kept: signed value, minus the number, the number."""

    def record(self, event: News) -> None:
        """Removes the checkpoints that an outcome makes superfluous."""
        if isinstance(event, Outcome):
            for number in self._superfluous(event):
                self._when_kept(partial(self._remove, number))

    def adopt(self, outcomes: Iterable[Outcome]) -> None:
        """Takes in how trials ended under earlier drivers, and removes what these have left of them.

        The folder is listed once: a store that is asked for each of thousands of trials takes minutes.
        """
        superfluous = {number for outcome in outcomes for number in self._superfluous(outcome)}
        for number in sorted(superfluous & self._with_checkpoints()):
            self._remove(number)

    def _superfluous(self, outcome: Outcome) -> set[int]:
        """The trials whose checkpoints nobody needs any more after an outcome: that one, or others."""
        if outcome.state is not State.COMPLETE or outcome.value is None or self._keep == 0:
            return {outcome.number}
        if self._front is not None:
            before = {other.number for other in self._front.outcomes} | {outcome.number}
            self._front.add(outcome)
            return before - {other.number for other in self._front.outcomes}
        heapq.heappush(self._kept, (self._sign * outcome.value, -outcome.number, outcome.number))
        return {heapq.heappop(self._kept)[-1]} if len(self._kept) > self._keep else set()

    def _with_checkpoints(self) -> set[int]:
        places = [f"{path.parent.name}/" for path in self.folder.glob(f"trial-*/{CHECKPOINTS}")]
        if self._store is not None:
            with contextlib.suppress(Exception):  # each file system has errors of its own
                places += self._store.names(CHECKPOINTS)
        numbers = (place.partition("/")[0].removeprefix("trial-") for place in places)
        return {int(number) for number in numbers if number.isdecimal()}

    def has_begun(self, number: int) -> bool:
        """Whether a worker has written anything of a trial, as far as can be seen."""
        if self._store is None:
            return (self.folder / folder_of(number)).exists()
        with contextlib.suppress(Exception):  # each file system has errors of its own
            return not (self._store / folder_of(number)).is_empty()
        return True

    def _remove(self, number: int) -> None:
        with contextlib.suppress(OSError):  # a checkpoint too many is no reason to end a sweep
            for path in (self.folder / folder_of(number)).glob(CHECKPOINTS):
                path.unlink()
        if self._store is not None:
            with contextlib.suppress(Exception):  # each file system has errors of its own
                (self._store / folder_of(number)).remove(CHECKPOINTS)


def sweep_folder(root: str, name: str) -> Path:
    """The absolute folder of a sweep, not yet made.

    Raises:
        UserError: It holds something already, or it could not be made.
    """
    folder = (Path(root) / name).absolute()
    there = next(path for path in (folder, *folder.parents) if is_there(path))
    if not there.is_dir():
        raise UserError(f"{there}: is a file, not a folder; `files:` names another folder")
    if not os.access(there, os.W_OK):
        raise UserError(f"{there}: no permission to write there; `files:` names another folder")
    if there == folder and any(folder.iterdir()):
        raise UserError(f"{folder}: holds the files of an earlier sweep; move them away or use --name")
    return folder
