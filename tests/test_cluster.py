"""Sweeps on a Ray cluster that others started; wrong addresses. Nodes come and go in `tests.long`."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dashboards import load
from sweeps import load_spec, run_sweep
from sweeps.errors import UserError
from tests.clusters import Nodes
from tests.test_cli import sweep_file


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
        pytest.param("ray://10.0.0.1:10001", "with --address 10.0.0.1:6379, or send it there: ray job submit",
                     id="Ray Client's"),
        pytest.param("", "is empty; give HOST:PORT", id="empty"),
        pytest.param("auto", "no Ray cluster was started on this machine with `ray start`", id="none here"),
        pytest.param("OTHER", "something else than a Ray cluster answers there", id="not Ray"),
    ],
)  # fmt: skip
def test_a_wrong_address_is_one_line_and_leaves_nothing_behind(
    tmp_path: Path,
    address: str,
    expected: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sweep_file(tmp_path)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where `ray start` has noted nothing
    if address == "OTHER":
        address = request.getfixturevalue("other_server")
    spec = load_spec(tmp_path / "small.yaml", files=str(tmp_path), tracking_uri=f"sqlite:///{tmp_path}/m.db")
    with pytest.raises(UserError) as caught:
        run_sweep(spec, storage=str(tmp_path / "s.db"), address=address)
    assert str(caught.value).startswith(f"--address {address}".strip() + ": ")
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
        time.sleep(0.5)  # a look reads the whole study
