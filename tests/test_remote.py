"""Files on an object store: an S3 server on the loopback, and what becomes of a checkpoint that was cut."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from mlflow import MlflowClient
from moto.server import ThreadedMotoServer

from dashboards.errors import ResultsError
from dashboards.tracking import upload
from sweeps.errors import UserError
from sweeps.records import Answer, Assignment, Outcome, Report, State
from sweeps.remote import RemoteFolder, remote_folder
from tests.conftest import sweeps
from tests.test_cli import sweep_file
from tests.test_trial import new_worker

BUCKET = "trials"


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    """An S3 server with one bucket; the environment says how to get there, once, since s3fs asks once."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.get_host_and_port()[1]}")
        patch.setenv("AWS_ACCESS_KEY_ID", "me")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("NO_PROXY", "127.0.0.1")
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield
    server.stop()


@pytest.fixture
def bucket(server: None, request: pytest.FixtureRequest) -> str:
    """An address with nothing below it."""
    return f"s3://{BUCKET}/{abs(hash(request.node.name))}"


def key(uri: str) -> str:
    """Where something is in the bucket."""
    return uri.removeprefix(f"s3://{BUCKET}/")


def names(uri: str) -> list[str]:
    """What is in the bucket, below an address."""
    prefix = key(uri)
    found = boto3.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    return sorted(item["Key"].removeprefix(f"{prefix}/") for item in found)


def train(worker: Any, epochs: int, attempt: int = 0) -> tuple[list[Report], Outcome]:
    """Trains trial 0, a line, for some epochs."""
    config = {
        "seed_everything": 0, "model": {"class_path": "tests.modules.Line"},
        "data": {"class_path": "tests.modules.Data"}, "trainer": {"max_epochs": epochs, "accelerator": "cpu"},
    }  # fmt: skip
    known = 2 if attempt else 0
    event, reports = worker.exchange(Assignment(0, {}, config, attempt, known)), []
    while isinstance(event, Report):
        reports.append(event)
        event = worker.exchange(Answer(0, stop=False))
    return reports, event


def test_a_trial_keeps_its_files_in_the_store_and_goes_on_from_there(bucket: str, tmp_path: Path) -> None:
    reports, outcome = train(new_worker(tmp_path, store=bucket), epochs=2)
    assert (len(reports), outcome.state) == (2, State.COMPLETE)
    assert names(bucket) == ["trial-0/best.ckpt", "trial-0/last.ckpt", "trial-0/log.txt"]
    reports, outcome = train(new_worker(tmp_path, store=bucket), epochs=4, attempt=1)
    assert [report.step for report in reports] == [3, 4]
    assert outcome.state is State.COMPLETE
    assert list(tmp_path.iterdir()) == []  # nothing stays on the worker's disk


def test_a_checkpoint_that_was_cut_is_not_used_but_the_one_before(bucket: str, tmp_path: Path) -> None:
    train(new_worker(tmp_path, store=bucket), epochs=2)
    store = boto3.client("s3")
    whole = store.get_object(Bucket=BUCKET, Key=key(bucket) + "/trial-0/last.ckpt")["Body"].read()
    store.put_object(Bucket=BUCKET, Key=key(bucket) + "/trial-0/previous.ckpt", Body=whole)
    store.put_object(Bucket=BUCKET, Key=key(bucket) + "/trial-0/last.ckpt", Body=whole[: len(whole) // 2])
    reports, _ = train(new_worker(tmp_path, store=bucket), epochs=3, attempt=1)
    assert [report.step for report in reports] == [3]
    log = store.get_object(Bucket=BUCKET, Key=key(bucket) + "/trial-0/log.txt")["Body"].read().decode()
    assert "cannot be read" in log


def test_at_every_instant_of_a_save_there_is_a_whole_checkpoint(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RemoteFolder(bucket) / "trial-0"
    checkpoint = tmp_path / "last.ckpt"
    checkpoint.write_text("first")
    folder.send_checkpoint(checkpoint, is_best=True)
    checkpoint.write_text("second")
    system, _ = folder._place
    for steps in range(3):  # the connection is gone after so many steps
        left = itertools.count(steps, -1)

        def or_gone(real: Callable[..., Any], left: Iterator[int] = left) -> Callable[..., Any]:
            def call(*arguments: Any) -> Any:
                if next(left) <= 0:
                    raise OSError("gone")
                return real(*arguments)

            return call

        with monkeypatch.context() as patch:
            for name in ("put_file", "mv"):
                patch.setattr(system, name, or_gone(getattr(system, name)))
            with pytest.raises(OSError, match="gone"):
                folder.send_checkpoint(checkpoint, is_best=False)
        there = [folder.read(name) for name in ("last.ckpt", "previous.ckpt") if folder.has(name)]
        assert set(there) <= {b"first", b"second"}
        assert there


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        pytest.param("s3://no-such-bucket/x", "bucket does not exist", id="no such bucket"),
        pytest.param("s4://b/x", "no file system 's4', did you mean 's3'?", id="no such protocol"),
        pytest.param("gs://b/x", "pip install 'gcsfs'", id="a package is missing"),
    ],
)
@pytest.mark.usefixtures("server")
def test_a_store_that_cannot_be_used_is_one_line(uri: str, reason: str) -> None:
    with pytest.raises(UserError) as caught:
        remote_folder(uri, "small")
    assert str(caught.value).startswith(f"files: {uri}")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_a_store_that_holds_an_earlier_sweep_is_refused(bucket: str) -> None:
    boto3.client("s3").put_object(Bucket=BUCKET, Key=key(bucket) + "/small/trial-0/log.txt", Body=b"x")
    with pytest.raises(UserError, match="holds the files of an earlier sweep"):
        remote_folder(bucket, "small")
    assert names(bucket) == ["small/trial-0/log.txt"]


def test_a_sweep_from_launch_to_export_with_its_files_in_the_store(bucket: str, tmp_path: Path) -> None:
    sweep_file(tmp_path, model={"class_path": "tests.modules.Line"}, files=bucket, budget={"trials": 3})
    sweeps("launch", "small.yaml", folder=tmp_path)
    sweeps("resume", "small", "--trials", "+1", folder=tmp_path)
    assert (
        f"logs and checkpoints: {bucket}/small/trial-NUMBER"
        in sweeps("status", "small", folder=tmp_path).stdout
    )
    assert "Traceback" not in sweeps("logs", "small", "0", folder=tmp_path).stdout
    sweeps("export", "small", "-o", "best.yaml", folder=tmp_path)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    [parent] = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    best = parent.data.tags["best_trial"]
    assert "best/best.ckpt" in {file.path for file in client.list_artifacts(parent.info.run_id, "best")}
    # Artifacts may be there, too: the way that the report takes.
    elsewhere = client.create_experiment("elsewhere", artifact_location=f"{bucket}/mlflow")
    run = client.create_run(elsewhere).info.run_id
    upload(f"sqlite:///{tmp_path}/mlflow.db", run, tmp_path / "best.yaml")
    assert names(f"{bucket}/mlflow") == [f"{run}/artifacts/best.yaml"]
    gone = client.create_experiment("gone", artifact_location="s3://no-such-bucket/mlflow")
    run = client.create_run(gone).info.run_id
    with pytest.raises(ResultsError, match=r"mlflow.db: takes no artifact: .*(NoSuchBucket|not exist)"):
        upload(f"sqlite:///{tmp_path}/mlflow.db", run, tmp_path / "best.yaml")
    kept = [name for name in names(f"{bucket}/small") if name.endswith(".ckpt")]
    assert kept == [f"trial-{best}/best.ckpt", f"trial-{best}/last.ckpt"]
    assert not (tmp_path / "sweep-files").exists()
