"""Size and speed of the report; run `python -m tests.benchmarks.report`.

For each number of trials a fresh process reads a sweep of 20 validations a trial from an SQLite study, builds
the report and writes it; then Chromium opens the file. Interactive means: from the navigation until the table
of trials has its rows, the figures in view are drawn, and the page answers two animation frames in a row.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.browser import chromium, wait_for
from tests.studies import persist, realistic_sweep

READY = """return document.querySelectorAll("#trials tbody tr").length > 0
    && [...document.querySelectorAll(".plot")].filter(plot => plot.getBoundingClientRect().top < innerHeight)
        .every(plot => plot.dataset.drawn === "yes")"""
FRAMES = """const done = arguments[0];
    requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now())));"""


def build(database: str, target: str) -> None:
    """Build one report in this process, and print seconds and the peak of memory as JSON."""
    began = time.perf_counter()
    from dashboards import lean, load, report

    lean.import_optuna()  # as `sweeps report` does
    sweep = load(database, "digits")
    loaded = time.perf_counter()
    Path(target).write_text(report.build(sweep), encoding="utf-8")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    sys.stdout.write(json.dumps({"read s": loaded - began, "all s": time.perf_counter() - began,
                                 "peak GiB": peak}))  # fmt: skip


def measure(trials: int, rounds: int, folder: Path) -> dict[str, list[float]]:
    """Build and open a report several times."""
    database, target = folder / f"{trials}.db", folder / f"{trials}.html"
    persist(database, realistic_sweep(trials))
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        command = [sys.executable, "-m", "tests.benchmarks.report", "--build", str(database), str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        row: dict[str, Any] = json.loads(done.stdout)
        row["MB"] = target.stat().st_size / 1e6
        row["interactive s"] = open_page(target)
        for key, value in row.items():
            found.setdefault(key, []).append(value)
    return found


def open_page(target: Path) -> float:
    """Return the seconds until the page is interactive in a fresh Chromium."""
    with tempfile.TemporaryDirectory() as profile, chromium(Path(profile)) as driver:
        driver.get("about:blank")
        driver.get(target.as_uri())
        wait_for(lambda: driver.execute_script(READY))
        return float(driver.execute_async_script(FRAMES)) / 1000


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 10_000])
    parser.add_argument("--build", nargs=2, metavar=("DATABASE", "FILE"))
    arguments = parser.parse_args()
    if arguments.build:
        build(*arguments.build)
        return
    packages = ("optuna", "plotly", "selenium")
    print(
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores ({platform.machine()})",
        f"Python {platform.python_version()}",
        *(f"{p} {version(p)}" for p in packages),
        sep=", ",
    )
    with tempfile.TemporaryDirectory() as folder:
        for trials in arguments.trials:
            print(f"\n{trials:,} trials of 20 validations, {arguments.rounds} rounds: median (min .. max)")
            for key, values in measure(trials, arguments.rounds, Path(folder)).items():
                low, mid, high = min(values), statistics.median(values), max(values)
                print(f"  {key:15} {mid:.2f} ({low:.2f} .. {high:.2f})")


if __name__ == "__main__":
    main()
