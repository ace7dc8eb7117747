"""Real sweeps on clusters that change or go: nodes, the head, the sweep that has started it."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboards import load
from sweeps.executors.sharing import Place
from tests.chaos.instants import descendants, title
from tests.clusters import Nodes, running, wait_for
from tests.conftest import sweeps, typed
from tests.test_cli import sweep_file
from tests.test_orphans import all_gone

CLUSTER_SWEEP = {
    "budget": {"trials": 500},
    "trainer": {"max_epochs": 3, "accelerator": "cpu", "log_every_n_steps": 4},
}


def launch(folder: Path, **changes: Any) -> "subprocess.Popen[str]":
    """Starts a sweep whose trials take the whole machine, a second each."""
    folder.mkdir()
    sweep_file(
        folder, resources={"gpus": 0, "cpus": os.cpu_count()},
        model={"class_path": "tests.modules.Slow", "init_args": {"seconds": 0.5}}, **changes,
    )  # fmt: skip
    output = (folder / "output.txt").open("w")
    return subprocess.Popen(
        [sys.executable, "-m", "sweeps.cli", "launch", "small.yaml"],
        cwd=folder, stdout=output, stderr=output, text=True,
        env=os.environ | {"COLUMNS": "200"},
    )  # fmt: skip


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    """Two nodes of one CPU each."""
    nodes = Nodes({"num_cpus": 1}, {"num_cpus": 1})
    yield nodes
    nodes.close()


def test_slots_follow_the_nodes_that_come_and_go(nodes: Nodes, tmp_path: Path) -> None:
    sweep_file(
        tmp_path, model={"class_path": "tests.modules.Slow", "init_args": {"seconds": 1.0}}, **CLUSTER_SWEEP
    )
    command = [sys.executable, "-m", "sweeps.cli", "launch", "small.yaml", "--address", nodes.address]
    output = (tmp_path / "output.txt").open("w")
    # This process may be connected to another cluster, and Ray leaves that one's token in its environment.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=output, stderr=output) as process:
        wait_for(lambda: len(running(tmp_path)) == 2)
        third = nodes.add(num_cpus=1)
        wait_for(lambda: len(running(tmp_path)) == 3)
        on_third = running(tmp_path)
        nodes.remove(third, kill=True)
        wait_for(lambda: len(running(tmp_path)) == 2 and not on_third <= running(tmp_path))
        typed("stop", "small", folder=tmp_path)
        assert process.wait(60) == 0
    assert "raylet" not in (tmp_path / "output.txt").read_text()  # nothing that Ray says of itself
    states = [trial.state for trial in load(tmp_path / "sweeps.db", "small").trials]
    assert "failed" not in states  # what ran on the third node went on, or will when the sweep does
    assert states.count("complete") >= 4


def test_a_sweep_ends_in_one_line_when_rays_process_on_its_machine_is_killed(tmp_path: Path) -> None:
    """The rest of the cluster lives, but nothing that this process asks of it begins any more."""
    cluster = Nodes({"num_cpus": 1})
    [raylet] = cluster.raylets()
    cluster.add(num_cpus=1)
    sweep_file(tmp_path, model={"class_path": "tests.modules.Slow"}, **CLUSTER_SWEEP)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    command = [sys.executable, "-m", "sweeps.cli", "launch", "small.yaml", "--address", cluster.address]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for(lambda: len(running(tmp_path)) == 2)
        os.kill(raylet, signal.SIGKILL)
        _, error = process.communicate(timeout=120)
    cluster.close()
    assert process.returncode == 75
    assert error == "sweeps: Ray's own process on this machine was killed; `sweeps resume` goes on\n"
    sweep = load(tmp_path / "sweeps.db", "small")
    assert sweep.summary.state == "interrupted"
    assert "failed" not in [trial.state for trial in sweep.trials]


OWNER = """
import time
from sweeps.executors.cluster import cluster
with cluster():
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps of the test find each other, and no other."""
    (tmp_path / "runtime").mkdir(0o700)
    monkeypatch.setenv("SWEEPS_RUNTIME_DIR", str(tmp_path / "runtime"))


def head_of(owner: int) -> int:
    """The process of the head of a cluster that this one has started."""
    [head] = [pid for pid in descendants(owner) if "gcs_server" in title(pid)]
    return head


def statuses(folder: Path) -> set[str]:
    """Of all runs in MLflow."""
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database:
        return {status for (status,) in database.execute("SELECT status FROM runs")}


def waits(folder: Path) -> bool:
    return "waiting for a free place" in (folder / "output.txt").read_text()


@pytest.mark.usefixtures("runtime")
def test_the_owner_and_who_has_joined_end_in_one_line_when_the_head_is_killed(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with launch(first, budget={"trials": 500}) as owner:
        wait_for(lambda: bool(running(first)))
        with launch(second, budget={"trials": 500}) as joined:
            wait_for(lambda: waits(second))
            there = descendants(owner.pid)
            os.kill(head_of(owner.pid), signal.SIGKILL)
            assert (joined.wait(120), owner.wait(120)) == (75, 75)
    for folder in (first, second):
        shown = (folder / "output.txt").read_text()
        assert "GCS" not in shown  # nothing that Ray says of itself
        assert shown.splitlines()[-1].endswith("; `sweeps resume` goes on")
    assert "the head of the Ray cluster (" in (first / "output.txt").read_text().splitlines()[-1]
    wait_for(all_gone(there))
    assert load(first / "sweeps.db", "small").summary.state == "interrupted"
    assert "RUNNING" not in statuses(first)
    sweeps("resume", "small", "--trials", "3", folder=first)
    assert {trial.state for trial in load(first / "sweeps.db", "small").trials} == {"complete"}


@pytest.mark.usefixtures("runtime")
def test_a_sweep_that_waits_for_the_head_closes_its_study_when_the_owner_is_killed(tmp_path: Path) -> None:
    """What Ray was asked never comes back; the sweep does not wait for that."""
    folder = tmp_path / "joined"
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "ready\n"
        with launch(folder, budget={"trials": 500}) as joined:
            wait_for(lambda: bool(running(folder)))
            os.kill(head_of(owner.pid), signal.SIGSTOP)  # it listens on, and says no more
            time.sleep(3)  # it asks every second
            owner.kill()
            assert joined.wait(120) == 75
    assert "was killed, and the cluster has ended" in (folder / "output.txt").read_text().splitlines()[-1]
    assert load(folder / "sweeps.db", "small").summary.state == "interrupted"
    assert "RUNNING" not in statuses(folder)


@pytest.mark.usefixtures("runtime")
def test_a_second_sweep_joins_the_first_ones_cluster_until_it_is_killed(tmp_path: Path) -> None:
    """It waits for a place; when the first one is done, its process stays; then that is killed."""
    first, second = tmp_path / "first", tmp_path / "second"
    with launch(first, budget={"trials": 500}) as owner:
        wait_for(lambda: bool(running(first)))
        with launch(second, budget={"trials": 500}) as joined:
            wait_for(lambda: waits(second))
            typed("stop", "small", folder=first)
            wait_for(lambda: bool(running(second)))
            assert owner.poll() is None
            said = (first / "output.txt").read_text()
            assert "stopped; `sweeps resume small` goes on with it" in said  # before it waits for the other
            assert "its process stays while other sweeps use the cluster" in said
            owner.kill()
            assert joined.wait(120) == 75
    shown = (second / "output.txt").read_text()
    assert f"joined the cluster of the sweep that runs on this machine already (process {owner.pid})" in shown
    assert shown.splitlines()[-1] == (
        f"sweeps: the sweep that had started the cluster (process {owner.pid}) was killed, and the cluster "
        "has ended with it; `sweeps resume` goes on"
    )
    assert Place(tmp_path / "runtime").running() is None
    done = sweeps("resume", "small", "--trials", "3", folder=second)
    assert "Traceback" not in done.stderr
    trials = load(second / "sweeps.db", "small").trials
    assert [trial.state for trial in trials] == ["complete"] * len(trials)
