"""How long slots stand idle where PostgreSQL is far away; run `python -m tests.benchmarks.latency`.

Trials that sleep in this process are driven through the real study, in a PostgreSQL behind a relay that holds
up each direction, and the real recorder (MLflow on SQLite). A trial waits for the answer to each report.
"""

import argparse
import heapq
import math
import os
import tempfile
import time
from collections.abc import Iterator

import mlflow  # noqa: F401 - its import is no part of the sweep

from sweeps import load_spec
from sweeps.driver import drive
from sweeps.executors.scripted import ScriptedExecutor, Step
from sweeps.planning.places import places
from sweeps.records import Assignment, Event, News, Outcome
from sweeps.storages.storage import open_storage
from sweeps.storages.uris import study_url
from sweeps.study.persistence import create_study
from tests.benchmarks.driver import DIGITS
from tests.postgres import Server, programs
from tests.relay import relayed


class RealTime(ScriptedExecutor):
    """Plays scripts while the time passes."""

    def __init__(self, seconds: float, reports: int, slots: int) -> None:
        super().__init__(self._sleep, slots=slots, length=reports)
        self._seconds, self._reports, self._began = seconds, reports, time.monotonic()
        self.slept = 0.0

    def _sleep(self, assignment: Assignment) -> Iterator[Step]:
        for step in range(self._reports):
            self.slept += self._seconds / self._reports
            yield self._seconds / self._reports, 1 / (1 + step) + assignment.number % 7

    def _pass_time(self) -> float:
        self._now = time.monotonic() - self._began
        return self._now

    def submit(self, assignment: Assignment) -> None:
        self._pass_time()
        super().submit(assignment)

    def reply(self, number: int, *, stop: bool) -> None:
        self._pass_time()
        super().reply(number, stop=stop)

    def next_event(self, timeout_seconds: float = math.inf) -> Event | None:
        due = self._events[0][0] if self._events else math.inf
        wait = due - self._pass_time()
        time.sleep(max(0.0, min(wait, timeout_seconds)))
        self._pass_time()
        if wait > timeout_seconds:
            return None
        event = heapq.heappop(self._events)[2]
        if isinstance(event, Outcome):
            del self._running[event.number]
            self._fill()
        return event


class Span:
    """From the first event to the last."""

    first = last = 0.0

    def record(self, event: News) -> None:
        self.last = time.monotonic()
        self.first = self.first or self.last


def main() -> None:
    """Runs one sweep and prints a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trip", type=float, default=30, help="ms")
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=1.5, help="of a trial")
    parser.add_argument("--reports", type=int, default=5, help="of a trial")
    parser.add_argument("--rounds", type=int, default=5, help="of trials")
    asked = parser.parse_args()
    bin_folder = programs()
    if bin_folder is None:
        raise SystemExit("PostgreSQL is not installed")
    os.chdir(tempfile.mkdtemp())
    server, trials, span = Server(bin_folder), asked.slots * asked.rounds, Span()
    server.database("far")
    with relayed(server.port, asked.trip / 1000) as relay:
        storage = study_url(server.url("far", relay.port))
        overrides = ["sampler=random", "pruner=median"]
        spec = load_spec(DIGITS, overrides=overrides, storage=storage, **{"budget.trials": trials})
        where = places(spec)
        records = {"tracking_uri": where.tracking_uri, "experiment": spec.name, "key": "x"}
        notes = {"files": str(where.files), "mlflow": records | {"artifacts": str(where.artifacts)}}
        study = create_study(spec, open_storage(storage), validations=asked.reports, notes=notes)
        before, executor = relay.trips, RealTime(asked.seconds, asked.reports, asked.slots)
        result = drive(study, spec, where, executor, [span], asks_ahead=True)
        idle = 1 - executor.slept / (asked.slots * (span.last - span.first))
        print(f"{vars(asked)}: idle {100 * idle:.0f} %, {(relay.trips - before) / trials:.0f} round trips a "
              f"trial, not in MLflow: {result.problems}")  # fmt: skip
    server.close()


if __name__ == "__main__":
    main()
