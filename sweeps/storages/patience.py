"""How long this thread waits for a study database that is locked, full or away, and who is told of it.

`sweeps.storages.patient_storage` does the waiting.
"""

import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sweeps.errors import CutShort

DEFAULT_SECONDS = 60.0
DRIVER_SECONDS = 300.0
LAST_SECONDS = 10.0
"""How long a sweep that ends waits."""

VARIABLE = "SWEEPS_PATIENCE"
"""The environment variable with the seconds that a driver waits."""


class StudyUnwritable(CutShort):
    """The study database could not be read or written for as long as was to be waited."""


class StudyGone(StudyUnwritable, KeyError):
    """Somebody deleted the study or its database while the sweep ran; to Optuna it is a `KeyError`."""

    __str__ = CutShort.__str__  # a `KeyError` would show the text in quotes


@dataclass
class Patience:
    """What `patient` sets.

    Attributes:
        seconds: How long to wait from now on.
        say: Told when the waiting begins and when it was worth it.
        waiting: How many threads of those that share this wait now; only the first and the last say so.
    """

    seconds: float = DEFAULT_SECONDS
    say: Callable[[str], None] | None = None
    waiting: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, line: str) -> None:
        """One more thread waits."""
        with self._lock:
            self.waiting += 1
            if self.waiting == 1 and self.say:
                self.say(line)

    def end(self, line: str) -> None:
        """One fewer does; an empty line says nothing."""
        with self._lock:
            self.waiting -= 1
            if self.waiting == 0 and self.say and line:
                self.say(line)


_of_new_threads = _usual = Patience()


class _Local(threading.local):
    def __init__(self) -> None:
        self.patience = _of_new_threads


_local = _Local()


@contextmanager
def patient(seconds: float | None = None, say: Callable[[str], None] | None = None) -> Iterator[None]:
    """Sets for this thread how long the block waits for a database; after it has given up once, not again.

    Args:
        seconds: How long; the driver's patience (`SWEEPS_PATIENCE`, else five minutes) if None, which
            threads that start meanwhile share.
        say: Told when the waiting begins and when it was worth it.
    """
    global _of_new_threads
    before = _local.patience, _of_new_threads
    _local.patience = Patience(driver_seconds() if seconds is None else seconds, say)
    if seconds is None:
        _of_new_threads = _local.patience
    try:
        yield
    finally:
        _local.patience = before[0]
        if seconds is None:  # else it was not set here, and may be by another thread meanwhile
            _of_new_threads = before[1]


def current() -> Patience:
    """This thread's."""
    return _local.patience


def share(patience: Patience) -> None:
    """Gives this thread the patience of the one that started it, where another sweep may have begun since."""
    _local.patience = patience


def hurry(seconds: float = LAST_SECONDS) -> None:
    """Lets the block of `patient` wait no longer than this from now on; outside of one nothing changes."""
    if (patience := current()) is not _usual:
        patience.seconds = min(patience.seconds, seconds)


def driver_seconds() -> float:
    """How long a driver waits for its study database."""
    return seconds_of(VARIABLE, DRIVER_SECONDS)


def seconds_of(variable: str, default: float) -> float:
    """What an environment variable says in seconds; one that is no number counts as not set."""
    try:
        seconds = float(os.environ.get(variable, default))
    except ValueError:
        return default
    return default if math.isnan(seconds) else max(0.0, seconds)
