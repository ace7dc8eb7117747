"""Files on an object store, and what becomes of a checkpoint that was cut. A sweep: `test_cluster.py`."""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
import torch
from mlflow import MlflowClient

from dashboards.errors import ResultsError
from dashboards.tracking import upload
from sweeps.context import TrialContext
from sweeps.errors import UserError
from sweeps.planning.plan import context_of, inspect
from sweeps.records import Answer, Assignment, Outcome, Report, State
from sweeps.remote import RemoteFolder, remote_folder, show_log
from sweeps.start_up import workers
from sweeps.sweep_file.loading import load_spec
from sweeps.training.folder import trial_folder
from tests import fakes
from tests.live_sweeps import places_in
from tests.stores import BUCKET, key, names
from tests.test_cli import sweep_file
from tests.test_trial import Run, new_worker, run

__all__ = ["run"]  # a fixture


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


def test_a_log_in_a_store_is_followed_until_its_trial_has_ended(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sweeps.remote.POLL_SECONDS", 0.01)
    folder, local = RemoteFolder(bucket) / "trial-0", tmp_path / "log.txt"
    said = iter(["one\n", "one\n", "one\ntwo\n", "other\n", "other\nlast\n"])  # the fourth: a new attempt

    def is_whole() -> bool:
        local.write_text(text := next(said))
        folder.send(local, "log.txt")
        return text.endswith("last\n")

    show_log(folder, is_whole)
    assert capsys.readouterr().out == "one\ntwo\nother\nlast\n"


def test_a_log_that_is_not_in_the_store_is_one_line(bucket: str) -> None:
    with pytest.raises(UserError, match=r"trial-7/log\.txt: no log yet"):
        show_log(RemoteFolder(bucket) / "trial-7", lambda: True)


def test_the_local_folder_of_a_trial_is_named_as_without_a_store(bucket: str) -> None:
    context = TrialContext("val_loss", True, "best", Path("nowhere"), (), store=bucket)
    with trial_folder(context, 7, goes_on=False) as folder:
        assert folder.is_dir()
        assert (folder.name, folder.parent.name) == ("trial-7", bucket.rpartition("/")[2])


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


def test_a_store_that_is_away_costs_a_checkpoint_and_gets_the_best_one_later(
    run: Run, tmp_path: Path
) -> None:
    there, away = tmp_path / "store", tmp_path / "away"
    there.mkdir()

    def outage(report: Report) -> bool:
        if report.step == 1:  # the best checkpoint, of validation 2, finds a file where its folder was
            there.rename(away)
            there.touch()
        if report.step == 4:  # sent after the checkpoint of validation 3 was taken: the one before is done
            there.unlink()
            away.rename(there)
        return False

    worker = new_worker(tmp_path / "files", store=f"file://{there}")
    values = [3.0, 1.0, 2.0, 2.0, 2.0, 2.0]
    reports, outcome = run(
        "Scheduled", {"values": values}, trainer={"max_epochs": 6}, stop=outage, worker=worker
    )
    assert (len(reports), outcome.state, outcome.value) == (6, State.COMPLETE, 1.0)
    assert outcome.reason.startswith("no checkpoint of validation ")
    folder = there / "trial-0"
    assert {path.name for path in folder.iterdir()} >= {"best.ckpt", "last.ckpt", "log.txt"}
    epochs = [torch.load(folder / name, weights_only=True)["epoch"] for name in ("best.ckpt", "last.ckpt")]
    assert epochs == [1, 5]


def test_a_store_that_is_away_is_waited_for_when_a_trial_goes_on_and_is_then_no_fault_of_the_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    there = tmp_path / "store"
    there.mkdir()
    worker = new_worker(tmp_path / "files", store=f"file://{there}")
    train(worker, epochs=2)
    broken = OSError("the store is being moved")
    fetch, calls = RemoteFolder.fetch, itertools.count()

    def fetched(folder: RemoteFolder, name: str, target: Path) -> bool:
        if next(calls) in outage:
            raise broken
        return fetch(folder, name, target)

    monkeypatch.setattr(RemoteFolder, "fetch", fetched)
    outage = range(1, 3)
    reports, outcome = train(worker, epochs=3, attempt=1)
    assert ([report.step for report in reports], outcome.state) == ([3], State.COMPLETE)
    assert capfd.readouterr().out.count("the store is being moved; waiting") == 2

    worker = new_worker(tmp_path / "files", store=f"file://{there}", patience=0.3)
    calls, outage = itertools.count(), range(1000)
    _, outcome = train(worker, epochs=4, attempt=2)
    assert (outcome.state, outcome.lost) == (State.FAILED, True)  # and goes on as one that lost its worker
    assert outcome.reason == f"StoreAway: file://{there}/trial-0: the store is being moved"


def test_a_store_that_refuses_a_trial_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> bool:
        raise PermissionError("no key")

    monkeypatch.setattr(RemoteFolder, "fetch", refused)
    worker = new_worker(tmp_path / "files", store=f"file://{tmp_path}/store", patience=300.0)
    began = time.monotonic()
    _, outcome = train(worker, epochs=1, attempt=1)
    assert (outcome.reason, outcome.lost) == (f"StoreAway: file://{tmp_path}/store/trial-0: no key", True)
    assert time.monotonic() - began < 100


def test_a_trial_waits_for_the_store_as_long_as_the_driver_for_its_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWEEPS_PATIENCE", "7.5")
    assert context_of(fakes.spec(), tmp_path, 0.0, "s3://bucket/sweep").patience == 7.5


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        pytest.param("s3://no-such-bucket/x", "bucket does not exist", id="no such bucket"),
        pytest.param("s4://b/x", "no file system 's4', did you mean 's3'?", id="no such protocol"),
        pytest.param("s3://", "names no place there", id="no bucket"),
        pytest.param("memory://x", "is gone with the process that writes it", id="memory"),
        pytest.param("gs://b/x", "pip install 'gcsfs'", id="a package is missing"),
    ],
)
@pytest.mark.usefixtures("object_store")
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


@pytest.mark.usefixtures("object_store")
def test_a_worker_that_cannot_write_there_is_told_before_anything_is_created(tmp_path: Path) -> None:
    """The driver may have keys that the environment of a worker's node has not."""
    sweep_file(tmp_path, model={"class_path": "tests.modules.Line"})
    spec = load_spec(tmp_path / "small.yaml")
    found = inspect(context_of(spec, tmp_path, 0.0, "s3://no-such-bucket/small"), spec, True).problem
    assert found is not None
    assert found[0] == "files"
    assert found[1].startswith("s3://no-such-bucket/small: cannot be written: ")
    assert found[1].endswith("; a worker takes its keys from the environment of its own node")


def test_artifacts_may_be_in_the_store_too(bucket: str, tmp_path: Path) -> None:
    """The way that the report takes."""
    tracking, page = f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "page.html"
    page.touch()
    client = MlflowClient(tracking)
    there = client.create_experiment("there", artifact_location=f"{bucket}/mlflow")
    run = client.create_run(there).info.run_id
    upload(tracking, run, page)
    assert names(f"{bucket}/mlflow") == [f"{run}/artifacts/page.html"]
    gone = client.create_experiment("gone", artifact_location="s3://no-such-bucket/mlflow")
    run = client.create_run(gone).info.run_id
    with pytest.raises(ResultsError, match=r"mlflow.db: takes no artifact: .*(NoSuchBucket|not exist)"):
        upload(tracking, run, page)


def test_a_trial_that_goes_on_has_the_time_that_its_store_may_take_beside_its_own(
    bucket: str, ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWEEPS_PATIENCE", "7.5")
    sweep_file(tmp_path, model={"class_path": "tests.modules.Line"}, budget={"trials": 1})
    spec = load_spec(tmp_path / "small.yaml")
    where = replace(places_in(tmp_path), store=bucket)
    with workers(spec, where, None, pytest.fail) as (executor, *_):
        assert executor._grace_seconds == 7.5
