"""Trials per hour beside the peers, on the same work; run `python -m tests.benchmarks.peers`.

Needs `optuna-integration` beside the project's own packages. Every contestant of
`tests.benchmarks.contestants` trains one fixed list of configurations, in turn, several rounds. *Whole* is
from starting its process to its end; *warm* is the time a trial takes once eight trials are done, from their
end to the last one's.
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks.contestants import CONTESTANTS, SLOTS

WARM = 8
SLOWEST = "Ray Tune, default"
Figures = dict[str, float]


def fixed_list(count: int) -> list[dict[str, float]]:
    """Configurations drawn once, with a seed."""
    draw = random.Random(7)
    return [
        {"lr": 10 ** draw.uniform(-4, -2), "hidden": draw.randint(16, 256), "dropout": draw.uniform(0, 0.6)}
        for _ in range(count)
    ]


def compete(name: str, count: int) -> Figures:
    """Runs one contestant in an empty folder."""
    root = str(Path(__file__).parents[2])
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "configs.json").write_text(json.dumps(fixed_list(count)))
        command = [sys.executable, "-m", "tests.benchmarks.contestants", name, "configs.json"]
        began = time.time()
        with (Path(folder) / "log.txt").open("wb") as log:
            done = subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": root}, stdout=log,
                                  stderr=subprocess.STDOUT, check=False)  # fmt: skip
        whole = time.time() - began
        if done.returncode:
            sys.exit(f"{name} failed:\n{(Path(folder) / 'log.txt').read_text()[-3000:]}")
        trials = [json.loads(line) for line in (Path(folder) / "trials.jsonl").read_text().splitlines()]
    ended = sorted(trial["ended"] for trial in trials)
    assert len(ended) == count, f"{name}: {len(ended)} of {count} trials"
    warm = (ended[-1] - ended[WARM - 1]) / (count - WARM)
    return {
        "whole": whole,
        "first trial after": min(trial["began"] for trial in trials) - began,
        "warm": warm,
        "fit": statistics.median(trial["fit"] for trial in trials),
        "fit share": statistics.mean(trial["fit"] for trial in trials) / SLOTS / warm,
    }


def machine_line() -> str:
    """The date, the machine and the versions."""
    packages = [f"{p} {version(p)}" for p in ("torch", "lightning", "ray", "optuna", "mlflow")]
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    return f"{time.strftime('%Y-%m-%d')}, {machine}, {', '.join(packages)}"


def main() -> None:
    """Runs the rounds and prints the table: medians, and each warm trial's time beside the floor's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--slowest", type=int, default=16, help=f"trials of {SLOWEST}")
    parser.add_argument("--only", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    arguments = parser.parse_args()
    print(machine_line())
    rounds: dict[str, list[Figures]] = {name: [] for name in arguments.only}
    for _ in range(arguments.rounds):
        for name in arguments.only:
            figures = compete(name, arguments.slowest if name == SLOWEST else arguments.trials)
            rounds[name].append(figures)
            print(name, json.dumps({key: round(value, 3) for key, value in figures.items()}), flush=True)
    print("\n| | " + " | ".join(rounds[arguments.only[0]][0]) + " | warm / ours |")
    for name, rows in rounds.items():
        cells = []
        for key in rows[0]:
            values = sorted(row[key] for row in rows)
            cells.append(f"{statistics.median(values):.2f} ({values[0]:.2f} .. {values[-1]:.2f})")
        # Round by round, since the machine's speed changes from one to the next.
        pairs = zip(rows, rounds.get("lightning-sweeps", rows), strict=True)
        ratios = [row["warm"] / our["warm"] for row, our in pairs]
        print(f"| {name} | " + " | ".join(cells) + f" | {statistics.median(ratios):.2f} |")


if __name__ == "__main__":
    main()
