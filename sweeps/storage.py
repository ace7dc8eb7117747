"""Where studies are kept: the URL, the embedded SQLite database, and the lock around its first creation."""

import contextlib
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
            raise UserError(f"{url}: the environment variable {name} is not set")
        return os.environ[name]

    return re.sub(r"\$\{(\w+)\}", value, url)


def masked(url: str) -> str:
    """The URL with its password replaced, for messages and records; `${NAME}` stays as it is."""
    return re.sub(r"(://[^/:@]*):(?!\$\{)[^@]*@", r"\1:***@", url)


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
    """The file of an SQLite URL, or None for another database."""
    if not url.startswith("sqlite:///"):
        return None
    return Path(url.removeprefix("sqlite:///").partition("?")[0])


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
    lock = contextlib.nullcontext() if path is None or path.exists() else folder_lock(path.parent)
    with lock:
        return _connect(url)


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
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UserError(f"{path}: no permission to write it; name another database with --storage")
    if not path.exists() or path.stat().st_size == 0:
        return
    try:
        with contextlib.closing(sqlite3.connect(f"file:{_quoted(path)}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    except sqlite3.DatabaseError as error:
        raise UserError(
            f"{path}: not a usable SQLite database ({error}); name another with --storage"
        ) from None
    tables = {name for (name,) in rows}
    if tables and not {"studies", "trials", "version_info"} <= tables:
        raise UserError(f"{path}: not an Optuna database (it holds {', '.join(sorted(tables)[:3])}, ...); "
                        "name another with --storage")  # fmt: skip


def _quoted(path: Path) -> str:
    from urllib.parse import quote

    return quote(str(path))


def _connect(url: str) -> "RDBStorage":
    import sqlalchemy
    from optuna.storages import RDBStorage

    sqlite = sqlite_path(url) is not None
    arguments: dict[str, Any] = {"connect_args": {"timeout": LOCK_WAIT_SECONDS}} if sqlite else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            storage = RDBStorage(url, engine_kwargs=arguments)
    except (sqlalchemy.exc.SQLAlchemyError, RuntimeError, ImportError, ValueError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise UserError(f"{masked(url)}: cannot be opened: {reason}") from None
    if sqlite:
        sqlalchemy.event.listen(storage.engine, "connect", _tune_sqlite)
        storage.engine.dispose()  # connections made before the listener was there
    return storage


def _tune_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
