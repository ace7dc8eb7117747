"""Connections to an SQLite file: for the driver, which writes it, and for those that only look.

A database in write-ahead-log mode needs files beside it, which cannot be made in a folder that is read-only.
"""

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from sweeps.errors import UserError

READ_WAIT_SECONDS = 60
WRITE_WAIT_SECONDS = 5
"""How long SQLite itself waits for a lock before `sweeps.storages.patience` takes over, which says so."""


def is_there(path: Path) -> bool:
    """Whether there is something at a path.

    Raises:
        UserError: This user may not enter a folder above it.
    """
    try:
        return path.exists()
    except PermissionError:
        raise UserError(f"{path}: no permission to enter its folder; name another place") from None


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Holds an exclusive lock on a folder; processes that create databases in it wait for each other.

    Locking the folder itself leaves no lock file behind; the system drops the lock when a process dies.
    """
    import fcntl  # not on Windows, where only the commands that read are of use

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def to_write(path: Path) -> sqlite3.Connection:
    """A connection to a file, made if missing, in write-ahead-log mode."""
    connection = sqlite3.connect(path, timeout=WRITE_WAIT_SECONDS, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


def to_read(path: Path) -> sqlite3.Connection:
    """A connection that writes nothing, also to a file in a folder that is read-only."""
    path = path.resolve()  # SQLite keeps its log beside the file, not beside a link to it
    if all(os.access(there, os.W_OK) for there in (path, path.parent)):
        # Not by `mode=ro`, which would leave the -wal and -shm files of a quiet database behind.
        connection = sqlite3.connect(path, timeout=READ_WAIT_SECONDS, check_same_thread=False)
        connection.execute("PRAGMA query_only = ON")
        return connection
    try:
        connection = opened(path, "mode=ro")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        if log(path).exists():
            return _copied(path)
        return opened(path, "mode=ro&immutable=1")  # as it is: without a log, nobody writes it
    return connection


def log(path: Path) -> Path:
    """Where SQLite keeps the last commits of a database."""
    there = path.resolve()
    return there.with_name(f"{there.name}-wal")


def opened(path: Path, mode: str, wait_seconds: float = READ_WAIT_SECONDS) -> sqlite3.Connection:
    """A connection with these parameters of SQLite's, such as `mode=ro`."""
    uri = f"file:{quote(str(path))}?{mode}"
    return sqlite3.connect(uri, uri=True, timeout=wait_seconds, check_same_thread=False)


def _copied(path: Path) -> sqlite3.Connection:
    """The database with its log, in memory: SQLite reads a log only where it can make a file beside it."""
    memory = sqlite3.connect(":memory:", check_same_thread=False)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.db"
        shutil.copyfile(path, copy)
        shutil.copyfile(log(path), log(copy))
        with contextlib.closing(sqlite3.connect(copy)) as there:
            there.backup(memory)
    memory.execute("PRAGMA query_only = ON")
    return memory
