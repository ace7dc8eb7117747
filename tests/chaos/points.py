"""The points of a driver's life at which it is killed: before, after or within the n-th call of a function.

Nothing in the production code knows of them: the process that is to be killed wraps the real functions first.
`python -m tests.chaos.points POINT ARGUMENTS...` is `sweeps ARGUMENTS...` with one of them armed.
"""

import functools
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Point:
    """Where the driver is killed.

    Attributes:
        step: The step of the loop or of the life around it, for the table.
        target: `module:Class.method` or `module:function`.
        when: Before the call, after it, or `torn`: after it, with what it wrote to the journal cut short.
        call: At which call, from 1.
    """

    step: str
    target: str
    when: Literal["before", "after", "torn"] = "after"
    call: int = 1

    def __str__(self) -> str:
        return f"{self.step}: {self.when} {self.target.partition(':')[2]} {self.call}"

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def die() -> None:
    """Ends this process as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def found(point: Point) -> tuple[Any, str, Callable[..., Any]]:
    """The class or module of a point's function, its name there, and itself.

    Raises:
        AttributeError: There is none of that name.
    """
    module, _, path = point.target.partition(":")
    owner: Any = importlib.import_module(module)
    *classes, name = path.split(".")
    for part in classes:
        owner = getattr(owner, part)
    return owner, name, getattr(owner, name)


def arm(point: Point) -> None:
    """Wraps the point's function, in this process only: the workers that it forks live on."""
    owner, name, original = found(point)
    mine, calls = os.getpid(), 0

    @functools.wraps(original)
    def wrapped(*arguments: Any, **keywords: Any) -> Any:
        nonlocal calls
        calls += 1
        is_now = calls == point.call and os.getpid() == mine
        if is_now and point.when == "before":
            die()
        result = original(*arguments, **keywords)
        if is_now:
            if point.when == "torn":
                path = arguments[0]._file.name
                os.truncate(path, os.path.getsize(path) - 15)  # noqa: PTH202
            die()
        return result

    setattr(owner, name, wrapped)


STUDY = "sweeps.study.study:Study"
OPTUNA, TRIAL = "optuna.study:Study", "optuna.trial:Trial"
RECORDER, JOURNAL = "sweeps.tracking.recorder:Recorder", "sweeps.tracking.journal:Journal"
EXECUTOR, FILES = "sweeps.executors.ray:RayExecutor", "sweeps.files:TrialFiles"
STORAGE, MLFLOW = "sweeps.storages.patient_storage:PatientStorage", "mlflow:MlflowClient"
ASKER = "sweeps.study.asking:Asker"
LEASE, TRACKING = "sweeps.control:Lease", "sweeps.tracking.writer:Writer"

OF_A_FILE = "sweeps.storages.storage:_create"
"""What happens only where the study is in an SQLite file."""

CREATE = [
    Point("create", "sweeps.storages.storage:_connect", "after", 1),
    Point("create", OF_A_FILE, "after"),
    Point("create", f"{STORAGE}.create_new_study"),
    *(Point("create", f"{STORAGE}.set_study_user_attr", "after", n) for n in range(1, 8)),
    Point("create", f"{OPTUNA}.enqueue_trial", "before", 2),
    Point("create", f"{OPTUNA}.enqueue_trial", "after", 2),
    Point("create", f"{LEASE}.claim", "before"),
    Point("create", f"{LEASE}.claim", "after"),
    Point("create", f"{STUDY}.end", "after"),
    Point("create", f"{RECORDER}.__init__", "after"),
    Point("create", f"{MLFLOW}.create_experiment", "before"),
    Point("create", f"{MLFLOW}.create_experiment", "after"),
    Point("create", "sweeps.tracking.mlflow_setup:_create_database", "before"),
]
"""In which the sweep is made: killed here, it is launched again or resumed, whatever `sweeps` says."""

ASK = [
    Point("ask", f"{ASKER}.next", "before", 2),
    Point("ask", f"{OPTUNA}.ask", "after", 2),
    Point("ask", f"{TRIAL}.set_user_attr", "before", 2),
    Point("ask", f"{STUDY}.draw", "after", 3),
    Point("ask", f"{ASKER}.next", "after", 4),
]
SUBMIT = [
    Point("submit", f"{EXECUTOR}.submit", "before", 1),
    Point("submit", f"{EXECUTOR}.submit", "after", 3),
]
REPORT = [
    Point("report", f"{STUDY}.should_stop", "before", 1),
    Point("report", f"{STUDY}.should_stop", "before", 4),
    Point("report", f"{TRIAL}.report", "after", 3),
    Point("report", f"{STUDY}.should_stop", "after", 5),
    Point("report", f"{EXECUTOR}.reply", "before", 4),
    Point("report", f"{EXECUTOR}.reply", "after", 4),
    Point("report", f"{EXECUTOR}.next_event", "after", 6),
]
TELL = [
    Point("tell", f"{STUDY}.tell", "before", 1),
    Point("tell", f"{STUDY}._end", "before", 2),
    Point("tell", f"{OPTUNA}.tell", "before", 1),
    Point("tell", f"{OPTUNA}.tell", "after", 2),
    Point("tell", f"{STUDY}.tell", "after", 3),
    Point("tell", f"{FILES}.record", "before", 8),
    Point("tell", f"{FILES}._remove", "before", 1),
    Point("tell", f"{FILES}._remove", "after", 1),
]
RECORD = [
    Point("record", f"{RECORDER}.record", "before", 6),
    Point("record", f"{JOURNAL}.append", "before", 5),
    Point("record", f"{JOURNAL}.append", "torn", 5),
    Point("record", f"{JOURNAL}.append", "torn", 9),
    Point("record", f"{JOURNAL}.append", "after", 10),
    Point("record", f"{JOURNAL}.turn", "after", 2),
    Point("record", f"{JOURNAL}.drop", "before", 1),
    Point("record", f"{JOURNAL}.drop", "after", 1),
    Point("record", f"{MLFLOW}.create_run", "before", 1),
    Point("record", f"{MLFLOW}.create_run", "after", 1),
    Point("record", f"{MLFLOW}.create_run", "after", 2),
    Point("record", f"{MLFLOW}.log_batch", "before", 2),
    Point("record", f"{MLFLOW}.log_batch", "after", 3),
    Point("record", "sweeps.tracking.writer:store", "after", 1),
    Point("record", f"{MLFLOW}.set_terminated", "before", 1),
    Point("record", f"{MLFLOW}.set_terminated", "after", 1),
]
END = [
    Point("end", f"{EXECUTOR}.close", "before"),
    Point("end", f"{STUDY}.end", "before", 2),
    Point("end", f"{STUDY}.end", "after", 2),
    Point("end", f"{RECORDER}.close", "before"),
    Point("end", f"{TRACKING}._crown", "before"),
    Point("end", f"{MLFLOW}.set_terminated", "after", 4),
    Point("end", f"{LEASE}.release", "before"),
]
"""In which the trials have all ended: killed here, what is missing is written by `sweeps resume`."""

RESUME = [
    Point("resume", f"{LEASE}.claim", "after"),
    Point("resume", f"{STUDY}.adopt", "before"),
    Point("resume", f"{TRIAL}.set_user_attr", "after", 1),
    Point("resume", f"{STUDY}.adopt", "after"),
    Point("resume", f"{TRACKING}._take_over", "after", 1),
    Point("resume", f"{MLFLOW}.log_batch", "after", 1),
    Point("resume", f"{EXECUTOR}.submit", "after", 1),
]
"""Of the second driver: the first was killed while trials ran, see `BEGUN`."""

BEGUN = REPORT + TELL[:1] + RECORD[:5]
"""Killed here, trials are left that have begun and not ended."""

LOOP = ASK + SUBMIT + REPORT + TELL + RECORD
ALL = CREATE + LOOP + END

if __name__ == "__main__":
    from sweeps.cli import main

    arm(Point(**json.loads(sys.argv.pop(1))))
    main()
