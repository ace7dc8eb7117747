"""The report among the parent run's artifacts: refreshed while a sweep runs, complete at its end."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dashboards import load, ports, publish
from dashboards.errors import ResultsError
from dashboards.records import Sweep
from dashboards.runs import Parent, find_parent
from sweeps.tracking.live_report import LiveReport
from tests import fakes
from tests.studies import Ended, add_sweep


@pytest.fixture
def sweep(swept: Path) -> Sweep:
    return load(swept / "sweeps.db", "digits")


def artifact(sweep: Sweep) -> Path:
    folder = find_parent(sweep).folder
    assert folder is not None
    return folder / publish.ARTIFACT


def written(sweep: Sweep) -> int:
    """When the report was written; it is not removed, for other processes' tests look at it."""
    return artifact(sweep).stat().st_mtime_ns


def test_after_a_launch_the_complete_report_is_an_artifact_of_the_parent_run(sweep: Sweep) -> None:
    page = artifact(sweep).read_text()
    assert "minimize val_loss, finished, started" in page
    assert ">12 of 12<" in page
    assert "Training against validation, trial" in page  # so MLflow had everything by then
    assert [path.name for path in artifact(sweep).parent.iterdir() if path.name.startswith(".")] == []


def test_it_is_refreshed_while_the_sweep_runs_and_once_more_after_ctrl_c(sweep: Sweep, swept: Path) -> None:
    there = [written(sweep)]
    report = LiveReport("digits", f"sqlite:///{swept}/sweeps.db", share=1e6)
    with pytest.raises(KeyboardInterrupt), report:  # noqa: PT012 - what comes before is the test
        report.record(fakes.assignment(0))
        deadline = time.monotonic() + 60
        while written(sweep) in there:
            assert time.monotonic() < deadline, report.problem
            time.sleep(0.1)
        there.append(written(sweep))
        raise KeyboardInterrupt
    assert written(sweep) not in there
    assert (report.refreshes, report.problem) == (2, "")


def test_the_process_that_writes_it_loads_nothing_that_it_does_not_use(swept: Path) -> None:
    code = (
        "import sys; from dashboards.publish import main; code = main()\n"
        "sys.exit(code or [m for m in ('matplotlib', 'sklearn', 'torch', 'ray') if m in sys.modules])"
    )
    asked = json.dumps({"name": "digits", "storage": f"sqlite:///{swept}/sweeps.db"})
    done = subprocess.run(
        [sys.executable, "-c", code], input=asked, text=True, capture_output=True, check=False
    )
    assert done.stderr == "[]\n"


def test_refreshes_wait_until_they_take_a_hundredth_of_the_time() -> None:
    report = LiveReport("digits", "sqlite:///nowhere.db")
    report._began, report._expected = time.monotonic(), 2.0
    assert 199 < report._pause_seconds() <= 200
    report._spent, report._expected = 2.0, 6.0
    assert 799 < report._pause_seconds() <= 800


def test_a_sweep_that_never_began_has_no_report(tmp_path: Path) -> None:
    with LiveReport("digits", f"sqlite:///{tmp_path}/sweeps.db") as report:
        pass
    assert (report.refreshes, report.problem) == (0, "")


def test_a_report_that_cannot_be_written_is_one_line_and_no_error(tmp_path: Path) -> None:
    add_sweep(tmp_path / "sweeps.db", "lost", [Ended("complete", 1.0)])
    with LiveReport("lost", f"sqlite:///{tmp_path}/sweeps.db") as report:
        report.record(fakes.assignment(0))
    assert report.problem.startswith(f"sqlite:///{tmp_path}/mlflow.db: no such MLflow database; run a sweep")


def test_a_server_that_is_down_is_one_line(sweep: Sweep) -> None:
    away = replace(
        sweep, mlflow=sweep.mlflow | {"tracking_uri": f"http://me:secret@127.0.0.1:{ports.free()}"}
    )
    with pytest.raises(ResultsError, match=r"http://me:\*\*\*@.*does not answer"):
        find_parent(away)


@pytest.mark.parametrize(
    ("artifacts", "folder"),
    [
        ("/data/50%2520 #größe/1/artifacts", "/data/50%20 #größe/1/artifacts"),
        ("file:///data/a%20b/artifacts", "/data/a b/artifacts"),
        ("s3://bucket/1/artifacts", None),
        ("mlflow-artifacts:/1/2/artifacts", None),
    ],
)
def test_artifacts_of_this_machine_are_told_from_those_elsewhere(artifacts: str, folder: str | None) -> None:
    assert Parent("1", artifacts).folder == (Path(folder) if folder else None)
