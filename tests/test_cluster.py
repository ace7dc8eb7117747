"""Sweeps on a Ray cluster that others started: one of two nodes, and addresses that lead nowhere."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboards import load
from sweeps import load_spec, run_sweep
from sweeps.errors import UserError
from tests.clusters import Nodes
from tests.conftest import sweeps
from tests.test_cli import sweep_file


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """Two nodes of one CPU each, one with a pretended H100."""
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


def small(folder: Path, **changes: Any) -> None:
    sweep_file(folder, model={"class_path": "tests.modules.Line"}, **changes)


def status(folder: Path, name: str = "small") -> dict[str, Any]:
    read: dict[str, Any] = json.loads(sweeps("status", name, "--json", folder=folder).stdout)
    return read


def test_a_sweep_runs_on_a_cluster_by_its_address_and_leaves_it_running(nodes: Nodes, tmp_path: Path) -> None:
    sweep_file(
        tmp_path, model={"class_path": "mine.Mine"},
        resources={"cpus": 0.5, "gpus": 0.5, "accelerator": "H10"},
    )  # fmt: skip
    (tmp_path / "mine.py").write_text(MINE)
    here = ["--address", nodes.address]
    refused = sweeps("launch", "small.yaml", *here, folder=tmp_path, code=2)
    assert "resources.accelerator: there is no 'H10' here, did you mean 'H100'?" in refused.stderr
    sweeps("launch", "small.yaml", *here, "--set", "resources.accelerator=H100", folder=tmp_path)
    sweeps("resume", "small", "--trials", "+2", *here, folder=tmp_path)
    trials = status(tmp_path)["trials"]
    assert [trial["state"] for trial in trials] == ["complete"] * 8
    assert len({trial["worker"] for trial in trials}) == 2
    [log] = tmp_path.glob("sweep-files/*/trial-0/log.txt")
    [line] = [line for line in log.read_text().splitlines() if line.startswith("mine.py is in ")]
    assert not line.endswith(str(tmp_path))  # the worker had a copy, as on another machine


@pytest.fixture
def other_server() -> Iterator[str]:
    """The address of something that is not Ray."""
    server = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = server.accept()
        connection.recv(100)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        connection.close()

    thread = threading.Thread(target=answer)
    thread.start()
    yield f"127.0.0.1:{server.getsockname()[1]}"
    thread.join()
    server.close()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        pytest.param("127.0.0.1:1", "no Ray cluster there (Connection refused)", id="nothing there"),
        pytest.param("no-such-host.invalid:6379", "no Ray cluster there (", id="no such host"),
        pytest.param("nonsense", "not an address; give HOST:PORT", id="no port"),
        pytest.param("http://127.0.0.1:8265", "not an address; give HOST:PORT", id="the dashboard's"),
        pytest.param("127.0.0.1:99999", "not an address; give HOST:PORT", id="no such port"),
        pytest.param("OTHER", "something else than a Ray cluster answers there", id="not Ray"),
    ],
)
def test_a_wrong_address_is_one_line_and_leaves_nothing_behind(
    tmp_path: Path, address: str, expected: str, request: pytest.FixtureRequest
) -> None:
    small(tmp_path)
    if address == "OTHER":
        address = request.getfixturevalue("other_server")
    spec = load_spec(tmp_path / "small.yaml", files=str(tmp_path), tracking_uri=f"sqlite:///{tmp_path}/m.db")
    with pytest.raises(UserError) as caught:
        run_sweep(spec, storage=str(tmp_path / "s.db"), address=address)
    assert str(caught.value).startswith(f"--address {address}: ")
    assert expected in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.yaml", "tests"]


def test_the_environment_names_a_cluster_too() -> None:
    # In a process that is connected to none, as this one may be.
    code = "from sweeps.executors.cluster import cluster\nwith cluster(): pass"
    environment = os.environ | {"RAY_ADDRESS": "127.0.0.1:1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert "RAY_ADDRESS 127.0.0.1:1: no Ray cluster there" in done.stderr


CLUSTER_SWEEP = {
    "budget": {"trials": 500},
    "trainer": {"max_epochs": 3, "accelerator": "cpu", "log_every_n_steps": 4},
}


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
        sweeps("stop", "small", folder=tmp_path)
        assert process.wait(60) == 0
    assert "raylet" not in (tmp_path / "output.txt").read_text()  # nothing that Ray says of itself
    trials = status(tmp_path)["trials"]
    states = {trial["number"]: trial["state"] for trial in trials}
    assert "failed" not in states.values()  # what ran on the third node went on, or will when the sweep does
    assert list(states.values()).count("complete") >= 4


def running(folder: Path) -> set[int]:
    """The trials that have a slot: each has begun its log, and has not ended."""
    if not (folder / "sweep-files").exists():
        return set()
    begun = {int(path.parent.name.removeprefix("trial-")) for path in folder.glob("sweep-files/*/*/log.txt")}
    trials = load(folder / "sweeps.db", "small").trials
    return begun & {trial.number for trial in trials if trial.state == "running"}


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Waits until it holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.2)
