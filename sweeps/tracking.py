"""The door to MLflow: writes what a `sweeps.runs.Ledger` says, in few calls that can be repeated.

MLflow is imported late, for it takes seconds. Only `MlflowClient` with explicit run ids is used, never the
active run. The database of a first sweep is made here too.
"""

import contextlib
import logging
import os
import posixpath
import shutil
import sqlite3
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.records import Point
from sweeps.runs import Ledger, Run, SweepInfo, Text, batch_length, cut
from sweeps.storage import folder_lock

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT_NAME_LENGTH = 500
KEY_TAG = "sweeps.key"  # finds a run whose creation was sent, but never answered
# Set while a recorder lives, where the user has not set them. MLflow's own retries of an HTTP request last
# for minutes and may create a run twice; the recorder's do neither.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


class Writer:
    """Brings MLflow's runs up to what the ledger says; lives in the recorder's thread.

    A step that MLflow refuses for good becomes a problem and is left out. Any other failure raises and leaves
    the step in its place, so that the next `flush` goes on there. All steps but the creation of a run can be
    repeated: MLflow keeps one of two equal points, parameters and tags.
    """

    def __init__(self, info: SweepInfo) -> None:
        self.ledger = Ledger(info, time.time())
        self.problems: list[str] = []
        self._info, self._key = info, uuid.uuid4().hex
        self._connected: MlflowClient | None = None
        self._experiment_id = ""
        self._is_crowned = False

    def note(self, what: str, error: Exception) -> None:
        """Adds a problem, once."""
        line = f"{what} is not written: {one_line(error)}"
        if line not in self.problems:
            self.problems.append(line)

    def connect(self) -> None:
        """Opens the tracking store, on the first call that succeeds."""
        if self._connected is None:
            from mlflow import MlflowClient

            prepare_database(self._info.tracking_uri)
            self._connected = MlflowClient(self._info.tracking_uri)

    @property
    def _client(self) -> "MlflowClient":
        if self._connected is None:
            raise RuntimeError("`connect` comes first")
        return self._connected

    def flush(self) -> None:
        """Writes all that waits."""
        ledger = self.ledger
        self._write(ledger.parent)
        for number, run in list(ledger.open.items()):
            try:
                self._write(run)
                self._end(run)
            except Exception:
                # To the end of the row: one run that cannot be written must not keep all others waiting.
                ledger.open[number] = ledger.open.pop(number)
                raise
            ledger.run_ids[number] = run.run_id
            if run.status:
                del ledger.open[number]
        if ledger.ending:
            if ledger.ending.best is not None and not self._is_crowned:
                self._attempt(ledger.parent, "the best trial", partial(self._crown, ledger.ending.best))
                self._is_crowned = True
            self._write(ledger.parent)
            self._end(ledger.parent)

    def _write(self, run: Run) -> None:
        run.is_refused = run.is_refused or self.ledger.parent.is_refused
        if not run.run_id and not run.is_refused:
            self._attempt(run, "the run", partial(self._create, run))
            run.is_refused = not run.run_id
        if run.is_refused:
            run.waiting, run.files = [], []
        while run.waiting:
            count = batch_length(run.waiting)
            batch = run.waiting[:count]
            self._attempt(run, f"a batch of {count} values", partial(self._log, run, batch))
            del run.waiting[:count]
        while run.files:
            place, content = run.files[0]
            self._attempt(run, place, partial(self._store, run, place, content))
            del run.files[0]

    def _attempt(self, run: Run, what: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            if not _is_final(error):
                raise
            self.note(f"{run.name}: {what}", error)

    def _create(self, run: Run) -> None:
        if not self._experiment_id:
            self._experiment_id = _experiment_id(self._client, self._info)
        tags = {**run.tags, KEY_TAG: f"{self._key}-{run.tags.get('trial_number', 'parent')}"}
        if run is not self.ledger.parent:
            tags["mlflow.parentRunId"] = self.ledger.parent.run_id
        if run.is_sent:
            found = self._client.search_runs([self._experiment_id], f"tags.`{KEY_TAG}` = '{tags[KEY_TAG]}'")
            run.run_id = found[0].info.run_id if found else ""
        run.is_sent = True
        if not run.run_id:
            created = self._client.create_run(self._experiment_id, run.started_ms, tags, run.name)
            run.run_id = created.info.run_id

    def _log(self, run: Run, batch: list[Point | Text]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        points = [item for item in batch if isinstance(item, Point)]
        params, tags = (
            {item.key: item.value for item in batch if isinstance(item, Text) and item.kind == kind}
            for kind in ("param", "tag")  # MLflow refuses a batch that names a parameter twice
        )
        self._client.log_batch(
            run.run_id,
            metrics=[Metric(point.key, float(point.value), point.time_ms, point.step) for point in points],
            params=[Param(key, value) for key, value in params.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )

    def _store(self, run: Run, place: str, content: str | Path) -> None:
        if isinstance(content, str):
            self._client.log_text(run.run_id, content, place)
        else:
            self._client.log_artifact(run.run_id, str(content), posixpath.dirname(place) or None)

    def _end(self, run: Run) -> None:
        if run.status and run.run_id:
            end = partial(self._client.set_terminated, run.run_id, run.status, run.ended_ms)
            self._attempt(run, f"its status {run.status}", end)

    def _crown(self, best: int) -> None:
        """Reads the best trial back from its run: to keep every configuration would fill the memory."""
        run_id = self.ledger.run_ids.get(best)
        if not run_id:
            raise LookupError(f"trial {best} has no run")
        params = self._client.get_run(run_id).data.params
        config = ""
        if any(entry.path == "config.yaml" for entry in self._client.list_artifacts(run_id)):
            with tempfile.TemporaryDirectory() as folder:
                file = self._client.download_artifacts(run_id, "config.yaml", folder)
                config = Path(file).read_text("utf-8")
        self.ledger.crown(best, params, config)


def prepare_database(tracking_uri: str) -> None:
    """Creates MLflow's SQLite database, in WAL mode, if the URI names one that does not exist.

    MLflow would create it on first use, but not safely: two processes that start at once break each other's
    migration, and a process that dies in the middle may leave a file that no later one can open. So it is
    made aside, under a lock, and moved when complete.

    Args:
        tracking_uri: MLflow's tracking URI; nothing happens if it is not SQLite's.

    Raises:
        OSError: The folder cannot be made or written.
    """
    path = _sqlite_file(tracking_uri)
    if path is None or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with folder_lock(path.parent):
        if not path.exists():
            _create_database(path)


def _create_database(path: Path) -> None:
    from mlflow import MlflowClient

    folder = path.with_name(f"{path.name}.creating")
    shutil.rmtree(folder, ignore_errors=True)  # of a process that died here
    folder.mkdir()
    # MLflow keeps its connection to this file for good: so a copy is moved, and no name is used twice.
    draft, ready = folder / f"{uuid.uuid4().hex}.db", folder / "ready.db"
    MlflowClient(f"sqlite:///{draft}")
    with (
        contextlib.closing(sqlite3.connect(draft)) as source,
        contextlib.closing(sqlite3.connect(ready)) as copy,
    ):
        source.backup(copy)
        copy.execute("PRAGMA journal_mode=WAL")
    ready.replace(path)
    shutil.rmtree(folder, ignore_errors=True)


def _sqlite_file(tracking_uri: str) -> Path | None:
    if not tracking_uri.startswith("sqlite"):
        return None
    from sqlalchemy import make_url

    database = make_url(tracking_uri).database
    return Path(database) if database and database != ":memory:" else None


def _experiment_id(client: "MlflowClient", info: SweepInfo) -> str:
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
    """Sets `ENVIRONMENT` and keeps what MLflow logs in this thread off the terminal, for the block."""
    added = {name: value for name, value in ENVIRONMENT.items() if name not in os.environ}
    os.environ.update(added)
    thread = threading.get_ident()

    def is_from_elsewhere(record: logging.LogRecord) -> bool:
        return record.thread != thread

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


def _is_final(error: Exception) -> bool:
    """Whether trying again is pointless: MLflow says the request is wrong, or a file or a value is."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        status = error.get_http_status_code()  # type: ignore[no-untyped-call]
        return 400 <= status < 500 and status not in (408, 429)
    return isinstance(
        error, (TypeError, ValueError, LookupError, AttributeError, FileNotFoundError, PermissionError)
    )


def one_line(error: Exception) -> str:
    """An exception as one line of a report."""
    lines = str(error).strip().splitlines() or [""]
    return cut(f"{type(error).__name__}: {lines[0]}", 300)
