"""What reading a sweep costs the sweep; run `python -m tests.benchmarks.readers`.

A real driver (study, lease, journal, MLflow) runs scripted trials; each event comes after a pause of 20 ms.
The same sweep runs alone, and while it is read: another process lists, loads and publishes the report,
Optuna's dashboard is asked for the study, MLflow's server for the runs of all trials, and `sweeps watch`
looks every second. The first three run already when the sweep starts, and look every two seconds or without
a pause.
"""

import argparse
import io
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from dashboards import ports, server
from dashboards.tracking import find_experiment, get
from sweeps.mlflow_setup import prepare_database
from sweeps.storage import open_storage
from sweeps.watch import watch
from tests import fakes
from tests.browser import optuna_dashboard, wait_for
from tests.live_sweeps import driven, has_begun, look, places_in, reader

KINDS: dict[str, float | None] = {"alone": None, "read every 2 s": 2.0, "read without a pause": 0.0}
"""How long the readers pause; None without any."""


def seconds(folder: Path, trials: int, pause: float | None) -> tuple[float, int]:
    """Run one sweep; gives its seconds, and how often it was read."""
    where, database = places_in(folder), folder / "sweeps.db"
    spec = fakes.spec(budget={"trials": trials}, sampler="tpe", pruner="median")
    took: list[float] = []

    def drive() -> None:
        began = time.perf_counter()
        assert driven(spec, where, lambda: time.sleep(0.02)).problems == []
        took.append(time.perf_counter() - began)

    looks = 0
    with ExitStack() as stack:
        open_storage(where.storage).engine.dispose()
        prepare_database(where.tracking_uri)
        looking = readers(stack, database, where.tracking_uri) if pause is not None else None
        driver = threading.Thread(target=drive)
        driver.start()
        wait_for(lambda: has_begun(database))
        if looking:
            console = Console(file=io.StringIO())
            threading.Thread(target=watch, args=("test", where.storage, console), daemon=True).start()
        while looking and driver.is_alive():
            looks += 1
            looking()
            driver.join(pause)
        driver.join()
    return took[0], looks


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
    found: dict[str, list[tuple[float, int]]] = {kind: [] for kind in KINDS}
    for _ in range(arguments.rounds):
        for kind, pause in KINDS.items():
            with tempfile.TemporaryDirectory() as folder:
                found[kind].append(seconds(Path(folder), arguments.trials, pause))
    alone = [took for took, _ in found["alone"]]
    for kind, values in found.items():
        times, looks = zip(*values, strict=True)
        ratios = [time / base for time, base in zip(times, alone, strict=True)]
        print(
            f"{kind:21} {statistics.median(times):.2f} s ({min(times):.2f} .. {max(times):.2f}), "
            f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} .. {max(ratios):.2f}), "
            f"{statistics.median(looks):.0f} looks"
        )


if __name__ == "__main__":
    main()
