"""Opens the database of studies, and the lock around its first creation."""

import contextlib
import functools
import os
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.storages import sqlite
from sweeps.storages.checks import check_storage
from sweeps.storages.database_file import forget_logs
from sweeps.storages.servers import advisory_lock, engine_options, has_table, is_postgres, unusable
from sweeps.storages.sqlite import folder_lock
from sweeps.storages.uris import masked, sqlite_path

CONNECTIONS = 8
"""To a server, which a driver's threads share: each that is opened anew costs several round trips."""

if TYPE_CHECKING:
    from sweeps.storages.patient_storage import PatientStorage


@contextlib.contextmanager
def database_lock(url: str) -> Iterator[None]:
    """Lets one process at a time make a database's tables, or claim a study in it.

    Raises:
        ServerAway: The server cannot be reached.
    """
    import sqlalchemy

    path = sqlite_path(url)
    lock = folder_lock(path.parent) if path else advisory_lock(url)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock)
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise unusable(url, f"{masked(url)}: cannot be opened: {_reason(error)}") from None
        yield


def _reason(error: BaseException) -> str:
    """What a database complains about, in one line and without the password that it was given."""
    text = " ".join(str(getattr(error, "orig", None) or error).split())
    return masked(text)[:300]


def open_storage(url: str) -> "PatientStorage":
    """Opens, and if need be creates, the storage for the one driver that writes it.

    SQLite runs in WAL mode with `synchronous=NORMAL`: readers never block the writer, and an ask costs a
    third. A power loss may take the last commits but leaves the database whole (sqlite.org/wal.html).

    Raises:
        UserError: The database is not an Optuna one, or cannot be created or opened.
    """
    check_storage(url)
    path = sqlite_path(url)
    if path is None:
        with database_lock(url):
            return _connect(url)
    with folder_lock(path.parent):  # also where there is a file: another process may be making its tables
        if not path.exists():
            _create(url, path)
        return _connect(url, path).watching(path)


def _create(url: str, path: Path) -> None:
    """Makes the database under another name and moves it: a process killed here leaves none half made."""
    for left in path.parent.glob(f".{path.name}.*.new*"):  # of a process that was
        left.unlink(missing_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    _connect(url, draft).engine.dispose()  # the last connection to close puts the log into the file
    forget_logs(path)
    draft.replace(path)


def rehearse() -> None:
    """Makes a database in memory: half a second of imports, which the one on disk then need not wait for."""
    _connect("sqlite:///:memory:").close()


def study_names(url: str) -> list[str]:
    """The names of the studies in a database, which is neither made nor changed.

    Raises:
        UserError: It cannot be read.
    """
    import optuna
    import sqlalchemy

    path = sqlite_path(url)
    if path is not None and (not sqlite.is_there(path) or path.stat().st_size == 0):
        return []
    try:
        if path is None and not has_table(url, "studies"):
            return []  # a server's database that no sweep has used
        return optuna.get_all_study_names(_connect(url, path, reads_only=True))
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise unusable(url, f"{masked(url)}: cannot be read: {_reason(error)}") from None


def open_reading(url: str) -> "PatientStorage":
    """Opens a storage that exists for reading: nothing can be written through it.

    Raises:
        UserError: It cannot be opened.
    """
    return _connect(url, sqlite_path(url), reads_only=True)


def _connect(url: str, path: Path | None = None, *, reads_only: bool = False) -> "PatientStorage":
    """Opens it with Optuna, which makes what is missing; `path` is the file of an SQLite database."""
    import sqlalchemy
    from optuna.exceptions import StorageInternalError

    from sweeps.storages.patient_storage import PatientStorage

    arguments, address = engine_options(url), url
    if is_postgres(url):
        arguments["pool_size"] = CONNECTIONS
    if path is not None:
        # We connect ourselves: in a URL, Optuna and SQLAlchemy give a meaning to {, } and ?.
        arguments = {
            "creator": functools.partial(sqlite.to_read if reads_only else sqlite.to_write, path),
            "poolclass": sqlalchemy.pool.QueuePool,
        }
        address = "sqlite:///"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            storage = PatientStorage(address, engine_kwargs=arguments, skip_table_creation=reads_only)
    except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError, sqlite3.Error, RuntimeError, ImportError,
            ValueError) as error:  # fmt: skip
        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        raise unusable(url, f"{masked(url)}: cannot be opened: {_reason(cause or error)}") from None
    storage.label = str(path or masked(url))
    return storage
