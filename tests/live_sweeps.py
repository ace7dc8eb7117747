"""A sweep that runs while a test or a benchmark reads it: a real driver, scripted trials, real databases."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dashboards import load
from dashboards.errors import ResultsError
from dashboards.runs import find_parent
from sweeps.driver import SweepResult, drive
from sweeps.executors.scripted import ScriptedExecutor
from sweeps.planning.places import Places
from sweeps.records import Event
from sweeps.runner import Observer
from sweeps.storages.storage import open_storage
from sweeps.study.persistence import create_study
from sweeps.sweep_file.spec import SweepSpec
from tests import fakes

VALIDATIONS = 4

READER = """
import sys
from pathlib import Path
from dashboards import list_sweeps, load, publish, report
database = Path(sys.argv[1])
print("ready", flush=True)
while sys.stdin.readline():
    [summary] = list_sweeps(database)
    publish.publish(database, summary.name)
    print(summary.counts.finished, flush=True)
"""


class Paced(ScriptedExecutor):
    """Simulated trials, and a driver that waits for each event.

    Args:
        pace: Is called for each, and returns when it may come.
    """

    def __init__(self, pace: Callable[[], object]) -> None:
        super().__init__(fakes.falling, slots=2, length=VALIDATIONS)
        self._pace = pace

    def next_event(self, timeout_seconds: float = 1.0) -> Event | None:
        """The next event, in its time."""
        self._pace()
        return super().next_event(timeout_seconds)


def driven(
    spec: SweepSpec, where: Places, pace: Callable[[], object], observers: Sequence[Observer] = ()
) -> SweepResult:
    """A whole sweep as the driver runs one: real study, lease, journal and recorder."""
    mlflow = {"tracking_uri": where.tracking_uri, "experiment": spec.name, "key": "key",
              "artifacts": str(where.artifacts)}  # fmt: skip
    notes = {"files": str(where.files), "mlflow": mlflow}
    study = create_study(spec, open_storage(where.storage), validations=VALIDATIONS, notes=notes)
    return drive(study, spec, where, Paced(pace), observers)


def places_in(folder: Path) -> Places:
    """Where a sweep in this folder keeps what."""
    return Places(
        f"sqlite:///{folder}/sweeps.db",
        f"sqlite:///{folder}/mlflow.db",
        str(folder / "artifacts"),
        folder / "files",
    )


def has_begun(database: Path) -> bool:
    """Whether a trial has ended and MLflow has the sweep's run."""
    try:
        sweep = load(database, "test")
        return bool(find_parent(sweep).run_id and sweep.summary.counts.finished)
    except ResultsError:
        return False


@contextmanager
def reader(database: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that lists the sweeps and publishes the report for every line it gets, and answers each."""
    command = [sys.executable, "-c", READER, str(database)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.stdin.close()


def look(process: "subprocess.Popen[str]") -> int:
    """Has a reader look once; gives how many trials it saw ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("look\n")
    return int(process.stdout.readline())
