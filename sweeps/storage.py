"""Where studies are kept: the URL, the embedded SQLite database, and the lock around its first creation."""

import contextlib
import functools
import os
import re
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.errors import UserError

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

DEFAULT = "sqlite:///sweeps.db"
LOCK_WAIT_SECONDS = 60


def expand(url: str) -> str:
    """Replaces each `${NAME}` in a URL by the environment variable of that name.

    Raises:
        UserError: The variable is not set.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise UserError(f"{masked(url)}: the environment variable {name} is not set")
        return os.environ[name]

    return re.sub(r"\$\{(\w+)\}", value, url)


def masked(url: str) -> str:
    """The URL with its password replaced, for messages and records; `${NAME}` stays as it is."""
    # Up to the last @ before the query: a password may hold one that its owner forgot to encode.
    url = re.sub(r"(://[^/:@]*):(?!\$\{)(?:[^?]*|[^@]*)@", r"\1:***@", url)
    return re.sub(r"([?&]password=)(?!\$\{)[^&]*", r"\1***", url)


def study_url(option: str | None = None, from_file: str | None = None) -> str:
    """The URL of the study database: the option, else SWEEPS_STORAGE, else the file's, else ./sweeps.db.

    A bare path means an SQLite file; relative SQLite paths are made absolute.
    """
    url = expand(option or os.environ.get("SWEEPS_STORAGE") or from_file or DEFAULT)
    return absolute(url if "://" in url else f"sqlite:///{url}")


def absolute(url: str) -> str:
    """An SQLite URL with an absolute path; every other URL as it is."""
    path = sqlite_path(url)
    return url if path is None else f"sqlite:///{path.absolute()}"


def sqlite_path(url: str) -> Path | None:
    """The file of an SQLite URL, or None for another database; a folder in it may have any name."""
    if not url.startswith("sqlite:///"):
        return None
    # Only `?key=value` behind the file is a query: a folder's name may hold a question mark.
    return Path(re.sub(r"\?\w+=[^/]*$", "", url.removeprefix("sqlite:///")))


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


def open_storage(url: str) -> "RDBStorage":
    """Opens, and if need be creates, the storage for the one driver that writes it.

    SQLite runs in WAL mode with `synchronous=NORMAL`: readers never block the writer, and an ask costs a
    third. A power loss may take the last commits but leaves the database whole (sqlite.org/wal.html).

    Raises:
        UserError: The database is not an Optuna one, or cannot be created or opened.
    """
    check_storage(url)
    path = sqlite_path(url)
    if path is None:
        return _connect(url)
    with folder_lock(path.parent):  # also where there is a file: another process may be making its tables
        return _connect(url, path)


def check_storage(url: str) -> None:
    """Refuses, without creating anything, a database that a sweep cannot be written to.

    Raises:
        UserError: Not an Optuna database, or a folder or file that cannot be written.
    """
    path = sqlite_path(url)
    if path is None:
        return
    if not path.parent.is_dir():
        raise UserError(f"{path}: the folder {path.parent} does not exist")
    if not all(os.access(there, os.W_OK) for there in (path.parent, path) if there.exists()):
        raise UserError(f"{path}: no permission to write it; name another database with --storage")
    tables = _tables(path)
    if _is_foreign(tables):
        with folder_lock(path.parent):  # another process may have been making its tables: look again
            tables = _tables(path)
    if _is_foreign(tables):
        raise UserError(f"{path}: not an Optuna database (it holds {', '.join(sorted(tables)[:3])}, ...); "
                        "name another with --storage")  # fmt: skip


def _is_foreign(tables: set[str]) -> bool:
    return bool(tables) and not {"studies", "trials", "version_info"} <= tables


def _tables(path: Path) -> set[str]:
    if not path.exists() or (path.is_file() and path.stat().st_size == 0):
        return set()
    try:
        with contextlib.closing(sqlite3.connect(f"file:{_quoted(path)}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    except sqlite3.DatabaseError as error:
        raise UserError(
            f"{path}: not a usable SQLite database ({error}); name another with --storage"
        ) from None
    return {name for (name,) in rows}


def _quoted(path: Path) -> str:
    from urllib.parse import quote

    return quote(str(path))


def _connect(url: str, path: Path | None = None) -> "RDBStorage":
    """Opens it with Optuna, which makes what is missing; `path` is the file of an SQLite database."""
    import sqlalchemy
    from optuna.storages import RDBStorage

    arguments: dict[str, Any] = {}
    address = url
    if path is not None:
        # We connect ourselves: in a URL, Optuna and SQLAlchemy give a meaning to {, } and ?.
        arguments = {"creator": functools.partial(_sqlite, path), "poolclass": sqlalchemy.pool.QueuePool}
        address = "sqlite:///"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return RDBStorage(address, engine_kwargs=arguments)
    except (sqlalchemy.exc.SQLAlchemyError, sqlite3.Error, RuntimeError, ImportError, ValueError) as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        raise UserError(f"{masked(url)}: cannot be opened: {reason}") from None


def _sqlite(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=LOCK_WAIT_SECONDS, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection
