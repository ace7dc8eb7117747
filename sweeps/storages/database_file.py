"""An SQLite file that a driver has open: what holds if somebody removes or replaces it meanwhile.

The system keeps a removed file as long as it is open, and SQLite goes on writing to it: all of a sweep would
be gone with its driver, without a word. So the name is looked at before each use, and what it
held is put back, or else kept beside it.

Several drivers may have it open. The first to notice puts it back while no other can write it, and notes in
the old file that it did; and nobody ends a transaction in a file that has lost its name. So what is put back
is all that any of them was told is written.
"""

import contextlib
import os
import sqlite3
import threading
import uuid
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlalchemy

LOCK_SECONDS = 10.0
"""How long to wait for the transactions of others; one that is stuck must not keep the file away."""


class DatabaseGone(Exception):
    """The file was removed or replaced; the message says what has become of it.

    Attributes:
        is_back: What it held has its name again, in a new file.
    """

    def __init__(self, message: str, *, is_back: bool) -> None:
        super().__init__(message)
        self.is_back = is_back


class Adrift(Exception):
    """A transaction was not ended, since its file has lost its name; `ensure_it_is_there` says more."""


class DatabaseFile:
    """Looks whether a file is still the one of its name, and puts it back if there is none.

    Args:
        path: The file, which is there.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lost, self._is_back, self._lock = path, "", False, threading.Lock()
        # Connections of its own: a new one would open what is there then. The first query opens the log.
        self._reading, self._locking = (
            sqlite3.connect(path, LOCK_SECONDS, check_same_thread=False, isolation_level=None)
            for _ in range(2)
        )
        self.close = weakref.finalize(self, _close, self._reading, self._locking)
        """Looks no more; also done at the process's end, for the last to close empties the log."""
        for connection in (self._reading, self._locking):
            connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
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

    def guard(self, engine: "sqlalchemy.Engine") -> None:
        """Lets no transaction of an engine end in a file that has lost its name: it raises `Adrift`.

        It looks while it has SQLite's lock: what ends is part of what is put back.
        """
        import sqlalchemy

        ours = weakref.ref(self)  # MLflow keeps its engines for good

        def look(_: sqlalchemy.Connection) -> None:
            file = ours()
            if file is not None and file.close.alive and (file._lost or file._what_happened()):
                raise Adrift

        sqlalchemy.event.listen(engine, "commit", look)

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
        """Sees to it that what the file held is kept, and says where."""
        with self._alone():
            what = f"{self._path}: {self._what_happened() or 'was away'} while the sweep ran"
            if self._was_put_back():
                self._is_back, what = True, f"{self._path}: was deleted while the sweep ran"
            else:
                what += self._put_back()
        return f"{what}; it is back as it was" if self._is_back else what

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keeps all others from writing the file, if they let us."""
        with contextlib.suppress(sqlite3.Error):
            self._locking.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            with contextlib.suppress(sqlite3.Error):
                self._locking.commit()

    def _was_put_back(self) -> bool:
        """Whether what is there now is what another driver made of this file."""
        with contextlib.suppress(sqlite3.Error, OSError):
            [(noted,)] = self._locking.execute("PRAGMA user_version").fetchall()
            return bool(noted) and noted == _note_of(self._path)
        return False

    def _put_back(self) -> str:
        """Gives what the file held its name, unless another file has it; says what went wrong, if it did."""
        path = self._path
        # Never a name that is tidied up. No lock is taken: who asks may hold the folder's already.
        copy = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.rescued")
        try:
            with contextlib.closing(sqlite3.connect(copy)) as target:
                self._reading.backup(target)
        except sqlite3.Error as error:
            with contextlib.suppress(OSError):
                copy.unlink()  # a part of it
            return f", and cannot be put back: {error}"
        try:
            forget_logs(path)
            os.link(copy, path)  # unless there is one by now
        except FileExistsError:
            return f"; what it held is in {copy}"
        except OSError as error:  # a file system without links, for one
            return f", and cannot be put back ({error.strerror}); what it held is in {copy}"
        self._is_back = True
        with contextlib.suppress(OSError):
            copy.unlink()
        if self._locking.in_transaction:
            with contextlib.suppress(OSError, sqlite3.Error):  # the copy has no such note
                self._locking.execute(f"PRAGMA user_version = {_note_of(path)}")
        return ""


def forget_logs(path: Path) -> None:
    """Removes what a file that is gone has left beside its name: SQLite would write it into the next one."""
    for end in ("-wal", "-shm", "-journal"):
        if not path.exists():
            path.with_name(path.name + end).unlink(missing_ok=True)


def _note_of(path: Path) -> int:
    """A file's number as SQLite keeps a `user_version`: with 31 bits, never 0."""
    return path.stat().st_ino % (2**31 - 1) + 1


def _close(*connections: sqlite3.Connection) -> None:
    for connection in connections:
        connection.close()
