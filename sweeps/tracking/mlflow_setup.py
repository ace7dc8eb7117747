"""MLflow made ready: its database, the sweep's experiment, and quiet."""

import contextlib
import logging
import os
import shutil
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.storages.database_file import forget_logs
from sweeps.storages.servers import advisory_lock, is_postgres
from sweeps.storages.sqlite import folder_lock
from sweeps.storages.uris import sqlite_path
from sweeps.tracking.names import cut
from sweeps.tracking.runs import SweepInfo

if TYPE_CHECKING:
    import sqlalchemy
    from mlflow import MlflowClient

EXPERIMENT_NAME_LENGTH = 500
# Set while a recorder lives, where the user has not set them. MLflow's own retries of an HTTP request last
# for minutes and may create a run twice; the recorder's do neither.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def prepare_database(tracking_uri: str) -> None:
    """Creates MLflow's database: SQLite's in WAL mode if there is none, PostgreSQL's tables under a lock.

    MLflow would create it on first use, but not safely: two processes that start at once break each other's
    migration, and a process that dies in the middle may leave a file that no later one can open. So it is
    made aside, under a lock, and moved when complete.

    Args:
        tracking_uri: MLflow's tracking URI; nothing happens for a server.

    Raises:
        OSError: The folder cannot be made or written.
    """
    path = sqlite_path(tracking_uri)
    if path is None and is_postgres(tracking_uri):
        with advisory_lock(tracking_uri):
            _make_tables(tracking_uri)
    if path is None or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with folder_lock(path.parent):
        if not path.exists():
            _create_database(path)


def _make_tables(uri: str) -> None:
    """Lets MLflow make its tables, and in them its default experiment, which nothing here uses.

    MLflow writes the place of that experiment, below the working directory, into its SQL as it is. A folder
    with both kinds of quotes in its name ends that; so the place is given as a URI.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore(uri, (Path.cwd() / "mlruns").as_uri())  # type: ignore[no-untyped-call]


def engine_of(tracking_uri: str) -> "sqlalchemy.Engine":
    """What all of MLflow's stores of an SQLite database share in this process, however many sweeps it runs.

    It keeps its connections for good: those to an earlier file of that name are closed here.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(tracking_uri, Path.cwd().as_uri())  # type: ignore[no-untyped-call]
    store.engine.dispose()
    return store.engine


def _create_database(path: Path) -> None:
    folder = path.with_name(f"{path.name}.creating")
    shutil.rmtree(folder, ignore_errors=True)  # of a process that died here
    folder.mkdir()
    # MLflow keeps its connection to this file for good: so a copy is moved, and no name is used twice.
    draft, ready = folder / f"{uuid.uuid4().hex}.db", folder / "ready.db"
    with without_waiting_for_the_disk():
        _make_tables(f"sqlite:///{draft}")
    with (
        contextlib.closing(sqlite3.connect(draft)) as source,
        contextlib.closing(sqlite3.connect(ready)) as copy,
    ):
        source.backup(copy)
        copy.execute("PRAGMA journal_mode=WAL")
    forget_logs(path)
    ready.replace(path)
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def without_waiting_for_the_disk() -> Iterator[None]:
    """The SQLite databases that this thread opens in the block are as quick as the memory.

    MLflow creates its tables in some fifty transactions, which take seconds if each waits for the disk. A
    database that the machine's end would spoil must be copied when it is whole.
    """
    from sqlalchemy import Engine, event

    thread = threading.get_ident()

    def relax(connection: sqlite3.Connection, _: object) -> None:
        if threading.get_ident() == thread:
            connection.execute("PRAGMA synchronous=OFF")
            connection.execute("PRAGMA journal_mode=MEMORY")

    event.listen(Engine, "connect", relax)
    try:
        yield
    finally:
        event.remove(Engine, "connect", relax)


def experiment_id(client: "MlflowClient", info: SweepInfo) -> str:
    """The experiment of the sweep's name: made if missing, brought back if deleted."""
    from mlflow.exceptions import MlflowException

    name = cut(info.name, EXPERIMENT_NAME_LENGTH)
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        location = info.artifact_location
        if Path(location).is_absolute():
            location = location.replace("%", "%25")  # MLflow unquotes paths as if they were URIs
        try:
            return str(client.create_experiment(name, location or None))
        except MlflowException:  # another sweep of that name may have been quicker
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)


@contextlib.contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Sets `ENVIRONMENT` and keeps off the terminal what MLflow logs, for the block.

    That is in this thread, and in those whose names begin with its name.
    """
    added = {name: value for name, value in ENVIRONMENT.items() if name not in os.environ}
    os.environ.update(added)
    name = threading.current_thread().name

    def is_from_elsewhere(record: logging.LogRecord) -> bool:
        return not (record.threadName or "").startswith(name)

    with contextlib.suppress(Exception):  # `Writer.connect` will raise it again
        import mlflow  # noqa: F401 - makes the one handler that it, alembic and SQLAlchemy share
    handlers = logging.getLogger("mlflow").handlers
    for handler in handlers:
        handler.addFilter(is_from_elsewhere)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(is_from_elsewhere)
        for name in added:
            os.environ.pop(name, None)
