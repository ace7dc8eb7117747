"""What a trial costs the driver beside training; run `python -m tests.benchmarks.driver`.

Trials that train nothing are played by the scripted executor through the real study (SQLite), the journal and
the real recorder (MLflow on SQLite), each size in a process of its own. Processor time is that of the whole
driver, the recorder's thread included, from the twentieth trial's end until everything is in MLflow; one
validation is a report with four logged values. `--profile` says where the time goes instead.
"""

import argparse
import cProfile
import json
import os
import platform
import pstats
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sweeps import load_spec
from sweeps.driver import drive
from sweeps.executors.scripted import ScriptedExecutor, Step
from sweeps.planning.places import places
from sweeps.records import Assignment, Event, News, Outcome, Point, Report
from sweeps.storages.storage import open_storage
from sweeps.study.persistence import create_study

DIGITS = Path(__file__).parents[2] / "sweeps" / "examples" / "digits.yaml"
VALIDATIONS = 3
WARM = 20


class Logging(ScriptedExecutor):
    """Gives each report four logged values, as a small module logs."""

    def next_event(self, timeout_seconds: float = float("inf")) -> Event | None:
        event = super().next_event(timeout_seconds)
        if not isinstance(event, Report):
            return event
        now = time.time_ns() // 1_000_000
        keys = ("train_loss", "val_loss", "val_acc", "epoch")
        return replace(event, points=tuple(Point(key, event.value, event.step, now) for key in keys))


class Clock:
    """Notes the driver's processor time once the first trials are done, and its memory on the way."""

    def __init__(self) -> None:
        self.ended, self.start, self.asks = 0, 0.0, [time.perf_counter()]
        self.resident: dict[int, int] = {}

    def record(self, event: News) -> None:
        if isinstance(event, Outcome):
            self.ended += 1
            if self.ended == WARM:
                self.start = time.process_time()
            if self.ended in (100, 1000, 5000, 10000):
                self.resident[self.ended] = resident_mib()


def resident_mib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 2**20


def noop(assignment: Assignment) -> Iterator[Step]:
    for step in range(VALIDATIONS):
        yield 1.0, 1.0 / (1 + step) + assignment.number % 7


def one_size(trials: int, sampler: str) -> dict[str, Any]:
    """Runs one sweep in this process and the current folder."""
    spec = load_spec(DIGITS, overrides=[f"sampler={sampler}", "pruner=none"], **{"budget.trials": trials})
    where = places(spec)
    mlflow = {"tracking_uri": where.tracking_uri, "experiment": spec.name}
    notes = {"files": str(where.files), "mlflow": mlflow | {"artifacts": str(where.artifacts), "key": "x"}}
    study = create_study(spec, open_storage(where.storage), validations=VALIDATIONS, notes=notes)
    clock = Clock()
    began = time.perf_counter()
    result = drive(study, spec, where, Logging(noop, slots=4), [clock])
    return {
        "trials": trials,
        "ms a trial": 1000 * (time.process_time() - clock.start) / (trials - WARM),
        "wall ms a trial": 1000 * (time.perf_counter() - began) / trials,
        "MiB": clock.resident,
        "not in MLflow": result.problems,
    }


def profile(trials: int, sampler: str) -> None:
    """Prints where the time of one sweep goes, the recorder's thread too."""
    profiler = cProfile.Profile(time.thread_time)
    threading.setprofile(None)
    other = cProfile.Profile(time.thread_time)
    work = threading.Thread.run

    def run(thread: threading.Thread) -> None:
        if thread.name == "mlflow-recorder":
            other.runcall(work, thread)
        else:
            work(thread)

    threading.Thread.run = run  # type: ignore[method-assign, assignment]
    sys.stdout.write(json.dumps(profiler.runcall(one_size, trials, sampler)) + "\n")
    for which in (profiler, other):
        pstats.Stats(which).sort_stats("cumulative").print_stats(70)


def main() -> None:
    """Runs the benchmark and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--here", action="store_true", help="one size, in this process and folder")
    arguments = parser.parse_args()
    if arguments.profile:
        os.chdir(tempfile.mkdtemp())
        profile(arguments.trials[0], arguments.sampler)
        return
    if arguments.here:
        sys.stdout.write(json.dumps(one_size(arguments.trials[0], arguments.sampler)) + "\n")
        return
    packages = ("optuna", "mlflow")
    print(
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores ({platform.machine()})",
        f"Python {platform.python_version()}",
        *(f"{p} {version(p)}" for p in packages),
        sep=", ",
    )
    for trials in arguments.trials:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "tests.benchmarks.driver", "--here", "--trials", str(trials)]
            environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
            done = subprocess.run([*command, "--sampler", arguments.sampler], cwd=folder, env=environment,
                                  stdout=subprocess.PIPE, text=True, check=True)  # fmt: skip
            print(done.stdout.splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
