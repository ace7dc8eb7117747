"""Wrong addresses of a Ray cluster; sweeps on one that others started are in `tests.long`."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps import load_spec, run_sweep
from sweeps.errors import UserError
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
