"""A cluster that goes while a sweep runs on it: its head is killed, or answers nothing any more."""

import contextlib
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dashboards import load
from sweeps.errors import ClusterLost
from sweeps.executors.life import Life, asked, lives, watched
from tests.chaos.instants import descendants, title
from tests.conftest import sweeps
from tests.test_cluster import running, wait_for
from tests.test_orphans import all_gone
from tests.test_sharing import launch

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


def listens() -> tuple[socket.socket, str]:
    server = socket.create_server(("127.0.0.1", 0))
    return server, f"127.0.0.1:{server.getsockname()[1]}"


def test_what_the_cluster_answers_comes_back_as_it_is_until_the_cluster_has_gone() -> None:
    server, address = listens()
    with server, watched(Life(address)):
        assert asked(lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            asked(lambda: 1 // 0)
        with pytest.raises(ClusterLost, match=re.escape(f"({address}) is gone")):
            asked(lambda: (server.close(), threading.Event().wait()))
        with pytest.raises(ClusterLost):
            asked(lambda: 7)
    assert asked(lambda: 7) == 7  # connected to no cluster that we know


def test_the_head_of_a_cluster_that_others_started_may_come_back() -> None:
    server, address = listens()
    server.close()
    with watched(Life(address, away_seconds=600)):
        assert lives()
        assert asked(lambda: 7) == 7
    with watched(life := Life(address, away_seconds=0.01)):
        wait_for(lambda: not lives())
        assert life.lost
