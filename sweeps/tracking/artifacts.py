"""Puts files among the artifacts of an MLflow run whose place is known.

`MlflowClient` asks for the run first to learn the place, which costs more than to write the file, and keeps
in memory what it learns of the last thousand runs. MLflow is imported late, for it takes seconds.
"""

import posixpath
import tempfile
from pathlib import Path


def store(artifact_uri: str, tracking_uri: str, place: str, content: str | Path) -> None:
    """Writes one artifact, as `MlflowClient.log_text` and `log_artifact` do.

    Args:
        artifact_uri: The run's, as MLflow said when it was created.
        tracking_uri: Of the store or server that has the run.
        place: Where it goes among the artifacts, such as `best/config.yaml`.
        content: A text, or the file, whose name must be that of the place.

    Raises:
        OSError: The file cannot be read, or the place cannot be written.
        MlflowException: The server refuses it, or cannot be reached.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.utils.uri import add_databricks_profile_info_to_artifact_uri

    uri = add_databricks_profile_info_to_artifact_uri(  # type: ignore[no-untyped-call]
        artifact_uri, tracking_uri
    )
    repository = get_artifact_repository(uri, tracking_uri=tracking_uri)
    with tempfile.TemporaryDirectory() as folder:
        if isinstance(content, str):
            file = Path(folder) / posixpath.basename(place)
            file.write_text(content, "utf-8")
        else:
            file = content
        repository.log_artifact(str(file), posixpath.dirname(place) or None)  # type: ignore[no-untyped-call]
