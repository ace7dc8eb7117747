"""PostgreSQL as the study database and below a real MLflow server; first creation, passwords, outages."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path

import optuna
import psycopg
import pytest
from mlflow import MlflowClient

from sweeps import live_report
from sweeps.errors import UserError
from sweeps.live_report import LiveReport
from sweeps.records import Started
from sweeps.storage import open_storage, study_names, study_url
from tests.conftest import sweeps
from tests.postgres import PASSWORD, Server
from tests.test_cli import sweep_file


def test_the_server_comes_back_after_a_crash_with_what_it_held(postgres: Server) -> None:
    url = postgres.database("comes_back")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    postgres.stop(signal.SIGQUIT)
    postgres.start()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (7,)


def create(url: str, name: str, barrier: Barrier) -> None:
    """In a process of its own: opens the database when all others do, and makes a study."""
    barrier.wait()
    optuna.create_study(storage=open_storage(study_url(url)), study_name=name)


def test_processes_that_open_an_empty_database_at_once_all_succeed(postgres: Server) -> None:
    url = postgres.database("at_once")
    assert study_names(study_url(url)) == []  # looking makes nothing
    spawn = multiprocessing.get_context("forkserver")
    spawn.set_forkserver_preload(["optuna", "sqlalchemy", "psycopg", "sweeps.storage"])
    barrier = spawn.Barrier(4)
    processes = [spawn.Process(target=create, args=(url, f"s{number}", barrier)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert sorted(study_names(study_url(url))) == ["s0", "s1", "s2", "s3"]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        pytest.param("postgresql://me:W0rd@127.0.0.1:1/db", "Connection refused", id="nothing there"),
        pytest.param("postgresql://sweeper:W0rd@SERVER/db", "password authentication failed", id="wrong"),
        pytest.param(f"postgresql://sweeper:{PASSWORD}@SERVER/db", '"db" does not exist', id="no database"),
        pytest.param("postgresql+psycopg2://me:W0rd@SERVER/db", "pip install 'lightning-sweeps[postgres]'",
                     id="no driver"),
    ],
)  # fmt: skip
def test_a_server_that_cannot_be_used_is_one_line_without_the_password(
    postgres: Server, url: str, reason: str
) -> None:
    with pytest.raises(UserError) as caught:
        open_storage(study_url(url.replace("SERVER", f"127.0.0.1:{postgres.port}")))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "W0rd" not in str(caught.value)


@dataclass(frozen=True)
class TrackingServer:
    """An MLflow server, at its address, as a process group of its own."""

    url: str
    process: "subprocess.Popen[bytes]"

    def signal(self, number: signal.Signals) -> None:
        os.killpg(self.process.pid, number)


@pytest.fixture
def tracking_server(postgres: Server, tmp_path: Path) -> Iterator[TrackingServer]:
    """A real MLflow server that keeps its records in PostgreSQL and serves artifacts from a folder."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--artifacts-destination", str(tmp_path / "served")]
    command += ["--backend-store-uri", study_url(postgres.database("tracking"))]
    with (tmp_path / "server.txt").open("wb") as log:
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # seven processes less
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
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


def test_a_sweep_keeps_its_study_in_postgresql_and_its_records_on_a_server(
    postgres: Server, tracking_server: TrackingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "sweep"
    folder.mkdir()
    url = postgres.database("studies")
    monkeypatch.setenv("PG_PASSWORD", PASSWORD)
    sweep_file(
        folder, model={"class_path": "tests.modules.Line"}, tracking_uri=tracking_server.url,
        storage=url.replace(PASSWORD, "${PG_PASSWORD}"),
    )  # fmt: skip
    shown = sweeps("launch", "small.yaml", folder=folder)
    shown = sweeps("resume", "small", "--trials", "+1", "--storage", url, folder=folder)
    assert PASSWORD not in shown.stdout + shown.stderr
    table = sweeps("status", "small", "--storage", url, folder=folder).stdout
    assert "7/7 finished" in table
    sweeps("export", "small", "-o", "best.yaml", "--storage", url, folder=folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "best.yaml",
        "small.yaml",
        "sweep-files",
        "tests",
    ]
    client = MlflowClient(tracking_server.url)
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 8
    [parent] = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert {file.path for file in client.list_artifacts(parent.info.run_id, "best")} == {
        "best/best.ckpt", "best/config.yaml"
    }  # fmt: skip
    study = optuna.load_study(study_name="small", storage=study_url(url))
    assert PASSWORD not in str(study.user_attrs)
    page = Path(client.download_artifacts(parent.info.run_id, "report.html", str(tmp_path))).read_text()
    assert ">7 of 7<" in page
    assert "Training against validation, trial" in page
    assert PASSWORD not in page

    # A server that hangs, or is gone: the report is missing, and whoever sweeps hears why in one line.
    live = LiveReport("small", study_url(url))
    monkeypatch.setattr(live_report, "LONGEST_END_SECONDS", 4.0)
    tracking_server.signal(signal.SIGSTOP)
    with live:
        live.record(Started(0, 0.0))
    assert live.problem == "it took more than 4 s"
    tracking_server.signal(signal.SIGKILL)
    live = LiveReport("small", study_url(url))
    with live:
        live.record(Started(0, 0.0))
    assert live.problem.startswith(f"{tracking_server.url}: the MLflow server does not answer: ")
