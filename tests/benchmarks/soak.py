"""Whether a long sweep keeps its memory and its open files; run `python -m tests.benchmarks.soak`.

Sweeps 2,000 trials of one epoch from the command line: default sampler, SQLite study, checkpoints, MLflow,
two workers. While it runs, the resident memory and the open file descriptors of the driver and of each worker
are read from `/proc`. Afterwards Optuna, MLflow and the files are compared.
"""

import argparse
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import yaml

from tests.chaos.checker import check

EPOCHS, BATCHES, LOG_EVERY = 1, 8, 4
INTERVAL_SECONDS = 1.0
PAGE = os.sysconf("SC_PAGE_SIZE")
MOST_GROWTH = {"driver": 40.0, "worker": 20.0}
"""MiB that a process may grow by from the second quarter of the sweep to its end."""

Sample = tuple[int, float, int]
"""Trials finished, MiB of resident memory, open file descriptors."""


def sweep_file(folder: Path, trials: int) -> None:
    """Writes the sweep into a folder, with the modules of the tests beside it."""
    (folder / "soak.yaml").write_text(yaml.safe_dump({
        "objective": {"metric": "val_loss", "direction": "minimize"},
        "budget": {"trials": trials},
        "model": {"class_path": "tests.modules.Line"},
        "data": {"class_path": "tests.modules.Data"},
        "trainer": {"max_epochs": EPOCHS, "accelerator": "cpu", "log_every_n_steps": LOG_EVERY},
        "search_space": {"model.init_args.lr": {"type": "float", "low": 0.001, "high": 0.1, "log": True},
                         "model.init_args.width": {"type": "int", "low": 2, "high": 8}},
        "resources": {"gpus": 0},
    }))  # fmt: skip
    (folder / "tests").symlink_to(Path(__file__).parents[1])


def processes(driver: int) -> Iterator[tuple[str, int]]:
    """The driver and the workers that live now, by a name that tells their kind."""
    yield "driver", driver
    children: dict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            children[parent].append(int(entry.name))
    below = [driver]
    for pid in below:
        below += children[pid]
    for pid in below[1:]:
        try:
            title = Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0]
        except OSError:
            continue
        if title.startswith(b"ray::Worker"):
            yield f"worker {pid}", pid


def measured(pid: int, finished: int) -> Sample:
    """What a process holds now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return finished, pages * PAGE / 2**20, len(list(Path(f"/proc/{pid}/fd").iterdir()))


def watch(process: "subprocess.Popen[str]", log: Path) -> dict[str, list[Sample]]:
    """Reads memory and descriptors until the sweep ends."""
    samples: dict[str, list[Sample]] = defaultdict(list)
    while process.poll() is None:
        finished = log.read_text().count("] trial ")
        for name, pid in processes(process.pid) if finished else ():
            try:
                samples[name].append(measured(pid, finished))
            except OSError:  # it ended in between
                continue
        time.sleep(INTERVAL_SECONDS)
    return samples


def quarters(samples: list[Sample], trials: int, column: int) -> list[float]:
    """The median of one column in each quarter of the sweep."""
    found = []
    for quarter in range(4):
        low, high = trials * quarter // 4, trials * (quarter + 1) // 4
        values = [sample[column] for sample in samples if low <= sample[0] < high]
        found.append(round(statistics.median(values), 1) if values else float("nan"))
    return found


def consistent(folder: Path, trials: int) -> None:
    """Fails unless the databases are whole and agree with the files."""
    for name in ("sweeps.db", "mlflow.db"):
        with sqlite3.connect(folder / name) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",), name
    check(folder, "soak", trials=trials, epochs=EPOCHS, batches=BATCHES, log_every=LOG_EVERY)


def main() -> None:
    """Runs the sweep and prints a table; fails if something grew or does not agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000)
    trials = parser.parse_args().trials
    print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sweep_file(folder, trials)
        command = [sys.executable, "-m", "sweeps.cli", "launch", "soak.yaml", "--set", "pruner=none"]
        began = time.monotonic()
        with (folder / "output.txt").open("w") as log:
            process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, text=True)
            samples = watch(process, folder / "output.txt")
        assert process.returncode == 0, (folder / "output.txt").read_text()[-2000:]
        print(f"{trials} trials in {time.monotonic() - began:.0f} s")
        table = {
            name: [quarters(rows, trials, column) for column in (1, 2)] for name, rows in samples.items()
        }
        for process_name, (memory, files) in table.items():
            print(f"  {process_name}: MiB {memory}, at the end {samples[process_name][-1][1]:.1f}; "
                  f"descriptors {files}")  # fmt: skip
        consistent(folder, trials)
        print("databases whole; Optuna, MLflow and files agree on every trial and step")
        for process_name, (memory, files) in table.items():
            assert memory[3] - memory[1] < MOST_GROWTH[process_name.split()[0]], process_name
            assert files[3] <= files[1] + 2, process_name


if __name__ == "__main__":
    main()
