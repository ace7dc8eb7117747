"""Where studies are kept: the URL, the embedded SQLite database, and the lock around its first creation."""

import contextlib
import functools
import os
import re
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.errors import UserError
from sweeps.provenance import mlflow_schema_problem
from sweeps.storages import sqlite
from sweeps.storages.database_file import forget_logs
from sweeps.storages.servers import (
    advisory_lock,
    check_driver,
    check_records,
    engine_options,
    has_table,
    with_driver,
)

if TYPE_CHECKING:
    from sweeps.storages.patient_storage import PatientStorage

DEFAULT = "sqlite:///sweeps.db"
OPTUNA_TABLES = {"studies", "trials", "version_info"}
MLFLOW_TABLES = {"experiments", "runs", "alembic_version"}


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
    """An SQLite URL with an absolute path; PostgreSQL's with its driver; every other URL as it is."""
    path = sqlite_path(url)
    return with_driver(url) if path is None else f"sqlite:///{path.absolute()}"


def sqlite_path(url: str) -> Path | None:
    """The file of an SQLite URL, or None for another database; a folder in it may have any name."""
    if not url.startswith("sqlite:///"):
        return None
    # Only `?key=value` behind the file is a query: a folder's name may hold a question mark.
    return Path(re.sub(r"\?\w+=[^/]*$", "", url.removeprefix("sqlite:///")))


def write_ahead_log(url: str) -> Path | None:
    """Where SQLite keeps the last commits of a database; None for a server's."""
    path = sqlite_path(url)
    return path and sqlite.log(path)


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


@contextlib.contextmanager
def database_lock(url: str) -> Iterator[None]:
    """Lets one process at a time make a database's tables, or claim a study in it.

    Raises:
        UserError: The server cannot be reached.
    """
    import sqlalchemy

    path = sqlite_path(url)
    lock = folder_lock(path.parent) if path else advisory_lock(url)
    try:
        lock.__enter__()
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise UserError(f"{masked(url)}: cannot be opened: {_reason(error)}") from None
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


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
        raise UserError(f"{masked(url)}: cannot be read: {_reason(error)}") from None


def open_reading(url: str) -> "PatientStorage":
    """Opens a storage that exists for reading: nothing can be written through it.

    Raises:
        UserError: It cannot be opened.
    """
    return _connect(url, sqlite_path(url), reads_only=True)


def check_storage(url: str) -> None:
    """Refuses, without creating anything, a database that a sweep cannot be written to.

    Raises:
        UserError: Not an Optuna database, or a folder or file that cannot be written.
    """
    path = sqlite_path(url)
    if path is None:
        check_driver(url, masked(url))
        return
    if not sqlite.is_there(path.parent) or not path.parent.is_dir():
        raise UserError(f"{path}: the folder {path.parent} does not exist")
    if not all(os.access(there, os.W_OK) for there in (path.parent, path) if there.exists()):
        raise UserError(f"{path}: no permission to write it; name another database with --storage")
    if path.is_dir():
        raise UserError(f"{path}: a folder; name a database file in it, such as {path / 'sweeps.db'}")
    if tables := _tables(path, OPTUNA_TABLES):
        raise UserError(f"{path}: not an Optuna database (it holds {_some(tables)}); "
                        "name another with --storage")  # fmt: skip


def check_tracking(uri: str) -> None:
    """Refuses, without creating anything, what MLflow's records cannot be written to.

    Raises:
        UserError: MLflow's old file store, a folder that is missing or a file that is not MLflow's database.
    """
    path = sqlite_path(uri)
    if path is None:
        if "://" not in uri or uri.startswith("file:"):
            raise UserError(f"tracking_uri: {masked(uri)}: MLflow does not write to folders any more; "
                            "give sqlite:///mlflow.db or the address of a server")  # fmt: skip
        check_records(uri, f"tracking_uri: {masked(uri)}")
        return
    if "?" in str(path):
        raise UserError(f"{path}: MLflow takes a '?' in a path for the end of it; use another folder, "
                        "or give tracking_uri")  # fmt: skip
    if not sqlite.is_there(path) and not path.parent.is_dir():
        raise UserError(f"{path}: the folder {path.parent} does not exist")
    if path.is_dir() or not all(os.access(p, os.W_OK) for p in (path.parent, path) if p.exists()):
        raise UserError(f"{path}: cannot be written as a database; give another tracking_uri")
    if tables := _tables(path, MLFLOW_TABLES):
        raise UserError(
            f"{path}: not MLflow's database (it holds {_some(tables)}); give another tracking_uri"
        )
    if path.exists() and path.stat().st_size and (problem := mlflow_schema_problem(path)):
        raise UserError(f"{path}: {problem}, or give another tracking_uri")


def _some(tables: set[str]) -> str:
    return f"{', '.join(sorted(tables)[:3])}, ..."


def _tables(path: Path, expected: set[str]) -> set[str]:
    """The tables of a database that holds others than the expected; empty for one that is right, or new."""
    there = _read_tables(path)
    if there and not expected <= there:
        with folder_lock(path.parent):  # another process may have been making its tables: look again
            there = _read_tables(path)
    return there if there and not expected <= there else set()


def _read_tables(path: Path) -> set[str]:
    if not path.exists() or (path.is_file() and path.stat().st_size == 0):
        return set()
    try:
        with contextlib.closing(sqlite.opened(path, "mode=ro", sqlite.WRITE_WAIT_SECONDS)) as database:
            rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    except sqlite3.OperationalError as error:
        raise UserError(f"{path}: cannot be read: {error}; try again when nothing else uses it") from None
    except sqlite3.DatabaseError as error:
        raise UserError(f"{path}: not a usable SQLite database ({error}); name another one") from None
    return {name for (name,) in rows}


def _connect(url: str, path: Path | None = None, *, reads_only: bool = False) -> "PatientStorage":
    """Opens it with Optuna, which makes what is missing; `path` is the file of an SQLite database."""
    import sqlalchemy
    from optuna.exceptions import StorageInternalError

    from sweeps.storages.patient_storage import PatientStorage

    arguments, address = engine_options(url), url
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
        raise UserError(f"{masked(url)}: cannot be opened: {_reason(cause or error)}") from None
    storage.label = str(path or masked(url))
    return storage
