"""A sweep with everything elsewhere: the workers on a cluster, the study, the records and the files."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from mlflow import MlflowClient

from sweeps.records import Started
from sweeps.storages.uris import study_url
from sweeps.tracking import live_report
from sweeps.tracking.live_report import LiveReport
from tests.clusters import Nodes
from tests.conftest import sweeps, typed
from tests.postgres import PASSWORD, Server
from tests.stores import TrackingServer, names
from tests.test_cli import sweep_file


@pytest.fixture(scope="module")
def nodes(object_store: None) -> Iterator[Nodes]:
    """Two nodes of one CPU each, one with a pretended H100; both have the keys of the object store."""
    nodes = Nodes({"num_cpus": 1}, {"num_cpus": 1, "num_gpus": 1, "resources": {"accelerator_type:H100": 1}})
    yield nodes
    nodes.close()


MINE = """
from pathlib import Path
from tests.modules import Line

class Mine(Line):
    def on_fit_start(self):
        print("mine.py is in", Path(__file__).parent)
"""


def test_a_sweep_with_everything_elsewhere(
    nodes: Nodes, postgres: Server, tracking_server: TrackingServer, bucket: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Workers on a cluster, the study in PostgreSQL, records on an MLflow server, files in a store."""
    url = postgres.database("studies")
    monkeypatch.setenv("PG_PASSWORD", PASSWORD)
    note_as_ray_start_does(nodes.address, tmp_path / "temp", monkeypatch)
    folder = tmp_path / "sweep"
    folder.mkdir()
    sweep_file(
        folder, model={"class_path": "mine.Mine"}, budget={"trials": 4},
        resources={"cpus": 0.5, "gpus": 0.5, "accelerator": "H100"}, files=bucket,
        storage=url.replace(PASSWORD, "${PG_PASSWORD}"), tracking_uri=tracking_server.url,
    )  # fmt: skip
    (folder / "mine.py").write_text(MINE)
    here = {path.name for path in folder.iterdir()}
    where = ("--storage", url)
    shown = [sweeps("launch", "small.yaml", "--address", nodes.address, folder=folder)]
    shown.append(sweeps("resume", "small", "--trials", "+1", "--address", "auto", *where, folder=folder))
    assert PASSWORD not in "".join(done.stdout + done.stderr for done in shown)
    status = json.loads(typed("status", "small", "--json", *where, folder=folder).stdout)
    assert [trial["state"] for trial in status["trials"]] == ["complete"] * 5
    assert len({trial["worker"] for trial in status["trials"]}) == 2
    log = typed("logs", "small", "0", *where, folder=folder).stdout
    [line] = [line for line in log.splitlines() if line.startswith("mine.py is in ")]
    assert not line.endswith(str(folder))  # the worker had a copy, as on another machine
    typed("export", "small", "-o", "best.yaml", *where, folder=folder)
    assert {path.name for path in folder.iterdir()} == here | {"best.yaml"}
    study = optuna.load_study(study_name="small", storage=study_url(url))
    assert PASSWORD not in str(study.user_attrs)
    best = study.best_trial.number
    kept = [name for name in names(f"{bucket}/small") if name.endswith(".ckpt")]
    assert kept == [f"trial-{best}/best.ckpt", f"trial-{best}/last.ckpt"]

    client = MlflowClient(tracking_server.url)
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 6
    [parent] = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert parent.data.tags["best_trial"] == str(best)
    artifacts = {file.path for file in client.list_artifacts(parent.info.run_id, "best")}
    assert artifacts == {"best/best.ckpt", "best/config.yaml"}
    page = Path(client.download_artifacts(parent.info.run_id, "report.html", str(tmp_path))).read_text()
    assert ">5 of 5<" in page
    assert "Training against validation, trial" in page
    assert PASSWORD not in page

    # A server that hangs, or is gone: whoever sweeps hears in one line why the report is missing.
    tracking_server.signal(signal.SIGSTOP)
    assert problem_of_a_report(url, monkeypatch, 3.0) == "it took more than 3 s"
    tracking_server.signal(signal.SIGKILL)
    gone = problem_of_a_report(url, monkeypatch, 60.0)
    assert gone.startswith(f"{tracking_server.url}: the MLflow server does not answer: ")


def note_as_ray_start_does(address: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Makes `auto` lead to a cluster."""
    (folder / "ray").mkdir(parents=True)
    (folder / "ray" / "ray_current_cluster").write_text(address)
    patch.setenv("TMPDIR", str(folder))


def problem_of_a_report(url: str, patch: pytest.MonkeyPatch, seconds: float) -> str:
    """What keeps the report away from MLflow, at the end of a sweep."""
    with patch.context() as limited:
        limited.setattr(live_report, "LONGEST_END_SECONDS", seconds)
        live = LiveReport("small", study_url(url))
        with live:
            live.record(Started(0, 0.0))
    return live.problem
