"""How long slots wait for the driver; run `python -m tests.benchmarks.slots`.

Real Ray workers run trials that only sleep, through the real study (SQLite, TPE) and recorder (MLflow on
SQLite):

* `sleeps`: one second a trial on 16 slots; Ray's own benchmark of Tune allows 28 % beside the sleep.
* `reports`: 20 reports a second from each of 16 slots; everything must be in MLflow at the end.
* `large`: a study that holds 10,000 trials already, one second a trial on 4 slots: how long a slot waits.

The first round of trials, in which workers start, is left out.
"""

import argparse
import itertools
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from sweeps import load_spec
from sweeps.driver import drive
from sweeps.executors import Reporter, TrialFunction
from sweeps.executors.cluster import cluster
from sweeps.executors.ray import RayExecutor
from sweeps.planning.places import places
from sweeps.provenance import run_with
from sweeps.records import Assignment, News, Outcome, Point, Report, State, Timing
from sweeps.storages.storage import open_storage
from sweeps.study.persistence import create_study

DIGITS = Path(__file__).parents[2] / "sweeps" / "examples" / "digits.yaml"


@dataclass(frozen=True)
class Sleeper:
    """Trials that sleep for `seconds` and report so many times on the way."""

    seconds: float = 1.0
    reports: int = 0

    def __call__(self) -> TrialFunction:
        return self.train

    def train(self, assignment: Assignment, reporter: Reporter) -> Outcome:
        value = random.Random(assignment.number).random()
        slept = 0.0
        for step in range(1, self.reports + 1):
            slept += sleep(self.seconds / self.reports)
            points = tuple(
                Point(key, value, step, time.time_ns() // 1_000_000) for key in ("loss", "val_loss")
            )
            reporter.send(Report(assignment.number, step, value, step == self.reports, points))
            reporter.stop_requested()
        if not self.reports:
            slept += sleep(self.seconds)
        timing = Timing(fit_seconds=slept, wait_seconds=reporter.wait_seconds)
        return Outcome(assignment.number, State.COMPLETE, value, timing=timing)


def sleep(seconds: float) -> float:
    """Sleeps; gives how long it really was, since a busy machine oversleeps."""
    began = time.perf_counter()
    time.sleep(seconds)
    return time.perf_counter() - began


class Seen:
    """Keeps every outcome."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def record(self, event: News) -> None:
        if isinstance(event, Outcome):
            self.outcomes.append(event)


def waits(outcomes: list[Outcome], skip: int = 1) -> list[float]:
    """Seconds from a trial's end to the next one's start in the same worker."""
    gaps = []
    for worker in {outcome.worker for outcome in outcomes}:
        timings = sorted((o.timing for o in outcomes if o.worker == worker), key=lambda t: t.started)[skip:]
        gaps += [b.started - a.started - a.slot_seconds for a, b in itertools.pairwise(timings)]
    return gaps


def run(sleeper: Sleeper, *, slots: int, trials: int, held: int = 0) -> dict[str, Any]:
    """Runs one sweep in the current folder."""
    spec = load_spec(DIGITS, overrides=["pruner=none"], **{"budget.trials": held + trials})
    where = places(spec)
    mlflow = {"tracking_uri": where.tracking_uri, "experiment": spec.name}
    notes = {"files": str(where.files), "mlflow": mlflow | {"artifacts": str(where.artifacts), "key": "x"}}
    study = create_study(spec, open_storage(where.storage), validations=20, notes=notes)
    if held:
        hold(study, spec, held)
    seen = Seen()
    executor = RayExecutor(sleeper, slots=slots)
    cpu = time.process_time()
    now = run_with(str(where.files)) if held else None
    result = drive(study, spec, where, executor, [seen], resumed_with=now, asks_ahead=True)
    outcomes = seen.outcomes
    gaps = sorted(waits(outcomes))
    whole = ideal = 0.0
    for worker in {outcome.worker for outcome in outcomes}:
        timings = sorted((o.timing for o in outcomes if o.worker == worker), key=lambda t: t.started)[1:]
        whole += timings[-1].started + timings[-1].slot_seconds - timings[0].started
        ideal += sum(t.fit_seconds for t in timings)
    waited = sum(o.timing.wait_seconds for o in outcomes)
    return {
        "trials": len(outcomes),
        "beside the sleep": whole / ideal - 1,
        "slot waits ms, median": 1000 * statistics.median(gaps),
        "slot waits ms, 95 %": 1000 * gaps[int(0.95 * len(gaps))],
        "report ms, mean": 1000 * waited / max(1, sleeper.reports * len(outcomes)),
        "driver ms a trial": 1000 * (time.process_time() - cpu) / len(outcomes),
        "not in MLflow": result.problems,
    }


def hold(study: optuna.Study, spec: Any, count: int) -> None:
    """Puts finished trials into the study, drawn at random from the space."""
    draw = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for number in range(count):
        trial = draw.ask()
        params = spec.space.suggest(trial)
        config = spec.space.configure(spec.base, params)
        frozen = optuna.trial.create_trial(
            value=random.Random(number).random(), params=trial.params, distributions=trial.distributions,
            user_attrs={"config": config, "outcome": {"state": "complete"}},
        )  # fmt: skip
        study.add_trial(frozen)


CASES = {
    "sleeps": lambda: run(Sleeper(), slots=16, trials=16 * 20),
    "reports": lambda: run(Sleeper(2.0, 40), slots=16, trials=16 * 8),
    "large": lambda: run(Sleeper(), slots=4, trials=200, held=10_000),
}


def main() -> None:
    """Runs the benchmark and prints a line a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    arguments = parser.parse_args()
    sys.stdout.write(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores ({platform.machine()})\n")
    with cluster(num_cpus=16):
        for name in arguments.only:
            os.chdir(tempfile.mkdtemp())
            figures = {k: round(v, 4) if isinstance(v, float) else v for k, v in CASES[name]().items()}
            sys.stdout.write(f"{name} {json.dumps(figures)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
