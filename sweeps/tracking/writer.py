"""The door to MLflow: writes what a `sweeps.tracking.runs.Ledger` says, in few calls that can be repeated.

MLflow is imported late, for it takes seconds. Only `MlflowClient` with explicit run ids is used, never the
active run.
"""

import tempfile
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.records import Point
from sweeps.storages.database_file import DatabaseFile, DatabaseGone
from sweeps.storages.servers import is_tracking_server
from sweeps.storages.uris import sqlite_path
from sweeps.tracking.artifacts import store
from sweeps.tracking.at_once import do_each
from sweeps.tracking.mlflow_setup import engine_of, experiment_id, prepare_database
from sweeps.tracking.names import Text, batch_length
from sweeps.tracking.pending import Run
from sweeps.tracking.refusals import ExperimentDeleted, has_run, is_final, is_missing, mlflow_reason
from sweeps.tracking.runs import Ledger, SweepInfo

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

AT_ONCE = 4
"""So many runs are written to a server at a time: each takes four requests, one after the other."""

KEY_TAG = "sweeps.key"  # finds a run whose creation was sent, but never answered


class Writer:
    """Brings MLflow's runs up to what the ledger says; lives in the recorder's thread.

    A step that MLflow refuses for good becomes a problem and is left out. Any other failure raises and leaves
    the step in its place, so that the next `flush` goes on there. All steps but the creation of a run can be
    repeated: MLflow keeps one of two equal points, parameters and tags.

    Attributes:
        ledger: What the runs should hold.
        problems: What MLflow refused for good, one line each.
        written: Grows as long as MLflow answers.
        is_abandoned: Nobody waits for it any more: it takes no further step.

    Args:
        info: What the parent run says about the sweep.
        say: Told what was mended meanwhile, and the first problem of each kind.
    """

    def __init__(self, info: SweepInfo, say: Callable[[str], None] = lambda line: None) -> None:
        self.ledger = Ledger(info, time.time())
        self.problems: list[str] = []
        self.written = 0
        self.is_abandoned = False
        self._info, self._key, self._say = info, info.key or uuid.uuid4().hex, say
        self._connected: MlflowClient | None = None
        self._file: DatabaseFile | None = None
        self._experiment_id = ""
        self._is_crowned = False
        self._said: set[tuple[type[Exception], str]] = set()

    def note(self, what: str, error: Exception) -> None:
        """Adds a problem, once; the first of a kind is said at once, as the end may be weeks away."""
        line = f"{what} is not written: {mlflow_reason(error)}"
        if line in self.problems:
            return
        self.problems.append(line)
        kind = type(error), getattr(error, "error_code", "")
        if kind not in self._said and not self.ledger.ending:  # which lists them all in a moment
            self._said.add(kind)
            self._say(f"MLflow refuses something: {line}; others of this kind are listed at the end")

    def connect(self) -> None:
        """Opens the tracking store, on the first call that succeeds."""
        if self._connected is None:
            from mlflow import MlflowClient

            prepare_database(self._info.tracking_uri)
            if (path := sqlite_path(self._info.tracking_uri)) is not None:
                self._file = DatabaseFile(path)
                self._file.guard(engine_of(self._info.tracking_uri))
            self._connected = MlflowClient(self._info.tracking_uri)

    @property
    def _client(self) -> "MlflowClient":
        if self._connected is None:
            raise RuntimeError("`connect` comes first")
        return self._connected

    def flush(self) -> None:
        """Writes all that waits."""
        self._ensure_its_file_is_there()
        ledger = self.ledger
        self._write(ledger.parent)
        numbers = [number for number, run in ledger.open.items() if not run.is_held]
        do_each(self._write_trial, numbers, AT_ONCE if is_tracking_server(self._info.tracking_uri) else 1)
        if ledger.ending:
            if ledger.ending.best is not None and not self._is_crowned:
                self._attempt(ledger.parent, "the best trial", partial(self._crown, ledger.ending.best))
                self._is_crowned = True
            self._write(ledger.parent)
            self._end(ledger.parent)

    def _write_trial(self, number: int) -> None:
        run, ledger = self.ledger.open[number], self.ledger
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

    def close(self) -> None:
        """Watches over MLflow's database no more: it may be removed now, and the next sweep make it anew.

        Its connections are closed, so that who copies the file needs nothing beside it.
        """
        if self._file is not None:
            self._file.close()
            engine_of(self._info.tracking_uri).dispose()

    def _ensure_its_file_is_there(self) -> None:
        """Looks, for MLflow itself would write on to a file that nobody can open any more.

        Raises:
            DatabaseGone: Another file has its name, or it cannot be put back.
        """
        if self._file is None:
            return
        try:
            self._file.ensure_it_is_there()
        except DatabaseGone as gone:
            if not gone.is_back:
                raise
            self._file.close()  # and with it what guards its connections
            engine_of(self._info.tracking_uri).dispose()
            self._connected = self._file = None
            self._say(f"{gone}, and the records go on in it")
            self.connect()

    def _ensure_its_experiment_is_there(self) -> None:
        """Looks, since MLflow refuses whatever belongs to an experiment that somebody deleted.

        Raises:
            ExperimentDeleted: It was; what is to be written waits until it is restored.
        """
        if not self._experiment_id:
            return
        try:
            if self._client.get_experiment(self._experiment_id).lifecycle_stage == "active":
                return
        except Exception as error:
            if not is_missing(error):  # as after `mlflow gc`
                raise
        raise ExperimentDeleted(
            f"the experiment {self._info.name!r} was deleted there; `mlflow experiments restore -x "
            f"{self._experiment_id}` brings it back now, `sweeps resume` at the end"
        )

    def _write(self, run: Run) -> None:
        run.is_refused = run.is_refused or not (run is self.ledger.parent or self.ledger.parent.run_id)
        if not run.run_id and not run.is_refused:
            self._attempt(run, "the run", partial(self._create, run))
            run.is_refused = not run.run_id
        while run.waiting and not run.is_refused:
            count = batch_length(run.waiting)
            batch = run.waiting[:count]
            self._attempt(run, f"a batch of {count} values", partial(self._log, run, batch))
            del run.waiting[:count]
        while run.files and not run.is_refused:
            place, content = run.files[0]
            put = partial(store, run.artifact_uri, self._info.tracking_uri, place, content)
            self._attempt(run, place, put)
            del run.files[0]
        if run.is_refused:
            run.waiting, run.files = [], []

    def _attempt(self, run: Run, what: str, call: Callable[[], None]) -> None:
        if self.is_abandoned:
            raise TimeoutError("it was not waited for any longer")
        try:
            call()
        except Exception as error:
            if not is_final(error):
                raise
            self._ensure_its_experiment_is_there()
            if run.run_id and not has_run(self._client, run.run_id):  # somebody deleted it
                run.is_refused, what = True, "the rest of it"
            self.note(f"{run.name}: {what}", error)
        self.written += 1

    def _create(self, run: Run) -> None:
        if not self._experiment_id:
            self._experiment_id = experiment_id(self._client, self._info)
        tags = {**run.tags, KEY_TAG: f"{self._key}-{_part(run)}"}
        if run is not self.ledger.parent:
            tags["mlflow.parentRunId"] = self.ledger.parent.run_id
        if run.is_sent:
            self._take_over(run)
        if not run.run_id:
            run.is_doubtful = run.is_doubtful or run.is_sent
            run.is_sent = True
            created = self._client.create_run(self._experiment_id, run.started_ms, tags, run.name)
            run.run_id, run.artifact_uri = created.info.run_id, created.info.artifact_uri

    def _found(self, part: str) -> list["MlflowRun"]:
        """The runs that were made for a part of this sweep: a trial's number, or `parent`."""
        key = f"tags.`{KEY_TAG}` = '{self._key}-{part}'"
        return list(self._client.search_runs([self._experiment_id], key))

    def _take_over(self, run: Run) -> None:
        """Finds the run that was made for this one, if any, and what it holds already."""
        there = next(iter(self._found(_part(run))), None)
        if there is None:
            return
        for name in there.data.metrics:
            history = self._client.get_metric_history(there.info.run_id, name)
            run.stored[name] = max(point.step for point in history)
            self.written += 1
        run.best_tags |= {tag for tag in there.data.tags if tag.startswith("best.")}
        if there.info.status != "RUNNING":
            self._client.update_run(there.info.run_id, status="RUNNING")
        run.run_id, run.artifact_uri = there.info.run_id, there.info.artifact_uri

    def _log(self, run: Run, batch: list[Point | Text]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        points = [item for item in batch if isinstance(item, Point) and run.is_new(item)]
        params, tags = (
            {item.key: item.value for item in batch if isinstance(item, Text) and item.kind == kind}
            for kind in ("param", "tag")  # MLflow refuses a batch that names a parameter twice
        )
        self._client.log_batch(
            run.run_id,
            metrics=[Metric(point.key, float(point.value), point.time_ms, point.step) for point in points],
            params=[Param(key, value) for key, value in params.items()],
            tags=[RunTag(key, value) for key, value in tags.items() if value],
        )
        for key in (key for key, value in tags.items() if not value):
            self._delete_tag(run, key)

    def _delete_tag(self, run: Run, key: str) -> None:
        try:
            self._client.delete_tag(run.run_id, key)
        except Exception as error:
            if not is_missing(error):  # the first try got through, unanswered
                raise

    def _end(self, run: Run) -> None:
        if run.status and run.run_id and not run.is_refused:
            if run.is_doubtful:
                self._attempt(run, "whether it is there once", partial(self._remove_doubles, run))
            end = partial(self._client.set_terminated, run.run_id, run.status, run.ended_ms)
            self._attempt(run, f"its status {run.status}", end)

    def _remove_doubles(self, run: Run) -> None:
        """Removes what a server made of the first request, which nobody waited for, after the second."""
        for double in self._found(_part(run)):
            if double.info.run_id != run.run_id:
                self._client.delete_run(double.info.run_id)
        run.is_doubtful = False

    def _crown(self, best: int) -> None:
        """Reads the best trial back from its run: to keep every configuration would fill the memory."""
        run_id = self.ledger.run_ids.get(best)
        if not run_id:  # of an earlier driver
            found = self._found(str(best))
            if not found:
                raise LookupError(f"trial {best} has no run")
            run_id = found[0].info.run_id
        params = self._client.get_run(run_id).data.params
        config = ""
        if any(entry.path == "config.yaml" for entry in self._client.list_artifacts(run_id)):
            with tempfile.TemporaryDirectory() as folder:
                file = self._client.download_artifacts(run_id, "config.yaml", folder)
                config = Path(file).read_text("utf-8")
        self.ledger.crown(best, params, config)


def _part(run: Run) -> str:
    return run.tags.get("trial_number", "parent")
