"""What refreshing the report in MLflow costs while a sweep runs; run `python -m tests.benchmarks.refreshes`.

A real driver (study, lease, journal, MLflow) runs scripted trials for some minutes, about four a second, with
`LiveReport` as `sweeps launch` has it. Counted are the processor seconds of the processes that wrote the
report, from their start, and those that the driver's own thread took to start them and to wait.
"""

import argparse
import tempfile
import time
from pathlib import Path

from sweeps.storages.storage import open_storage
from sweeps.tracking.live_report import LiveReport
from sweeps.tracking.mlflow_setup import prepare_database
from tests import fakes
from tests.live_sweeps import driven, places_in

EVENT_SECONDS = 0.05


class Measured(LiveReport):
    """Prints a line for each refresh, and adds up what they cost."""

    processes, threads, began = 0.0, 0.0, 0.0

    def _refresh(self, longest_seconds: float, nice: int = 0) -> None:
        at, busy, spent = time.monotonic(), time.thread_time(), self._spent
        super()._refresh(longest_seconds, nice)
        busy, spent = time.thread_time() - busy, self._spent - spent
        which = "refresh" if nice else "the last, after the end"
        print(
            f"{which} at {at - self.began:.0f} s: {spent:.2f} s in its process, "
            f"{1000 * busy:.1f} ms in the driver, {self.problem or 'no problem'}",
            flush=True,
        )
        if nice:
            self.processes += spent
            self.threads += busy


def main() -> None:
    """Run the sweep and print what the refreshes cost of its time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=8.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        where = places_in(Path(folder))
        spec = fakes.spec(budget={"trials": 100_000, "hours": arguments.minutes / 60}, sampler="random")
        open_storage(where.storage).engine.dispose()
        prepare_database(where.tracking_uri)
        report = Measured(spec.name, where.storage)
        began, busy = time.monotonic(), time.process_time()
        report.began = began
        with report:
            result = driven(spec, where, lambda: time.sleep(EVENT_SECONDS), [report])
            took, driver = time.monotonic() - began, time.process_time() - busy
        print(
            f"{sum(result.counts.values())} trials in {took:.0f} s, {driver:.1f} s of a processor in it\n"
            f"{report.refreshes - 1} refreshes: {report.processes:.2f} s in processes of their own "
            f"({100 * report.processes / took:.2f} % of the time), "
            f"{1000 * report.threads:.1f} ms in the driver "
            f"({100 * report.threads / driver:.3f} % of its processor time)"
        )


if __name__ == "__main__":
    main()
