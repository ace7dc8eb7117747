"""What it costs that nothing is lost; run `python -m tests.benchmarks.safety`.

The sweep of `tests.benchmarks.contestants` on real Ray workers, with a clock around what only a crash makes
necessary: in the workers the checkpoints, in the driver the journal and the lease. What a training or the
loop waits for counts in seconds, what threads beside them do in seconds of processor; the workers' against
the seconds that the trials held their slots, the driver's against the sweep's.

`--beside` runs the sweep with and without all of this in turn, and compares the wall time of a warm trial.
"""

import argparse
import functools
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sweeps.start_up
from sweeps import control
from sweeps.context import TrialContext
from sweeps.executors import TrialFunction
from sweeps.tracking import journal
from sweeps.training import checkpoints
from tests.benchmarks.contestants import ours
from tests.benchmarks.peers import fixed_list, machine_line

WARM = 8
Clock = Callable[[], float]
Clocked = tuple[Any, str, Clock]
WITHOUT = "SWEEPS_BENCHMARK_WITHOUT"
"""Set in the environment of a sweep that a crash ends."""
WALL, CPU = time.perf_counter, time.thread_time
IN_WORKER: list[Clocked] = [
    (checkpoints.Saver, "save", WALL),
    (checkpoints.Saver, "wait", WALL),  # that which is not within `save`
    (checkpoints.Saver, "_write", CPU),  # beside the training
    (checkpoints.Saver, "tidy", WALL),
    (checkpoints, "usable", WALL),
]
IN_DRIVER: list[Clocked] = [
    (journal.Journal, "append", WALL),
    (journal.Journal, "turn", WALL),
    (journal.Journal, "drop", WALL),
    (control.Lease, "_renew", CPU),  # beside the loop
]

original = sweeps.start_up.make_trial_function


def clock(clocked: Sequence[Clocked]) -> dict[str, float]:
    """Has the seconds inside functions added up; those inside another of the same thread count there."""
    spent: dict[str, float] = defaultdict(float)
    within = threading.local()

    def timed(function: Any, name: str, now: Clock) -> Any:
        @functools.wraps(function)
        def wrapped(*arguments: Any, **keywords: Any) -> Any:
            if getattr(within, "name", ""):
                return function(*arguments, **keywords)
            within.name, began = name, now()
            try:
                return function(*arguments, **keywords)
            finally:
                spent[name] += now() - began
                within.name = ""

        return wrapped

    for owner, name, now in clocked:
        setattr(owner, name, timed(getattr(owner, name), name, now))
    return spent


def leave_out(clocked: Sequence[Clocked]) -> dict[str, float]:
    """Has functions do nothing: a sweep that a crash ends."""
    for owner, name, _ in clocked:
        setattr(owner, name, lambda *_, **__: None)
    return {}


def make_trial_function(context: TrialContext, environment: Mapping[str, str]) -> TrialFunction:
    """What a worker calls first: each trial notes in `worker.jsonl` what its checkpoints took."""
    trial = importlib.import_module("sweeps.training.trial")

    spent = leave_out(IN_WORKER) if WITHOUT in environment else clock(IN_WORKER)
    vars(trial)["usable"] = checkpoints.usable  # it has that by name
    train = original(context, environment)

    def timed(assignment: Any, reporter: Any) -> Any:
        spent.clear()
        outcome = train(assignment, reporter)
        with Path("worker.jsonl").open("a") as file:
            file.write(json.dumps({"number": assignment.number} | spent) + "\n")
        return outcome

    return timed


def measure(count: int) -> None:
    """Runs the sweep in this process and folder, and prints the shares as JSON."""
    from tests.benchmarks import safety  # by its name, which the workers can import

    sweeps.start_up.make_trial_function = safety.make_trial_function
    spent = leave_out(IN_DRIVER) if WITHOUT in os.environ else clock(IN_DRIVER)
    ours(fixed_list(count))
    trials = [json.loads(line) for line in Path("trials.jsonl").read_text().splitlines()]
    saves = {line["number"]: line for line in map(json.loads, Path("worker.jsonl").read_text().splitlines())}
    # The first trials also import and warm up, which would make the share smaller than it is.
    warm = range(WARM, count)
    slots = sum(trials[n]["ended"] - trials[n]["began"] for n in warm)
    whole = max(t["ended"] for t in trials) - min(t["began"] for t in trials)
    shares = {name: sum(saves[n].get(name, 0.0) for n in warm) / slots for _, name, _ in IN_WORKER}
    shares |= {name.strip("_"): spent.get(name, 0.0) / whole for _, name, _ in IN_DRIVER}
    ended = sorted(trial["ended"] for trial in trials)
    wall = (ended[-1] - ended[WARM - 1]) / (count - WARM)
    print("figures", json.dumps({"shares": shares, "wall": wall}))


def main() -> None:
    """Several rounds, each in a process of its own; prints the medians in percent, and the least and most."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--beside", action="store_true", help="beside a sweep without all of it")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        measure(arguments.trials)
        return
    print(machine_line())
    if arguments.beside:
        pairs = [pair(arguments.trials, index) for index in range(arguments.rounds)]
        show("wall", [whole / without - 1 for whole, without in pairs])
        return
    rounds = [run(arguments.trials)["shares"] for _ in range(arguments.rounds)]
    for name in rounds[0]:
        show(name, [shares[name] for shares in rounds])
    show("all", [sum(shares.values()) for shares in rounds])


def show(name: str, shares: Sequence[float]) -> None:
    """Prints one line of the table."""
    values = [100 * share for share in shares]
    print(f"{name:8} {statistics.median(values):6.2f} %  ({min(values):.2f} to {max(values):.2f})")


def pair(count: int, index: int) -> tuple[float, float]:
    """Seconds a warm trial with and without it; which goes first changes from round to round."""
    runs = {without: run(count, without=without)["wall"] for without in (index % 2 == 0, index % 2 == 1)}
    print(f"{runs[False]:.4f} s with, {runs[True]:.4f} s without", flush=True)
    return runs[False], runs[True]


def run(count: int, *, without: bool = False) -> dict[str, Any]:
    """One sweep in a process and a folder of its own: its `shares`, and the `wall` time of a warm trial."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    if without:
        environment[WITHOUT] = "1"
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.safety", "--here", "--trials", str(count)],
            cwd=folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        sys.exit(done.stdout[-2000:] + done.stderr[-2000:])
    [line] = [line for line in done.stdout.splitlines() if line.startswith("figures ")]
    figures: dict[str, Any] = json.loads(line.removeprefix("figures "))
    return figures


if __name__ == "__main__":
    main()
