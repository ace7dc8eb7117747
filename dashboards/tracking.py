"""What the reader must know of an MLflow tracking store before a server is put on it."""

import base64
import http.client
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from dashboards.errors import ResultsError
from dashboards.storages import connect_readonly, first_line, in_one_line, sqlite_path
from dashboards.uris import expand, hide_password, is_url

if TYPE_CHECKING:
    from sqlalchemy import Connection

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_TIMEOUT_SECONDS = 15.0
_CLIENT = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


def is_server(uri: str) -> bool:
    """Tell an MLflow server, which has its own pages, from a database."""
    return uri.startswith(("http://", "https://"))


@contextmanager
def connected(uri: str) -> Iterator["Connection"]:
    """Connect to a tracking database, which is neither made nor changed.

    Raises:
        ResultsError: There is none, or it cannot be read.
    """
    from sqlalchemy import NullPool, create_engine

    label, address = hide_password(uri), expand(uri)
    options: dict[str, Any] = {"poolclass": NullPool}
    with in_one_line(label):
        path = sqlite_path(address)
        if path is not None:
            if not path.is_file():
                raise ResultsError(f"{label}: no such MLflow database; run a sweep that records there first")
            address, options["creator"] = "sqlite:///", lambda: connect_readonly(path)
        engine = create_engine(address, **options)
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()


def check_database(tracking_uri: str) -> str:
    """Return the address of a tracking database that a server can be put on without changing it.

    `mlflow server` creates a missing database and migrates an old one without a question; neither may
    happen to somebody who only wants to look.

    Args:
        tracking_uri: The address; `${NAME}` is taken from the environment.

    Returns:
        The address with references replaced and an SQLite path made absolute. It may hold a password.

    Raises:
        ResultsError: It is not a database of MLflow's, it has another version's schema, or it cannot be read.
    """
    from sqlalchemy import inspect, text

    uri, label = expand(tracking_uri), hide_password(tracking_uri)
    if not is_url(uri) or not uri.startswith(_DATABASES):
        raise ResultsError(f"{label}: not an MLflow database; such as sqlite:////absolute/path/mlflow.db")
    with connected(tracking_uri) as connection:
        if not set(inspect(connection).get_table_names()) >= {"alembic_version", "experiments", "runs"}:
            raise ResultsError(
                f"{label}: a database, but not one of MLflow's; run a sweep that records there"
            )
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    _check_schema(found, label)
    path = sqlite_path(uri)
    return uri if path is None else f"sqlite:///{path.resolve()}"


def find_experiment(server: str, name: str, label: str) -> str:
    """Ask an MLflow server for the id of an experiment.

    Args:
        server: The server's address; a user and password in it, or else those of MLflow's own environment
            variables, are sent along.
        name: The experiment's name.
        label: What to call the store in a message.

    Raises:
        ResultsError: The server does not answer, refuses, or has no such experiment.
    """
    path = f"/api/2.0/mlflow/experiments/get-by-name?experiment_name={quote(name, safe='')}"
    missing = f"no experiment {name!r}; was the sweep recorded in another MLflow store?"
    return str(ask(server, path, label=label, missing=missing)["experiment"]["experiment_id"])


def ask(
    server: str, path: str, body: Mapping[str, Any] | None = None, *, label: str = "", missing: str = ""
) -> dict[str, Any]:
    """Ask an MLflow server something; see `get`.

    Args:
        server: The server's address.
        path: What is asked.
        body: What is sent, if something is.
        label: What to call the store in a message, instead of its address.
        missing: What to say if the server says that there is no such thing.

    Raises:
        ResultsError: The server does not answer, or refuses.
    """
    label = label or hide_password(server)
    try:
        status, answer = get(server, path, body)
        if missing and status == http.HTTPStatus.NOT_FOUND:
            raise ResultsError(f"{label}: {missing}")
        if status != http.HTTPStatus.OK:
            raise ResultsError(f"{label}: the MLflow server refused with status {status}")
        found: dict[str, Any] = json.loads(answer)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ResultsError(f"{label}: the MLflow server does not answer: {error}") from None
    return found


def upload(tracking_uri: str, run_id: str, path: Path) -> None:
    """Put a file among a run's artifacts, through MLflow's own client, which takes seconds to import.

    Raises:
        ResultsError: MLflow or the place of the artifacts does not take it.
    """
    # The client's own retries last for minutes; whoever asks here asks again.
    for name, value in _CLIENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    try:
        MlflowClient(expand(tracking_uri)).log_artifact(run_id, str(path))
    except Exception as error:  # noqa: BLE001 - each kind of store has errors of its own
        label = hide_password(tracking_uri)
        raise ResultsError(f"{label}: takes no artifact: {first_line(error)}") from None


def get(server: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, bytes]:
    """Send one GET request, or a POST request with JSON, and return status and body.

    Raises:
        OSError: There was no connection, or what answered does not speak HTTP.
    """
    url = urlsplit(server)
    # Not urllib.request: it would send requests for this very machine to the user's proxy.
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    # Without a port it would look for one behind the host's last colon, where an IPv6 address has its own.
    connection = kind(url.hostname or "", url.port or kind.default_port, timeout=_TIMEOUT_SECONDS)
    try:
        headers = dict(_authorization(url.username, url.password))
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection.request(
            "GET" if body is None else "POST",
            url.path.rstrip("/") + path,
            body=None if body is None else json.dumps(body),
            headers=headers,
        )
        response = connection.getresponse()
        return response.status, response.read()
    except http.client.HTTPException as error:
        raise ConnectionError(f"what answers is no HTTP server ({type(error).__name__})") from None
    finally:
        connection.close()


def _authorization(user: str | None, password: str | None) -> Mapping[str, str]:
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    if user is None:
        user, password = (os.environ.get(f"MLFLOW_TRACKING_{key}") for key in ("USERNAME", "PASSWORD"))
    else:
        user, password = unquote(user), unquote(password or "")
    if user:
        return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
    return {"Authorization": f"Bearer {token}"} if token else {}


def _check_schema(found: str | None, label: str) -> None:
    from alembic.script import ScriptDirectory
    from mlflow import __version__
    from mlflow.store import db_migrations

    scripts = ScriptDirectory(str(Path(db_migrations.__file__).parent))
    if found == scripts.get_current_head():
        return
    if found in {script.revision for script in scripts.walk_revisions()}:
        raise ResultsError(
            f"{label}: written by an older MLflow than {__version__};"
            " back it up while no sweep runs, then run `mlflow db upgrade URL`"
        )
    raise ResultsError(f"{label}: written by a newer MLflow than {__version__}; update mlflow")
