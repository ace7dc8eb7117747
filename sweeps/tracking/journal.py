"""Events on their way to MLflow, on disk until they are written there: a crash loses none of them.

The journal is a row of files with one JSON line an event. Its writer turns to a new file now and then and
drops the files whose events are all written. A file that is full is synced (see `sweeps.durable`): a power
cut takes the events of the last seconds, also while MLflow is away. A driver that takes a sweep over replays
what is left; a last line that a crash cut short is left out, since the training it came from will report it
again.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sweeps.durable import sync, sync_names
from sweeps.records import Assignment, Event, News, Outcome, Point, Report, Started, State, Timing
from sweeps.storages.patience import StudyGone

if TYPE_CHECKING:
    from sweeps.storages.behind import Behind


class Journal:
    """The journal of one sweep.

    Args:
        folder: Where its files are; made with the first event.
        beside: The write-ahead log of the study database, which keeps the events, too.
        trials: How many the study knows; a power cut may have taken later ones, which will be others.
        behind: What writes the study, where that is not waited for.
    """

    def __init__(
        self,
        folder: Path,
        beside: Path | None = None,
        trials: int | None = None,
        behind: "Behind | None" = None,
    ) -> None:
        self._folder, self._beside, self._trials, self._behind = folder, beside, trials, behind
        self._full: list[IO[bytes]] = []
        self._number = max((int(path.stem) for path in self._files()), default=0) + 1
        self._first = self._number
        self._file: IO[bytes] | None = None
        self._unwritten = b""

    def append(self, event: News) -> None:
        """Writes an event to disk, after those that could not be written before.

        Raises:
            OSError: The disk is full, or the folder is gone; the event is kept for the next time.
        """
        line = json.dumps({"kind": type(event).__name__, **_plain(event)})
        self._unwritten += line.encode() + b"\n"
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = (self._folder / f"{self._number:08}.jsonl").open("ab", buffering=0)
        while self._unwritten:  # a disk that gets full takes a part; the rest follows when there is room
            written = self._file.write(self._unwritten)
            self._unwritten = self._unwritten[written:]
        # It is in the system's memory now: safe from this process's end, not from a power cut.

    def turn(self) -> int:
        """Closes the current file and gives its number; further events go to the next."""
        if self._file is not None and not self._unwritten:  # else its last line is not whole yet
            self._full.append(self._file)
            self._file = None
            self._number += 1
        return self._number - 1

    def sync(self) -> None:
        """Waits until the disk has the files that are full; for another thread than the loop's."""
        with contextlib.suppress(IndexError):  # none is left
            while file := self._full.pop():
                with contextlib.suppress(OSError), file:  # a disk that is full, or gone
                    os.fsync(file.fileno())
                sync_names(self._folder)

    def sync_study(self) -> None:
        """Waits until the database has what the study was told; MLflow must not know more than that.

        Raises:
            Exception: That of the write that failed: what the study lacks is in the journal only.
        """
        if self._behind is not None:
            with contextlib.suppress(StudyGone):  # then the records are all there is
                self._behind.settle()
        self.sync_beside()

    def sync_beside(self) -> None:
        """Waits until the disk has the write-ahead log of a study database that is a file."""
        if self._beside is not None:
            with contextlib.suppress(OSError):  # SQLite has taken it into the database, synced
                sync(self._beside)

    def drop(self, number: int | None = None) -> None:
        """Removes the files up to a number, or all so far: everything in them is written."""
        number = self._number if number is None else number
        for path in self._files():
            if int(path.stem) <= number:
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # there are files left, or there never were any
            self._folder.rmdir()

    def left(self) -> Iterator[Assignment | Event]:
        """The events that an earlier driver wrote and could not bring to MLflow, oldest first."""
        for path in self._files():
            if int(path.stem) >= self._first:
                return
            for line in path.read_text("utf-8", "replace").splitlines():
                with contextlib.suppress(ValueError):
                    event = _event(json.loads(line))
                    if self._trials is None or event.number < self._trials:
                        yield event

    @property
    def is_left(self) -> bool:
        """Whether there are events that are not in MLflow yet."""
        return bool(self._files())

    def _files(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("*.jsonl") if path.stem.isdigit())


def _plain(event: News) -> dict[str, Any]:
    fields = _fields(event)
    if isinstance(event, Report | Outcome):
        fields["points"] = [[point.key, point.value, point.step, point.time_ms] for point in event.points]
    if isinstance(event, Outcome):
        fields["timing"] = _fields(event.timing)
    return fields


def _fields(record: News | Timing) -> dict[str, Any]:
    """As `dataclasses.asdict`, which would copy the whole configuration."""
    return {name: getattr(record, name) for name in type(record).__dataclass_fields__}


def _event(plain: dict[str, Any]) -> Assignment | Event:
    """An event from its plain form.

    Raises:
        ValueError: It is not one.
    """
    try:
        kind = plain.pop("kind")
        if kind in ("Assignment", "Started"):
            return (Assignment if kind == "Assignment" else Started)(**plain)
        plain["points"] = tuple(Point(*point) for point in plain["points"])
        if kind == "Report":
            return Report(**plain)
        plain["others"] = tuple(plain["others"])
        state, timing = State(plain.pop("state")), Timing(**plain.pop("timing"))
        return Outcome(**plain, state=state, timing=timing)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not an event: {error}") from error
