"""Shows a sweep's experiment in MLflow's pages, served from this machine to this machine only.

    serve -> start -> guard (a process that ends with this one) -> `mlflow server` -> uvicorn

MLflow trusts whoever reaches the port, so the server listens on the loopback interface, answers to its own
two names only (a page of another site cannot reach it by pointing its own name at 127.0.0.1), and takes
none of the MLFLOW_* and UVICORN_* settings of the environment that would open it up.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO

from dashboards import guard, ports, tracking
from dashboards.errors import ResultsError
from dashboards.uris import expand, hide_password, without_password

START_SECONDS = 120.0
_STOP_SECONDS = guard.GRACE_SECONDS + 5.0
# Settings of the user's that the server needs to reach artifacts and databases.
_KEPT = ("MLFLOW_S3_", "MLFLOW_GCS_", "MLFLOW_BOTO_", "MLFLOW_SQLALCHEMYSTORE_")
_HARDENING = {
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_REMOTE_ASSISTANT": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_SERVER_X_FRAME_OPTIONS": "DENY",
    "PYTHONSAFEPATH": "1",  # a mlflow.py in the current folder is not MLflow
}


@dataclass
class Server:
    """A running MLflow server, and a context manager that stops it.

    Attributes:
        url: The page of the experiment's runs.
        port: Where it listens; None for a server that runs elsewhere and is not ours to stop.
    """

    url: str
    port: int | None = None
    _child: "_Child | None" = field(default=None, repr=False)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self) -> None:
        """Return when the server was stopped; at once if it runs elsewhere.

        Raises:
            ResultsError: It ended by itself.
        """
        child = self._child
        if child is None:
            return
        child.process.wait()
        if self._child is not None:
            raise ResultsError(f"the MLflow server ended by itself: {child.last_words()}")

    def stop(self) -> None:
        """End the server and everything it started; may be called again."""
        child, self._child = self._child, None
        if child is not None:
            child.end()


def serve(
    tracking_uri: str,
    experiment: str,
    *,
    port: int | None = None,
    open_browser: bool = True,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Show an experiment until Ctrl-C, SIGTERM or SIGHUP; return at once if an MLflow server has it.

    Args:
        tracking_uri: A database or an MLflow server; `${NAME}` is taken from the environment.
        experiment: The experiment's name.
        port: Where to listen; 5000 or a free port if None.
        open_browser: Whether to open the page if this machine has a screen.
        say: Gets each line for the user: the page's address first.

    Raises:
        ResultsError: See `start`; or the server ended by itself.
    """
    with (
        contextlib.suppress(KeyboardInterrupt),
        _interrupted_by_signals(),
        start(tracking_uri, experiment, port=port) as server,
    ):
        say(server.url)
        if open_browser and _has_screen():
            webbrowser.open(server.url)
        if server.port is not None:
            say("Ctrl-C ends it")
        server.wait()


def start(tracking_uri: str, experiment: str, *, port: int | None = None) -> Server:
    """Start MLflow's server on a tracking database, or find the server that the address names.

    Args:
        tracking_uri: A database or an MLflow server; `${NAME}` is taken from the environment.
        experiment: The experiment's name.
        port: Where to listen; 5000 or a free port if None.

    Raises:
        ResultsError: The port is taken, the database cannot be served as it is, it has no such experiment,
            or the server did not start.
    """
    label = hide_password(tracking_uri)
    if tracking.is_server(expand(tracking_uri)):
        address = expand(tracking_uri).rstrip("/")
        return Server(_page(without_password(address), tracking.find_experiment(address, experiment, label)))
    port = ports.choose(port)
    uri = tracking.check_database(tracking_uri)
    address = f"http://{ports.LOOPBACK}:{port}"
    child = _Child.start(_command(port), _environment(uri, port))
    try:
        child.wait_until_healthy(address)
        return Server(_page(address, tracking.find_experiment(address, experiment, label)), port, child)
    except BaseException:
        child.end()
        raise


@dataclass
class _Child:
    """The guard process, which leads the process group of the server, and the server's log."""

    process: "subprocess.Popen[bytes]"
    log: IO[bytes]

    @classmethod
    def start(cls, command: list[str], environment: dict[str, str]) -> "_Child":
        log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the child)
        process = subprocess.Popen(
            [sys.executable, guard.__file__, *command],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is this process's to handle
        )
        return cls(process, log)

    def wait_until_healthy(self, address: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise ResultsError(f"the MLflow server did not start: {self.last_words()}")
            with contextlib.suppress(OSError):
                if tracking.get(address, "/health")[0] == 200:
                    return
            time.sleep(0.1)
        raise ResultsError(f"the MLflow server did not answer in {START_SECONDS:.0f} s: {self.last_words()}")

    def last_words(self) -> str:
        """Return the last line of the log that says what went wrong, or else just the last line."""
        self.log.seek(0)
        lines = [line.strip() for line in self.log.read().decode(errors="replace").splitlines()]
        errors = [line for line in lines if "error" in line.lower() or "exception" in line.lower()]
        return hide_password(next(reversed(errors or [line for line in lines if line]), "it said nothing"))

    def end(self) -> None:
        assert self.process.stdin is not None  # noqa: S101 (for the type checker)
        self.process.stdin.close()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_STOP_SECONDS)
        finally:
            # The guard took its group with it, unless somebody killed the guard.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.log.close()


def _command(port: int) -> list[str]:
    server = [sys.executable, "-m", "mlflow", "server"]
    network = ["--host", ports.LOOPBACK, "--port", str(port), "--workers", "1"]
    # Lightning's and ours are local paths or object stores, which MLflow reads without its upload proxy.
    return [*server, *network, "--no-serve-artifacts", "--uvicorn-opts", "--log-level warning"]


def _environment(uri: str, port: int) -> dict[str, str]:
    """Return the server's environment; addresses are here and not in the command line, which all can read."""
    unwanted = ("MLFLOW_", "_MLFLOW_", "UVICORN_")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(unwanted) or k.startswith(_KEPT)}
    hosts = f"{ports.LOOPBACK}:{port},localhost:{port}"
    addresses = {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_SERVER_ALLOWED_HOSTS": hosts}
    return inherited | _HARDENING | addresses


def _page(address: str, experiment_id: str) -> str:
    # MLflow opens on its pages for language models; this parameter asks for those of training.
    return f"{address}/#/experiments/{experiment_id}/runs?workflowType=machine_learning"


def _has_screen() -> bool:
    if sys.platform in ("darwin", "win32"):
        return True
    # Without one, `webbrowser` may start a text browser that takes the terminal over.
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@contextlib.contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Make SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does; SIGHUP not under `nohup`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    names = [name for name in names if signal.getsignal(name) is not signal.SIG_IGN]
    before = {name: signal.signal(name, signal.default_int_handler) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
