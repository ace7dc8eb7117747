"""How much of a slot's time is training; run `python -m tests.benchmarks.engine`.

Sweeps the digits example with everything on (SQLite study, checkpoints, MLflow) and the default sampler, for
fits of about 0.5 s and 5 s. Fit time is inside `Trainer.fit` without the waiting for answers to reports; slot
time is from a worker's first warm trial to its last outcome, gaps between trials included.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna

from sweeps import load_spec, run_sweep

DIGITS = Path(__file__).parents[2] / "sweeps" / "examples" / "digits.yaml"


def sweep(folder: Path, *, epochs: int, batch_size: int, trials: int, seed: int) -> list[dict[str, Any]]:
    """Runs one sweep; gives the outcome attribute of each trial."""
    os.chdir(folder)
    # Fixed sizes, so that all fits take about the same time; the rates vary.
    space = {"optimizer": load_spec(DIGITS).search_space["optimizer"],
             "model.init_args.dropout": {"type": "float", "low": 0.0, "high": 0.6}}  # fmt: skip
    overrides = [
        f"search_space={json.dumps(space)}",
        f"trainer={json.dumps({'max_epochs': epochs, 'log_every_n_steps': 10})}",
        f"sampler={json.dumps({'class_path': 'tpe', 'init_args': {'seed': seed}})}",
        f"data.init_args.batch_size={batch_size}",
        "pruner=none",
    ]
    run_sweep(load_spec(DIGITS, overrides=overrides, **{"budget.trials": trials}))
    study = optuna.load_study(study_name="digits", storage=f"sqlite:///{folder}/sweeps.db")
    return [trial.user_attrs["outcome"] for trial in study.trials]


def shares(outcomes: list[dict[str, Any]], warm: int = 2) -> dict[str, float]:
    """Where the slots' time went, as shares of it; a worker's first trials only warm it up."""
    slot_time = fit_time = wait_time = trial_time = 0.0
    fits = []
    for worker in {outcome["worker"] for outcome in outcomes}:
        timings = sorted((o["timing"] for o in outcomes if o["worker"] == worker), key=lambda t: t["started"])
        timings = timings[warm:]
        slot_time += timings[-1]["started"] + timings[-1]["slot_seconds"] - timings[0]["started"]
        fits += [t["fit_seconds"] for t in timings]
        fit_time += sum(t["fit_seconds"] for t in timings)
        wait_time += sum(t["wait_seconds"] for t in timings)
        trial_time += sum(t["slot_seconds"] for t in timings)
    return {
        "median fit s": statistics.median(fits),
        "fit": fit_time / slot_time,
        "waiting in report": wait_time / slot_time,
        "building and tearing down": (trial_time - fit_time - wait_time) / slot_time,
        "between trials": (slot_time - trial_time) / slot_time,
    }


def main() -> None:
    """Runs the benchmark and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    packages = ("torch", "lightning", "ray", "optuna", "mlflow")
    print(
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores ({platform.machine()})",
        f"Python {platform.python_version()}",
        *(f"{p} {version(p)}" for p in packages),
        sep=", ",
    )
    for name, epochs, batch_size, trials in (("0.5 s", 6, 64, 64), ("5 s", 44, 32, 20)):
        rows = []
        for seed in range(arguments.rounds):
            with tempfile.TemporaryDirectory() as folder:
                outcomes = sweep(Path(folder), epochs=epochs, batch_size=batch_size, trials=trials, seed=seed)
                rows.append(shares(outcomes))
                os.chdir("/")
        print(f"\nfits of {name}: {epochs} epochs with batches of {batch_size}; {trials} trials, "
              f"{arguments.rounds} rounds: median (min .. max)")  # fmt: skip
        for key in rows[0]:
            values = [row[key] for row in rows]
            text = "{:.2f}" if key.endswith(" s") else "{:.1%}"
            low, mid, high = (text.format(v) for v in (min(values), statistics.median(values), max(values)))
            print(f"  {key:28} {mid} ({low} .. {high})")


if __name__ == "__main__":
    main()
