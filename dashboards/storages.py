"""Opens an Optuna database for reading: creates nothing, changes nothing, waits for no writer.

Optuna's own `RDBStorage(url)` creates a missing database and its tables, so everything it would create
is looked for first. SQLite connections refuse to write, and none outlives the query it was opened for.
"""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from dashboards.errors import ResultsError
from dashboards.uris import expand, hide_password, is_url

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from sqlalchemy import Engine

# How long a query waits for a writer; with SQLite's write-ahead log it never has to.
BUSY_SECONDS = 20.0
_TABLES = {"alembic_version", "version_info", "studies", "trials", "trial_values", "trial_user_attributes"}


@dataclass(frozen=True, slots=True)
class Store:
    """An open database of sweeps.

    Attributes:
        label: The address as the user gave it, without passwords.
        engine: For the few queries that Optuna has no fast call for.
        storage: For everything else.
    """

    label: str
    engine: "Engine"
    storage: "RDBStorage"


@contextmanager
def reading(address: str | os.PathLike[str]) -> Iterator[Store]:
    """Open a database of sweeps, and turn whatever the database complains about into one line.

    Args:
        address: A path to an SQLite file or an SQLAlchemy URL; `${NAME}` is taken from the environment.

    Raises:
        ResultsError: There is no such database, it is not Optuna's, another version of Optuna wrote it, or
            it cannot be reached.
    """
    text = os.fspath(address)
    label = hide_password(text)
    with in_one_line(label, "; name one that `sweeps launch` wrote"), ExitStack() as stack:
        url, options = _engine_options(expand(text), label)
        engine = _checked_engine(url, options, label)
        stack.callback(engine.dispose)
        storage = _storage(url, options, label)
        stack.callback(storage.engine.dispose)
        yield Store(label, engine, storage)


@contextmanager
def in_one_line(label: str, hint: str = "") -> Iterator[None]:
    """Turn whatever a database complains about into one line.

    Args:
        label: The address as the user gave it, without passwords.
        hint: What may be right where the file is no database.

    Raises:
        ResultsError: The block raised something of SQLAlchemy's, or for want of a driver.
    """
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    try:
        yield
    except ArgumentError:
        raise ResultsError(f"{label}: not a database URL; such as sqlite:///sweeps.db") from None
    except ImportError as error:
        raise ResultsError(f"{label}: this database needs a driver: {first_line(error)}") from None
    except SQLAlchemyError as error:
        said = getattr(error, "orig", None) or error
        # Nobody but SQLite may look into the file: the system drops all locks that a process has on one when
        # the process closes it once, also those of a sweep that it runs (sqlite.org/howtocorrupt.html, 2.2).
        if getattr(said, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            raise ResultsError(f"{label}: not an SQLite database{hint}") from None
        raise ResultsError(f"{label}: {first_line(said)}") from None


def sqlite_path(url: str) -> Path | None:
    """Return the file of an SQLite URL, or None if the URL names another kind of database.

    Raises:
        ResultsError: The database lives in memory, where no other process can read it.
    """
    from sqlalchemy.engine import make_url

    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return None
    name = parsed.database or ""
    if name.startswith("file:"):
        name = unquote(urlsplit(name).path)
    if name in ("", ":memory:"):
        raise ResultsError(f"{url}: a database in memory ends with its process; name a file")
    return Path(name)


def connect_readonly(path: Path) -> sqlite3.Connection:
    """Open an SQLite file that exists, so that nothing can be written through the connection."""
    path = path.resolve()  # SQLite keeps its log beside the file, not beside a link to it
    if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
        # `mode=ro` would leave the -wal and -shm files of a quiet database behind; `rw` tidies them up.
        connection = _connect(path, "mode=rw")
        connection.execute("PRAGMA query_only = ON")
        return connection
    try:
        connection = _connect(path, "mode=ro")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        # A write-ahead-log database needs its -shm file, which cannot be made in a read-only folder.
        # Without a -wal file nobody is writing, and then the file can be read as it is.
        log = path.with_name(path.name + "-wal")
        return _copied(path, log) if log.exists() else _connect(path, "mode=ro&immutable=1")
    return connection


def _copied(path: Path, log: Path) -> sqlite3.Connection:
    """Return the database with its log, in memory."""
    memory = sqlite3.connect(":memory:", check_same_thread=False)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile(path, copy := Path(folder) / "copy.db")
        shutil.copyfile(log, Path(folder) / "copy.db-wal")
        with closing(sqlite3.connect(copy)) as there:
            there.backup(memory)
    memory.execute("PRAGMA query_only = ON")
    return memory


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?{mode}", uri=True, timeout=BUSY_SECONDS, check_same_thread=False)


def _engine_options(address: str, label: str) -> tuple[str, dict[str, Any]]:
    """Return the URL and the `create_engine` options that read this address."""
    from sqlalchemy.pool import NullPool

    path = sqlite_path(address) if is_url(address) else Path(address)
    if path is None:
        # Connections are kept, since to open one takes several round trips; and there is no BEGIN, without
        # which PostgreSQL shows each query the newest state all the same.
        return address, {"isolation_level": "AUTOCOMMIT"} if address.startswith("postgres") else {}
    _check_file(path, label)
    # The path stays out of the URL, where Optuna would expand braces and SQLAlchemy a question mark.
    return "sqlite:///", {"poolclass": NullPool, "creator": lambda: connect_readonly(path)}


def _check_file(path: Path, label: str) -> None:
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except PermissionError:  # a folder above it is closed to this user
        is_folder, is_there = False, True
    if is_folder:
        raise ResultsError(f"{label}: a folder; name the database file in it, such as {path / 'sweeps.db'}")
    if not is_there:
        raise ResultsError(
            f"{label}: no such database; run `sweeps launch FILE` here first, or name one with --storage"
        )
    if not os.access(path, os.R_OK):
        raise ResultsError(f"{label}: not readable by this user; ask its owner for read permission")


def _checked_engine(url: str, options: dict[str, Any], label: str) -> "Engine":
    from sqlalchemy import create_engine, inspect

    engine = create_engine(url, **options)
    if not set(inspect(engine).get_table_names()) >= _TABLES:
        raise ResultsError(
            f"{label}: a database, but not one of Optuna's; name the one that `sweeps launch` wrote"
        )
    return engine


def _storage(url: str, options: dict[str, Any], label: str) -> "RDBStorage":
    import optuna

    try:
        return optuna.storages.RDBStorage(url, engine_kwargs=dict(options), skip_table_creation=True)
    except RuntimeError as error:
        advice = f"update optuna, this is {optuna.__version__}"
        if "storage upgrade" in str(error):
            advice = "back it up, then run `optuna storage upgrade --storage URL`"
        raise ResultsError(f"{label}: written by another version of Optuna; {advice}") from None


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, without passwords."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return hide_password(lines[0])
