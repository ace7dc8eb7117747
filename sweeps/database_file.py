"""An SQLite file that a driver has open: what holds if somebody removes or replaces it meanwhile.

The system keeps a removed file as long as it is open, and SQLite goes on writing to it: all of a sweep would
be gone with its driver, without a word. So the name is looked at before each use, and the file is put back.
"""

import contextlib
import os
import sqlite3
import threading
from pathlib import Path


class DatabaseGone(Exception):
    """The file was removed or replaced; the message says what has become of it."""


class DatabaseFile:
    """Looks whether a file is still the one of its name, and puts it back if there is none.

    Args:
        path: The file, which is there.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lost, self._lock = path, "", threading.Lock()
        # A connection of its own: a new one would open what is there then. The first query opens the log.
        self._connection = sqlite3.connect(path, check_same_thread=False)
        self._connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        self._identity = _identity(path)

    def __reduce__(self) -> tuple[type["DatabaseFile"], tuple[Path]]:
        return DatabaseFile, (self._path,)  # as Optuna's storages can be pickled

    def ensure_it_is_there(self) -> None:
        """Looks.

        Raises:
            DatabaseGone: It was removed or replaced.
        """
        if self._lost or _identity(self._path) != self._identity:
            with self._lock:
                self._lost = self._lost or self._rescued()
            raise DatabaseGone(self._lost)

    def _rescued(self) -> str:
        """Keeps what the file held, and says where."""
        path, pid = self._path, os.getpid()
        what = "was replaced by another file" if path.exists() else "was deleted"
        copy, beside = path.with_name(f".{path.name}.{pid}.new"), path.with_name(f"{path.name}.{pid}.rescued")
        try:
            with contextlib.closing(sqlite3.connect(copy)) as target:
                self._connection.backup(target)
            try:
                for end in ("-wal", "-shm"):  # they would be taken for the copy's
                    if not path.exists():
                        path.with_name(path.name + end).unlink(missing_ok=True)
                os.link(copy, path)  # unless there is one by now
            except FileExistsError:
                copy.replace(beside)
                return f"{path}: {what} while the sweep ran; what it held is in {beside}"
            copy.unlink()
        except (OSError, sqlite3.Error) as error:
            return f"{path}: {what} while the sweep ran, and cannot be put back: {error}"
        return f"{path}: {what} while the sweep ran; it is back as it was, so `sweeps resume` goes on"


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        there = path.stat()
    except OSError:
        return None
    return there.st_dev, there.st_ino
