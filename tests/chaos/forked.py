"""Drivers and workers as forks of one process that has imported everything: a life costs a second.

`python -m tests.chaos.forked` reads one request a line (folder, arguments of the command line, kill point),
forks a driver for it, and answers with the driver's exit code. The command line, the study, the recorder, the
files, the loop, `RayExecutor`, `Worker` and the Lightning training are the real ones; only Ray itself is
replaced, by `ForkedRay`, whose actors are forked processes. What Ray does is in the other tests here.
"""

import contextlib
import ctypes
import importlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Self

from ray.exceptions import GetTimeoutError, RayActorError

IMPORTED = (
    "mlflow", "optuna.storages", "lightning.pytorch.cli", "sweeps.training.trial",
    "sweeps.training.inspection", "sweeps.terminal.launch", "sweeps.executors.ray", "tests.chaos.mortal",
    "tests.chaos.points", "psycopg",
)  # fmt: skip


class _Method:
    def __init__(self, actor: "_Actor", name: str) -> None:
        self._actor, self._name = actor, name

    def remote(self, *arguments: Any) -> Connection:
        """Sends the call; the reference to its result is the connection."""
        with contextlib.suppress(OSError):
            self._actor.connection.send((self._name, arguments))
        return self._actor.connection


class _Actor:
    def __init__(self, make: Callable[[], Any]) -> None:
        self.connection, other = multiprocessing.Pipe()
        driver = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            die_with(driver)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            _serve(make, other)
        other.close()

    def __getattr__(self, name: str) -> _Method:
        return _Method(self, name)


def _serve(make: Callable[[], Any], calls: Connection) -> None:
    try:
        worker = make()
        while True:
            name, arguments = calls.recv()
            calls.send(getattr(worker, name)(*arguments))
    except BaseException:  # noqa: BLE001 - the end of the process, whatever it was
        traceback.print_exc()
        os._exit(1)


class _Place:
    def get_node_id(self) -> str:
        return "here"


class ForkedRay:
    """As much of Ray as `sweeps.executors.ray` uses."""

    get_runtime_context = _Place

    def __init__(self, cls: Any) -> None:
        self._cls = cls

    @classmethod
    def remote(cls, actor_class: Any) -> Self:
        """An actor class."""
        return cls(actor_class)

    def options(self, **resources: Any) -> "ForkedRay":
        """Takes any resources for granted."""

        class ActorClass(ForkedRay):
            def remote(self, *arguments: Any) -> _Actor:  # type: ignore[override]
                return _Actor(lambda: self._cls(*arguments))

        return ActorClass(self._cls)

    @staticmethod
    def wait(references: list[Connection], num_returns: int = 1, timeout: float | None = None) -> Any:
        """Waits for one of the connections."""
        ready = wait(references, timeout)
        return ready[:1], ready[1:]

    @staticmethod
    def get(reference: Connection, timeout: float | None = None) -> Any:
        """Receives a result.

        Raises:
            RayActorError: The process of the actor is dead.
            GetTimeoutError: There is none after so many seconds.
        """
        try:
            if not reference.poll(timeout):
                raise GetTimeoutError
            return reference.recv()
        except (EOFError, OSError):
            raise RayActorError from None

    @staticmethod
    def kill(actor: _Actor) -> None:
        """Ends the process of an actor."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(actor.pid, signal.SIGKILL)


def die_with(parent: int) -> None:
    """Has the system kill this process when its parent ends, as Ray does with its own."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _drive(request: dict[str, Any]) -> None:
    """The life of one driver; does not come back."""
    import sweeps.cli
    import sweeps.executors.cluster as clusters
    import sweeps.executors.each as each
    import sweeps.executors.ray as executor
    import sweeps.executors.workers as workers
    import sweeps.tracking.live_report
    import sweeps.tracking.recorder
    from sweeps.executors.resources import NodeState
    from tests.chaos.points import Point, arm

    os.chdir(request["folder"])
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    vars(executor)["ray"] = vars(workers)["ray"] = vars(each)["ray"] = ForkedRay
    there = {"here": NodeState({"CPU": 2.0}, {"CPU": 2.0})}
    vars(clusters)["cluster"] = lambda _, folders, __: contextlib.nullcontext(folders)
    vars(clusters)["nodes"] = vars(workers)["nodes"] = lambda: there
    vars(workers)["lives"] = lambda: True
    sweeps.tracking.recorder.INTERVAL_SECONDS = 0.2
    # Writing the report takes longer than the sweep.
    vars(sweeps.tracking.live_report)["COMMAND"] = ("echo", "0")
    if request["kill"]:
        arm(Point(**request["kill"]))
    sys.argv = ["sweeps", *request["arguments"]]
    code = 0
    try:
        sweeps.cli.main()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:  # noqa: BLE001 - the end of the process, whatever it was
        traceback.print_exc()
        code = 70
    sys.stdout.flush()
    os._exit(code)


def main() -> None:
    """Answers requests until the input ends."""
    for module in IMPORTED:
        importlib.import_module(module)
    mine = os.getpid()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            die_with(mine)
            _drive(json.loads(line))
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


class Template:
    """The process that forks the drivers; `run` is for one thread at a time."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.forked"], env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def close(self) -> None:
        """Ends it, and what it forked."""
        self._process.kill()
        self._process.wait()

    def run(self, *arguments: str, folder: Path, output: Path, kill: dict[str, Any] | None = None) -> int:
        """Runs `sweeps` with arguments in a folder, and gives its exit code: -9 for a killed one."""
        request = {"folder": str(folder), "output": str(output), "arguments": arguments, "kill": kill}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


if __name__ == "__main__":
    main()
