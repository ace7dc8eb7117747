"""Real sweeps whose MLflow server is slow, freezes and dies, and whose databases other processes lock."""

import contextlib
import http.client
import http.server
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

from tests.browser import wait_for
from tests.chaos.checker import check
from tests.chaos.instants import ended_trials, sweep_file
from tests.conftest import sweeps as sweeps  # it starts Ray; see there
from tests.test_patience import locked

TRIALS, EPOCHS = 8, 5

Start = Callable[..., "subprocess.Popen[bytes]"]


class Server:
    """A real `mlflow server` on the database of a folder; at the same address after each start."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = ["-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db",
                   "--artifacts-destination", str(self._folder / "artifacts"), "--port", str(self.port),
                   "--workers", "1"]  # fmt: skip
        with (self._folder / "server.txt").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *command], cwd=self._folder, start_new_session=True, stdout=log, stderr=log
            )
        wait_for(self.answers, 120)

    def answers(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the server and its workers; it has a process group of its own."""
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        if self._process:
            self._process.wait()


class Slow(http.server.BaseHTTPRequestHandler):
    """Passes requests on, and the answers some seconds later."""

    protocol_version = "HTTP/1.0"
    server: "Proxy"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with contextlib.suppress(OSError, http.client.HTTPException):  # as the server's, the connection ends
            connection = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=30)
            headers = {key: value for key, value in self.headers.items() if key.lower() != "host"}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            self.server.closing.wait(self.server.delay)
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.end_headers()
            self.wfile.write(content)

    do_GET = do_PUT = do_PATCH = do_DELETE = do_POST  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


class Proxy(http.server.ThreadingHTTPServer):
    """What the sweep takes for the server."""

    daemon_threads = True
    target, delay = 0, 0.0

    def __init__(self, target: int) -> None:
        super().__init__(("127.0.0.1", 0), Slow)
        self.target, self.closing = target, threading.Event()
        self.uri = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sweep_file(tmp_path)
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    made = Server(folder)
    made.start()
    yield made
    made.send(signal.SIGCONT)
    made.kill()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    made = Proxy(server.port)
    yield made
    made.closing.set()
    made.shutdown()
    made.server_close()


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def run(*arguments: str, **environment: str) -> "subprocess.Popen[bytes]":
        with (folder / "output.txt").open("ab") as log:
            started.append(subprocess.Popen(
                [sys.executable, "-m", "sweeps.cli", *arguments], cwd=folder, stdout=log, stderr=log,
                env=os.environ | {"COLUMNS": "300"} | environment,
            ))  # fmt: skip
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()


def output(folder: Path) -> str:
    return (folder / "output.txt").read_text()


def consistent(folder: Path) -> None:
    check(folder, "chaos", trials=TRIALS, epochs=EPOCHS, batches=8, log_every=4)


def wait_for_trials(folder: Path, process: "subprocess.Popen[bytes]", count: int) -> None:
    """Until so many more trials have ended, while the sweep runs."""
    wanted = ended_trials(folder) + count
    wait_for(lambda: ended_trials(folder) >= wanted or process.poll() is not None, 120)
    assert process.poll() is None, output(folder)


def test_a_server_that_is_slow_then_frozen_then_dead_gets_all_of_it_once(
    folder: Path, server: Server, proxy: Proxy, start: Start
) -> None:
    journal = folder / "sweep-files" / "chaos" / "journal"
    proxy.delay = 5
    process = start("launch", "chaos.yaml", "--trials", str(TRIALS), "--set", f"tracking_uri={proxy.uri}")
    wait_for_trials(folder, process, 2)  # they end while MLflow has answered a few calls at most
    server.send(signal.SIGSTOP)
    wait_for_trials(folder, process, 2)
    process.kill()
    process.wait()
    assert list(journal.iterdir())
    server.kill()
    # Without the server the sweep is finished all the same, and says what is missing.
    process = start("resume", "chaos", SWEEPS_MLFLOW_WAIT="3")
    assert process.wait(120) == 0, output(folder)
    assert f"{TRIALS} trials finished: {TRIALS} complete" in output(folder)
    assert "runs are not fully written" in output(folder)
    assert "`sweeps resume chaos` writes it" in output(folder)
    proxy.delay = 0
    server.start()
    process = start("resume", "chaos")
    assert process.wait(120) == 0, output(folder)
    consistent(folder)


def test_databases_that_others_lock_hold_up_the_sweep_or_end_it_but_lose_nothing(
    folder: Path, start: Start
) -> None:
    process = start("launch", "chaos.yaml", "--trials", str(TRIALS), SWEEPS_PATIENCE="8")
    wait_for_trials(folder, process, 1)
    with locked(folder / "mlflow.db", 600):
        wait_for_trials(folder, process, 2)  # MLflow's holds up nobody
        with locked(folder / "sweeps.db", 600):
            wait_for(lambda: "database is locked; waiting for up to 8 s" in output(folder), 60)
            before = ended_trials(folder)
            time.sleep(0.5)
            assert ended_trials(folder) == before
        wait_for(lambda: "sweeps.db: works again after" in output(folder), 60)
    with locked(folder / "sweeps.db", 600):
        assert process.wait(120) == 75, output(folder)
    last = output(folder).splitlines()[-1]
    assert last.startswith("sweeps: ")
    assert "sweeps.db: database is locked for " in last
    assert "Traceback" not in output(folder)
    sweeps("resume", "chaos", folder=folder)
    consistent(folder)
