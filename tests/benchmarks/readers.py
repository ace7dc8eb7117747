"""What reading a sweep costs the sweep; run `python -m tests.benchmarks.readers`.

A real driver (study, lease, journal, MLflow) runs scripted trials; each event comes after a pause of 20 ms.
The same sweep runs alone, and while another process lists, loads and publishes the report without a pause,
Optuna's dashboard is asked for the study without a pause and `sweeps watch` looks every second.
"""

import argparse
import io
import statistics
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from dashboards.tracking import get
from sweeps.storage import open_storage
from sweeps.watch import watch
from tests import fakes
from tests.browser import optuna_dashboard, wait_for
from tests.live_sweeps import driven, has_begun, look, places_in, reader


def seconds(folder: Path, trials: int, *, is_read: bool) -> tuple[float, int]:
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
        if is_read:
            address = stack.enter_context(optuna_dashboard(database))
            process = stack.enter_context(reader(database))
        driver = threading.Thread(target=drive)
        driver.start()
        wait_for(lambda: has_begun(database))
        if is_read:
            console = Console(file=io.StringIO())
            threading.Thread(target=watch, args=("test", where.storage, console), daemon=True).start()
        while is_read and driver.is_alive():
            looks += 1
            look(process)
            assert get(address, "/api/studies/1")[0] == 200
        driver.join()
    return took[0], looks


def main() -> None:
    """Run both in turn and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=80)
    arguments = parser.parse_args()
    found: dict[bool, list[float]] = {False: [], True: []}
    looks = []
    for _ in range(arguments.rounds):
        for is_read in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                took, count = seconds(Path(folder), arguments.trials, is_read=is_read)
            found[is_read].append(took)
            looks += [count] if is_read else []
    for is_read, name in ((False, "alone"), (True, "read")):
        values = found[is_read]
        print(f"{name:6} {statistics.median(values):.2f} s ({min(values):.2f} .. {max(values):.2f})")
    print(f"looks  {statistics.median(looks):.0f} a sweep")


if __name__ == "__main__":
    main()
