"""What reading a sweep costs the sweep; run `python -m tests.benchmarks.readers`.

A real driver (study, lease, journal, MLflow) runs scripted trials; each event comes after a pause of 20 ms.
The same sweep runs alone, and while it is read: another process lists, loads and publishes the report,
Optuna's dashboard is asked for the study, MLflow's server for the runs of all trials, and `sweeps watch`
looks every second. The first three run already when the sweep starts, and look every two seconds or without
a pause.

Two things could slow the sweep: locks, and the readers' share of the processors. Locks are counted: no SQLite
connection of the driver waits for one, it is refused at once and the refusal noted; the driver's own threads
refuse each other now and then. The share shows in how long the pauses of 20 ms take, which touch no database.
"""

import argparse
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dashboards import ports, server
from dashboards.tracking import find_experiment, get
from sweeps.storages.storage import open_storage
from sweeps.tracking.mlflow_setup import prepare_database
from tests import fakes
from tests.browser import optuna_dashboard, wait_for
from tests.live_sweeps import driven, has_begun, look, places_in, reader

KINDS: dict[str, float | None] = {"alone": None, "read every 2 s": 2.0, "read without a pause": 0.0}
"""How long the readers pause; None without any."""


@dataclass(frozen=True, slots=True)
class Run:
    """One sweep: its seconds, the driver's processor time, a pause's seconds, looks, and refused locks."""

    seconds: float
    processor: float
    pause: float
    looks: int
    refused: int


@contextmanager
def impatient() -> Iterator[list[str]]:
    """Lets no open SQLite connection of this process wait for a lock; gives what was refused instead."""
    import sqlalchemy

    refused: list[str] = []

    def opened(connection: sqlite3.Connection, record: object) -> None:
        connection.execute("PRAGMA busy_timeout = 0")

    def note(context: Any) -> None:
        refused.append(str(context.original_exception))

    sqlalchemy.event.listen(sqlalchemy.pool.Pool, "connect", opened)
    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "handle_error", note)
    try:
        yield refused
    finally:
        sqlalchemy.event.remove(sqlalchemy.pool.Pool, "connect", opened)
        sqlalchemy.event.remove(sqlalchemy.engine.Engine, "handle_error", note)


def swept(folder: Path, trials: int, pause: float | None) -> Run:
    """Run one sweep, while it is read."""
    where, database = places_in(folder), folder / "sweeps.db"
    spec = fakes.spec(budget={"trials": trials}, sampler="tpe", pruner="median")
    took: list[float] = []
    pauses: list[float] = []

    def pace() -> None:
        began = time.perf_counter()
        time.sleep(0.02)
        pauses.append(time.perf_counter() - began)

    def drive() -> None:
        began, busy = time.perf_counter(), time.thread_time()
        assert driven(spec, where, pace).problems == []
        took.extend((time.perf_counter() - began, time.thread_time() - busy))

    looks = 0
    with ExitStack() as stack:
        open_storage(where.storage).engine.dispose()
        prepare_database(where.tracking_uri)
        looking = readers(stack, database, where.tracking_uri) if pause is not None else None
        refused = stack.enter_context(impatient())
        driver = threading.Thread(target=drive)
        driver.start()
        wait_for(lambda: has_begun(database))
        if looking:
            command = [sys.executable, "-m", "sweeps.cli", "watch", "test", "--storage", where.storage]
            watching = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.callback(watching.wait)
        while looking and driver.is_alive():
            looks += 1
            looking()
            driver.join(pause)
        driver.join()
        return Run(took[0], took[1], statistics.mean(pauses), looks, len(refused))


def readers(stack: ExitStack, database: Path, tracking_uri: str) -> Callable[[], None]:
    """Start everything that reads; gives what has all of it look once."""
    from mlflow import MlflowClient

    MlflowClient(tracking_uri).create_experiment("other")
    optuna = stack.enter_context(optuna_dashboard(database))
    process = stack.enter_context(reader(database))
    mlflow = stack.enter_context(server.start(tracking_uri, "other", port=ports.free())).url.partition("/#")[
        0
    ]

    def look_once() -> None:
        look(process)
        assert get(optuna, "/api/studies/1")[0] == 200
        body = {"experiment_ids": [find_experiment(mlflow, "test", "MLflow")], "max_results": 1000}
        assert get(mlflow, "/api/2.0/mlflow/runs/search", body)[0] == 200

    return look_once


def main() -> None:
    """Run all kinds in turn and print medians, and of the ratios to the sweep alone before it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=80)
    arguments = parser.parse_args()
    found: dict[str, list[Run]] = {kind: [] for kind in KINDS}
    for _ in range(arguments.rounds):
        for kind, pause in KINDS.items():
            with tempfile.TemporaryDirectory() as folder:
                found[kind].append(swept(Path(folder), arguments.trials, pause))
    for kind, runs in found.items():
        ratios = [run.seconds / base.seconds for run, base in zip(runs, found["alone"], strict=True)]
        print(
            f"{kind:21} {_spread([run.seconds for run in runs])} s, ratio {_spread(ratios)}, "
            f"driver's processor {_spread([run.processor for run in runs])} s, "
            f"a pause {_spread([1000 * run.pause for run in runs])} ms, "
            f"{statistics.median(run.looks for run in runs):.0f} looks, "
            f"{sum(run.refused for run in runs)} locks refused",
            flush=True,
        )


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} .. {max(values):.2f})"


if __name__ == "__main__":
    main()
