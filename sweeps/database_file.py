"""An SQLite file that a driver has open: what holds if somebody removes or replaces it meanwhile.

The system keeps a removed file as long as it is open, and SQLite goes on writing to it: all of a sweep would
be gone with its driver, without a word. So the name is looked at before each use, and what it
held is put back, or else kept beside it.
"""

import contextlib
import os
import sqlite3
import threading
import uuid
import weakref
from pathlib import Path


class DatabaseGone(Exception):
    """The file was removed or replaced; the message says what has become of it.

    Attributes:
        is_back: What it held has its name again, in a new file.
    """

    def __init__(self, message: str, *, is_back: bool) -> None:
        super().__init__(message)
        self.is_back = is_back


class DatabaseFile:
    """Looks whether a file is still the one of its name, and puts it back if there is none.

    Args:
        path: The file, which is there.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lost, self._is_back, self._lock = path, "", False, threading.Lock()
        # A connection of its own: a new one would open what is there then. The first query opens the log.
        self._connection = sqlite3.connect(path, check_same_thread=False)
        self.close = weakref.finalize(self, self._connection.close)
        """Looks no more; also done at the process's end, for the last to close empties the log."""
        self._connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        there = path.stat()
        self._identity = there.st_dev, there.st_ino

    def __reduce__(self) -> tuple[type["DatabaseFile"], tuple[Path]]:
        return DatabaseFile, (self._path,)  # as Optuna's storages can be pickled

    def ensure_it_is_there(self) -> None:
        """Looks.

        Raises:
            DatabaseGone: It was removed or replaced.
        """
        if self._lost or self._what_happened():
            with self._lock:
                self._lost = self._lost or self._rescued()
            raise DatabaseGone(self._lost, is_back=self._is_back)

    def _what_happened(self) -> str:
        """What has become of the file; "" if it is there, or if nobody can tell at the moment."""
        try:
            there = self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return "was deleted"
        except OSError:  # of a network's file system, say: SQLite will meet it, too, if it lasts
            return ""
        is_the_same = (there.st_dev, there.st_ino) == self._identity
        return "" if is_the_same else "was replaced by another file"

    def _rescued(self) -> str:
        """Keeps what the file held, and says where."""
        path = self._path
        what = f"{path}: {self._what_happened() or 'was away'} while the sweep ran"
        # Never a name that is tidied up. No lock is taken: who asks may hold the folder's already.
        copy = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.rescued")
        try:
            with contextlib.closing(sqlite3.connect(copy)) as target:
                self._connection.backup(target)
        except sqlite3.Error as error:
            with contextlib.suppress(OSError):
                copy.unlink()  # a part of it
            return f"{what}, and cannot be put back: {error}"
        try:
            for end in ("-wal", "-shm"):  # they would be taken for the copy's
                if not path.exists():
                    path.with_name(path.name + end).unlink(missing_ok=True)
            os.link(copy, path)  # unless there is one by now
        except FileExistsError:
            return f"{what}; what it held is in {copy}"
        except OSError as error:  # a file system without links, for one
            return f"{what}, and cannot be put back ({error.strerror}); what it held is in {copy}"
        self._is_back = True
        with contextlib.suppress(OSError):
            copy.unlink()
        return f"{what}; it is back as it was"
