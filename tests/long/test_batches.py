"""Batch sizes that real trainings find; `tests/test_batch_size.py` has the parts of the search."""

import json
import signal
from pathlib import Path

import pytest
from rich.console import Console

import dashboards
from sweeps.interruption import Interrupted
from sweeps.planning.check import check
from sweeps.records import Event, Report
from sweeps.sweep import resume_sweep, run_sweep
from tests.browser import wait_for
from tests.conftest import typed
from tests.test_batch_size import PATH, spec
from tests.test_preparing import begun, write_sweep

MODULE = """
import time
from pathlib import Path
from tests.modules import Line

class Slow(Line):
    def training_step(self, batch, batch_idx):
        size = len(batch[0] if isinstance(batch, (list, tuple)) else batch)
        Path(f"{Path(__file__).parent}/size-{size}").touch()
        time.sleep(20 if size > 8 else 0)
        return super().training_step(batch, batch_idx)
"""


class CtrlC:
    """Comes with the first report of a training."""

    def record(self, event: Event) -> None:
        if isinstance(event, Report):
            raise Interrupted(signal.SIGINT)


def test_a_sweep_looks_for_it_first_and_trains_records_and_keeps_it(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    of = spec(trainer={"max_epochs": 2, "accelerator": "cpu"})
    with pytest.raises(Interrupted):
        run_sweep(of, observers=[CtrlC()], say=said.append)
    assert said[0].startswith(f"{PATH}: 15, the largest that fits into a slot's ")
    assert said[0].endswith("of this machine; tried 8, 16, 12, 14, 15")  # 16 ended its worker
    said.clear()
    result = resume_sweep("auto", say=said.append)
    assert not any(PATH in line for line in said)  # it is not looked for again
    sweep = dashboards.load("sweeps.db", "auto")
    assert sweep.trials[0].config["data"]["init_args"]["batch_size"] == 15
    assert sweep.trials[0].effective["batch_size"] == 15
    assert sweep.spec["data"]["init_args"]["batch_size"] == 15  # what `resume` goes on with
    assert len(sweep.trials[0].intermediate) == 2
    assert result.best is not None
    assert sweep.summary.state == "finished"

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    [experiment] = [e for e in client.search_experiments() if e.name == "auto"]
    [parent] = client.search_runs([experiment.experiment_id], "tags.mlflow.runName = 'auto'")
    assert parent.data.params["batch_size.auto"].startswith("15, the largest that fits")


def test_check_measures_advises_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    monkeypatch.chdir(tmp_path)
    console = Console(width=200, record=True)
    of = spec(8, limit=64, oom={"most": 16})
    found = check(of, None, console, measures=True)["measured"]
    settings = {(one["num_workers"], one["batch_size"]): one for one in found["settings"]}
    best = next(iter(workers for workers, batch in settings if batch == 16))
    assert settings.keys() == {(0, 8), (1, 8), (2, 8), (best, 4), (best, 16), (best, 32)}
    assert settings[best, 32]["problem"] == "does not fit into memory"
    assert all(one["samples_per_second"] > 0 for place, one in settings.items() if place[1] != 32)
    assert found["largest"]["size"] == 16
    text = console.export_text()
    assert "Throughput" in text
    assert f"largest batch: {PATH}: 16, the most that `oom.most` allows" in text
    assert json.loads(json.dumps(found))
    assert list(tmp_path.iterdir()) == []


def test_the_search_for_a_batch_size_is_seen_and_ended_from_another_terminal(tmp_path: Path) -> None:
    write_sweep(tmp_path, MODULE, {"batch_size": "auto"})
    with begun(tmp_path, "launch", "s.yaml") as launch:
        wait_for(lambda: any(int(path.name[5:]) > 8 for path in tmp_path.glob("size-*")), 120)
        commands = ["status", "s"], ["export", "s"], ["report", "s"], ["dashboard", "s"], ["launch", "s.yaml"]
        for words in commands:
            refused = typed(*words, folder=tmp_path, code=2)
            assert f"sweeps: s is being launched by process {launch.pid}, which prepares it" in refused.stderr
        assert typed("stop", "s", folder=tmp_path).stdout.startswith("s ends before its first trial")
        said = launch.communicate(timeout=60)[0]
    assert launch.returncode == 128 + signal.SIGTERM
    assert said.endswith(
        "s was interrupted before its first trial; nothing of it is left, so launch it again\n"
    )
    assert not list(tmp_path.glob("*.db*"))
    assert "no sweep 's'" in typed("stop", "s", folder=tmp_path, code=2).stderr
