"""Fixtures that several test files share."""

import fcntl
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.postgres import postgres as postgres  # fixtures
from tests.stores import bucket as bucket
from tests.stores import object_store as object_store
from tests.stores import tracking_server as tracking_server

DIGITS = Path("sweeps/examples/digits.yaml").absolute()

IN_MEMORY = Path("/dev/shm")  # noqa: S108 - pytest makes a folder of its own there
ROOM_BYTES = 4 * 2**30
"""A run of all tests writes less than an eighth of it; Ray's object stores are there, too."""


def pytest_configure() -> None:
    """Has the tests' folders in memory where it has room, as most of a new database's time is the disk's.

    PYTEST_DEBUG_TEMPROOT names another place, and `make long` names a disk.
    """
    try:
        there = os.statvfs(IN_MEMORY)
    except OSError:  # another system than Linux
        return
    if there.f_bavail * there.f_frsize >= ROOM_BYTES and not there.f_flag & os.ST_NOEXEC:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(IN_MEMORY))


@pytest.fixture(scope="session", autouse=True)
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Sweeps of other test sessions on this machine run on clusters of their own."""
    # A shell's job in the background ignores Ctrl-C, and so would all that the tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = tmp_path_factory.mktemp("runtime")
    folder.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWEEPS_RUNTIME_DIR", str(folder))
        yield


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One local Ray cluster for the whole session: 16 logical CPUs and 8 pretended GPUs."""
    from sweeps.executors.cluster import cluster

    with cluster(num_cpus=16, num_gpus=8):
        yield


@dataclass(frozen=True)
class Printed:
    """What a command wrote."""

    stdout: str
    stderr: str


def sweeps(
    *arguments: str, folder: Path, code: int = 0, seconds: float = 280
) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a folder, as a person does, and checks its exit code."""
    environment = {key: value for key, value in os.environ.items()
                   if key == "SWEEPS_RUNTIME_DIR" or not key.startswith(("RAY_", "SWEEPS_"))}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "sweeps.cli", *arguments],
        cwd=folder, env=environment | {"COLUMNS": "200", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip
    assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def typed(*arguments: str, folder: Path, code: int = 0) -> Printed:
    """The same in this process, which has imported everything, on the cluster that it is connected to."""
    from sweeps.cli import main

    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        patch.setenv("COLUMNS", "200")
        patch.setattr(sys, "argv", ["sweeps", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    printed = Printed(out.getvalue(), err.getvalue())
    assert (ended.value.code or 0) == code, (
        f"exit code {ended.value.code}\n{printed.stdout}\n{printed.stderr}"
    )
    return printed


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the digits example was swept from the command line: 12 trials of 4 epochs.

    The processes among which the tests are divided share it: who asks first has it made.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder, done = root / "swept", root / "swept.done"
    with (root / "swept.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            folder.mkdir()
            options = ["--trials", "12", "--set", "trainer.max_epochs=4", "--set", "budget.hours=1"]
            printed = sweeps("launch", str(DIGITS), *options, folder=folder)
            (folder / "launch.txt").write_text(printed.stdout)
            done.touch()
    return folder
