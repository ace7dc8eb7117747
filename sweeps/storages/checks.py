"""Refuses a database that a sweep cannot be written to, before anything is created."""

import contextlib
import os
import re
import sqlite3
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from sweeps.errors import UserError
from sweeps.storages import sqlite
from sweeps.storages.servers import check_driver, check_records
from sweeps.storages.sqlite import folder_lock
from sweeps.storages.uris import masked, sqlite_path

OPTUNA_TABLES = {"studies", "trials", "version_info"}
MLFLOW_TABLES = {"experiments", "runs", "alembic_version"}


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
    if path.exists() and path.stat().st_size and (problem := _schema_problem(path)):
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


def _schema_problem(path: Path) -> str | None:
    """Why this MLflow cannot write one of its SQLite databases, or None; without importing MLflow."""
    package = find_spec("mlflow")
    if package is None or package.origin is None:
        return None
    with contextlib.closing(sqlite.opened(path, "mode=ro", sqlite.WRITE_WAIT_SECONDS)) as database:
        row = database.execute("SELECT version_num FROM alembic_version").fetchone()
    scripts = (Path(package.origin).parent / "store" / "db_migrations" / "versions").glob("*.py")
    texts = [script.read_text("utf-8") for script in scripts]
    known = {match[1] for text in texts if (match := re.search(r'^revision = "(\w+)"', text, re.M))}
    replaced = {match[1] for text in texts if (match := re.search(r'^down_revision = "(\w+)"', text, re.M))}
    if not known or row is None or row[0] in known - replaced:
        return None
    if row[0] in known:
        return (
            f"written by an older MLflow than {version('mlflow')}; back it up while nothing uses it, "
            "then run `mlflow db upgrade URL`"
        )
    return f"written by a newer MLflow than {version('mlflow')}; update mlflow"
