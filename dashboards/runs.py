"""Reads a sweep's runs and metric histories from MLflow, without MLflow's own client.

The client takes seconds to import and would create or migrate a database that is only to be looked at.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlencode, urlsplit

from dashboards import ports, tracking
from dashboards.errors import ResultsError
from dashboards.records import Sweep
from dashboards.uris import expand, hide_password, without_password

if TYPE_CHECKING:
    from sqlalchemy import Connection

_PAGE = 1_000
_LARGEST = 1.79e308
_RUNS = """
SELECT runs.run_uuid, number.value FROM runs
JOIN experiments ON experiments.experiment_id = runs.experiment_id
JOIN tags AS number ON number.run_uuid = runs.run_uuid AND number.key = 'trial_number'
WHERE experiments.experiment_id = :experiment AND runs.lifecycle_stage = 'active'
ORDER BY runs.start_time
"""
_PARENT = """
SELECT runs.run_uuid, runs.artifact_uri FROM runs
JOIN tags ON tags.run_uuid = runs.run_uuid AND tags.key = 'sweeps.key'
WHERE tags.value = :key AND runs.lifecycle_stage = 'active'
"""
_METRICS = 'SELECT "key", step, value, is_nan FROM metrics WHERE run_uuid = :run ORDER BY timestamp'


@dataclass(frozen=True, slots=True)
class Runs:
    """Where a sweep's runs are.

    Attributes:
        address: Of MLflow's pages; for a database, where `sweeps dashboard` usually puts them.
        is_server: Whether an MLflow server has the runs, so that its pages are there already.
        experiment_id: MLflow's id of the experiment; "" if it is not recorded.
        run_ids: MLflow's id of each trial's run, by the trial's number.
    """

    address: str = ""
    is_server: bool = False
    experiment_id: str = ""
    run_ids: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parent:
    """The run of a whole sweep.

    Attributes:
        run_id: MLflow's id.
        artifacts: Where its artifacts are: a path or a URI.
    """

    run_id: str
    artifacts: str

    @property
    def folder(self) -> Path | None:
        """The artifacts' folder; None if they are not in this machine's file system."""
        if self.artifacts.startswith("file:"):
            return Path(unquote(urlsplit(self.artifacts).path))
        # MLflow takes a path for a URI, too, and unquotes it.
        return Path(unquote(self.artifacts)) if self.artifacts.startswith("/") else None


def find_parent(sweep: Sweep) -> Parent:
    """Return the run of a sweep as a whole.

    Raises:
        ResultsError: MLflow's database or server cannot be read, or has no such run.
    """
    uri, key = sweep.mlflow.get("tracking_uri"), f"{sweep.mlflow.get('key')}-parent"
    if not uri:
        raise ResultsError(f"{sweep.name} was not recorded in MLflow")
    if tracking.is_server(address := expand(uri)):
        experiment = tracking.find_experiment(address, sweep.mlflow["experiment"], hide_password(uri))
        body = {"experiment_ids": [experiment], "filter": f"tags.`sweeps.key` = '{key}'"}
        runs = tracking.ask(address, "/api/2.0/mlflow/runs/search", body).get("runs", [])
        found = [(run["info"]["run_id"], run["info"]["artifact_uri"]) for run in runs]
    else:
        with tracking.connected(uri) as connection:
            found = _rows(connection, _PARENT, key=key)
    if not found:
        raise ResultsError(f"{hide_password(uri)}: {sweep.name} has no run there")
    return Parent(*found[0])


def find_runs(sweep: Sweep) -> Runs:
    """Return where the runs of a sweep's trials are; an empty answer if it was not recorded.

    Raises:
        ResultsError: MLflow's database or server cannot be read, or does not know the experiment.
    """
    uri, experiment = sweep.mlflow.get("tracking_uri"), sweep.mlflow.get("experiment")
    if not uri or not experiment:
        return Runs()
    address = expand(uri)
    if tracking.is_server(address):
        experiment_id = tracking.find_experiment(address, experiment, hide_password(uri))
        return Runs(without_password(address.rstrip("/")), True, experiment_id,
                    _server_runs(address, experiment_id))  # fmt: skip
    with tracking.connected(uri) as connection:
        found = _rows(connection, "SELECT experiment_id FROM experiments WHERE name = :name", name=experiment)
        if not found:
            raise ResultsError(f"{hide_password(uri)}: no experiment {experiment!r}")
        rows = _rows(connection, _RUNS, experiment=found[0][0])
    run_ids = {int(number): run_id for run_id, number in rows if str(number).isdigit()}
    return Runs(f"http://{ports.LOOPBACK}:{ports.USUAL}", False, str(found[0][0]), run_ids)


def histories(sweep: Sweep, run_id: str) -> dict[str, list[tuple[int, float]]]:
    """Return every metric of one run: steps and values in the order of logging.

    Raises:
        ResultsError: MLflow's database or server cannot be read.
    """
    uri = sweep.mlflow["tracking_uri"]
    if tracking.is_server(expand(uri)):
        return _server_histories(expand(uri), run_id)
    found: dict[str, list[tuple[int, float]]] = {}
    with tracking.connected(uri) as connection:
        for key, step, value, is_nan in _rows(connection, _METRICS, run=run_id):
            # Databases hold no NaN, and the largest float for infinity.
            number = math.nan if is_nan or abs(value) > _LARGEST else float(value)
            found.setdefault(key, []).append((int(step), number))
    return found


def _rows(connection: "Connection", query: str, **values: object) -> list[Any]:
    from sqlalchemy import text

    if connection.dialect.name in ("mysql", "mariadb"):
        query = query.replace('"', "`")
    return list(connection.execute(text(query), values))


def _server_runs(server: str, experiment_id: str) -> dict[int, str]:
    run_ids: dict[int, str] = {}
    token = ""
    while True:
        body = {"experiment_ids": [experiment_id], "max_results": _PAGE, "order_by": ["start_time ASC"],
                "filter": "tags.trial_number LIKE '%'", "page_token": token}  # fmt: skip
        answer = tracking.ask(server, "/api/2.0/mlflow/runs/search", body)
        for run in answer.get("runs", []):
            tags = {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])}
            if tags.get("trial_number", "").isdigit():
                run_ids[int(tags["trial_number"])] = run["info"]["run_id"]
        token = answer.get("next_page_token", "")
        if not token:
            return run_ids


def _server_histories(server: str, run_id: str) -> dict[str, list[tuple[int, float]]]:
    run = tracking.ask(server, f"/api/2.0/mlflow/runs/get?{urlencode({'run_id': run_id})}")["run"]
    names = [metric["key"] for metric in run["data"].get("metrics", [])]
    found: dict[str, list[tuple[int, float]]] = {}
    for name in names:
        query = urlencode({"run_id": run_id, "metric_key": name})
        points = tracking.ask(server, f"/api/2.0/mlflow/metrics/get-history?{query}").get("metrics", [])
        found[name] = [(int(point.get("step", 0)), float(point["value"])) for point in points]
    return found
