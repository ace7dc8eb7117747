"""Where a sweep's parts may be when they are not on its machine: an object store, an MLflow server."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from sweeps.storages.uris import study_url
from tests.postgres import Server

BUCKET = "trials"


@pytest.fixture(scope="session")
def object_store() -> Iterator[None]:
    """An S3 server with one bucket; the environment says how to get there, once, since s3fs asks once."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.get_host_and_port()[1]}")
        patch.setenv("AWS_ACCESS_KEY_ID", "me")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("NO_PROXY", ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1"))))
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield
    server.stop()


@pytest.fixture
def bucket(object_store: None, request: pytest.FixtureRequest) -> str:
    """An address with nothing below it."""
    return f"s3://{BUCKET}/{abs(hash(request.node.name))}"


def key(uri: str) -> str:
    """Where something is in the bucket."""
    return uri.removeprefix(f"s3://{BUCKET}/")


def names(uri: str) -> list[str]:
    """What is in the bucket, below an address."""
    import boto3

    prefix = key(uri)
    found = boto3.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    return sorted(item["Key"].removeprefix(f"{prefix}/") for item in found)


@dataclass(frozen=True)
class TrackingServer:
    """An MLflow server, at its address, as a process group of its own."""

    url: str
    process: "subprocess.Popen[bytes]"

    def signal(self, number: signal.Signals) -> None:
        os.killpg(self.process.pid, number)


@pytest.fixture
def tracking_server(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingServer]:
    """A real MLflow server that keeps its records in PostgreSQL and serves artifacts from a folder."""
    folder = tmp_path_factory.mktemp("tracking")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--artifacts-destination", str(folder / "served")]
    command += ["--backend-store-uri", study_url(postgres.database("tracking"))]
    with (folder / "server.txt").open("wb") as log:
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # seven processes less
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    server = TrackingServer(f"http://127.0.0.1:{port}", process)
    yield server
    server.signal(signal.SIGKILL)
    process.wait(20)
