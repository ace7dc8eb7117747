"""Why MLflow did not take something, and whether it will when it is asked again."""

from typing import TYPE_CHECKING

from sweeps.storages.database_file import DatabaseGone
from sweeps.tracking.names import cut

if TYPE_CHECKING:
    from mlflow import MlflowClient


TOO_LARGE = 413
"""HTTP's status for a request that a proxy takes for too large."""


class ExperimentDeleted(Exception):
    """Somebody deleted the sweep's experiment in MLflow while the sweep ran."""


def is_final(error: Exception) -> bool:
    """Whether trying again is pointless: MLflow says the request is wrong, or a file or a value is.

    It is not where a token is missing or over, nor where what answers is a proxy without MLflow behind it.
    """
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        status = error.get_http_status_code()  # type: ignore[no-untyped-call]
        may_pass = status in (401, 403, 408, 429) or error.error_code == "ENDPOINT_NOT_FOUND"
        return 400 <= status < 500 and not may_pass
    if getattr(getattr(error, "response", None), "status_code", 0) == TOO_LARGE:  # of what uploads files
        return True
    return isinstance(
        error, (TypeError, ValueError, LookupError, AttributeError, FileNotFoundError, PermissionError)
    )


def is_missing(error: Exception) -> bool:
    """Whether MLflow says that what the request names is not there."""
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException) and error.error_code == "RESOURCE_DOES_NOT_EXIST"


def has_run(client: "MlflowClient", run_id: str) -> bool:
    """Whether a run is there, and nobody has deleted it.

    Raises:
        Exception: MLflow does not answer.
    """
    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except Exception as error:
        if is_missing(error):  # as after `mlflow gc`
            return False
        raise


def mlflow_reason(error: Exception) -> str:
    """An exception as one line of a report."""
    lines = str(error).strip().splitlines() or [""]
    kind = "" if isinstance(error, DatabaseGone | ExperimentDeleted) else f"{type(error).__name__}: "
    return cut(f"{kind}{lines[0]}", 300)
