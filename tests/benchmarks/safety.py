"""What it costs that nothing is lost; run `python -m tests.benchmarks.safety`.

The sweep of `tests.benchmarks.contestants` on real Ray workers, with a clock around what only a crash makes
necessary: in the workers the checkpoints (writing, renaming, tidying up, looking for one), in the driver the
journal and the lease. The workers' seconds are counted against the seconds that the trials held their slots,
the driver's against the sweep's.
"""

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sweeps.sweep
from sweeps import checkpoints, control, journal
from sweeps.executors import TrialFunction
from sweeps.records import TrialContext
from tests.benchmarks.contestants import ours
from tests.benchmarks.peers import fixed_list, machine_line

WARM = 8
IN_WORKER = ((checkpoints, "save"), (checkpoints, "tidy"), (checkpoints, "usable"))
IN_DRIVER = ((journal.Journal, "append"), (journal.Journal, "turn"), (journal.Journal, "drop"),
             (control.Lease, "_renew"))  # fmt: skip

original = sweeps.sweep.make_trial_function


def clock(owner: Any, name: str, spent: dict[str, float]) -> None:
    """Has the seconds inside a function added up."""
    function = getattr(owner, name)

    @functools.wraps(function)
    def timed(*arguments: Any, **keywords: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*arguments, **keywords)
        finally:
            spent[name] += time.perf_counter() - began

    setattr(owner, name, timed)


def make_trial_function(context: TrialContext, environment: Mapping[str, str]) -> TrialFunction:
    """What a worker calls first: each trial notes in `worker.jsonl` what its checkpoints took."""
    import sweeps.trial

    spent: dict[str, float] = defaultdict(float)
    for owner, name in IN_WORKER:
        clock(owner, name, spent)
    sweeps.trial.usable = checkpoints.usable  # it has that by name
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

    sweeps.sweep.make_trial_function = safety.make_trial_function
    spent: dict[str, float] = defaultdict(float)
    for owner, name in IN_DRIVER:
        clock(owner, name, spent)
    ours(fixed_list(count))
    trials = [json.loads(line) for line in Path("trials.jsonl").read_text().splitlines()]
    saves = {line["number"]: line for line in map(json.loads, Path("worker.jsonl").read_text().splitlines())}
    # The first trials also import and warm up, which would make the share smaller than it is.
    warm = range(WARM, count)
    slots = sum(trials[n]["ended"] - trials[n]["began"] for n in warm)
    whole = max(t["ended"] for t in trials) - min(t["began"] for t in trials)
    shares = {name: sum(saves[n].get(name, 0.0) for n in warm) / slots for _, name in IN_WORKER}
    shares |= {name.strip("_"): spent[name] / whole for _, name in IN_DRIVER}
    print("shares", json.dumps(shares))


def main() -> None:
    """Several rounds, each in a process of its own; prints the medians in percent, and the least and most."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        measure(arguments.trials)
        return
    print(machine_line())
    rounds = [run(arguments.trials) for _ in range(arguments.rounds)]
    for name in [*rounds[0], "all"]:
        values = [100 * (sum(shares.values()) if name == "all" else shares[name]) for shares in rounds]
        print(f"{name:8} {statistics.median(values):6.2f} %  ({min(values):.2f} to {max(values):.2f})")


def run(count: int) -> dict[str, float]:
    """One round."""
    root = str(Path(__file__).parents[2])
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.safety", "--here", "--trials", str(count)],
            cwd=folder, env=os.environ | {"PYTHONPATH": root}, capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        sys.exit(done.stdout[-2000:] + done.stderr[-2000:])
    [line] = [line for line in done.stdout.splitlines() if line.startswith("shares ")]
    shares: dict[str, float] = json.loads(line.removeprefix("shares "))
    return shares


if __name__ == "__main__":
    main()
