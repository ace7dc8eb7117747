"""Sweeps that begin with the learning-rate finder, beside plain ones; results and dates in lr_finder.md.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.lr_sweeps sweeps.jsonl
    OMP_NUM_THREADS=1 python -m tests.benchmarks.lr_sweeps sweeps.jsonl --print-only

Study, sampler, pruner and range tests are the product's, trainings are real, in a plain loop. What the file
holds already is not run again.
"""

import argparse
import itertools
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from sweeps.executors.scripted import ScriptedExecutor
from sweeps.lr import finder
from sweeps.lr.narrow import configurations
from sweeps.records import Assignment, Report
from sweeps.runner import run
from sweeps.study.persistence import create_study
from sweeps.study.study import Study
from sweeps.sweep_file.loading import load_spec
from sweeps.sweep_file.spec import SweepSpec
from tests.benchmarks.lr_finder import CONTEXT, Here
from tests.benchmarks.lr_sweep_tasks import EPOCHS, arrays, raw_spec, training

TRIALS, SEEDS = 20, 10
RETRAININGS = range(900_000, 900_003)
"""Seeds with which a configuration is trained again, to know how good it is without the luck of one seed."""

SECTIONS: dict[str, dict[str, Any] | None] = {"plain": None, "finder": {"configs": 8}}
"""The sweep file's `lr_finder`."""


def sweep(kind: str, seed: int, section: dict[str, Any] | None) -> dict[str, Any]:
    """One sweep.

    Returns:
        `epochs`: what it cost, range tests included. `course`: where the best so far got better: epochs until
        then, its value, its configuration, and later the mean over other seeds. `found`: by the finder.
    """
    spec = load_spec(raw_spec(kind, TRIALS, seed) | ({"lr_finder": section} if section else {}))
    notes = finder.prepare(Here(), CONTEXT, spec)
    narrow = finder.applied(spec, notes)
    study = create_study(
        spec, None, validations=EPOCHS[kind], notes=notes, starts=finder.suggested(notes, spec),
        searched=narrow,
    )  # fmt: skip
    watching = Watching(cost(kind, spec, notes))
    executor = ScriptedExecutor(lambda a: paced(kind, a, seed), length=EPOCHS[kind])
    run(Study(study, narrow), executor, [watching])
    course = watching.course if section else watching.course[-1:]
    findings = notes.get("lr_finder", {}).get("findings", [{}])[0]
    trials = [[trial.params, trial.value, trial.state.name] for trial in study.get_trials(deepcopy=False)]
    return {"epochs": watching.epochs, "course": course, "trials": trials,
            "found": [findings.get("suggestion"), findings.get("searched")]}  # fmt: skip


def cost(kind: str, spec: SweepSpec, notes: dict[str, Any]) -> float:
    """The epochs that the range tests took: their steps times their batches."""
    if spec.lr_finder is None:
        return 0.0
    [finding] = notes["lr_finder"]["findings"]
    tested = configurations(spec, spec.space.sites[0], spec.lr_finder.configs)
    batches = [config["data"]["init_args"]["batch_size"] for _, config in tested]
    steps = [len(curve["losses"]) for curve in finding["curves"]]
    return sum(a * b for a, b in zip(steps, batches, strict=True)) / len(arrays(kind)[0])


def paced(kind: str, assignment: Assignment, seed: int) -> Iterator[tuple[float, float]]:
    """A training of a trial, a second an epoch."""
    for value in training(kind, assignment.config, 1000 * seed + assignment.number):
        yield 1.0, value


class Watching:
    """Counts epochs and notes where the best so far got better."""

    def __init__(self, epochs: float) -> None:
        self.epochs, self.best = epochs, math.inf
        self.course: list[list[Any]] = []
        self._configs: dict[int, dict[str, Any]] = {}

    def record(self, event: Any) -> None:
        """Takes what happens in a sweep."""
        if isinstance(event, Assignment):
            self._configs[event.number] = dict(event.config)
        elif isinstance(event, Report):
            self.epochs += 1
            if event.value < self.best:
                self.best = event.value
                self.course.append([self.epochs, event.value, self._configs[event.number]])


def mean_quality(kind: str, config: dict[str, Any]) -> float:
    """The best validation loss of a configuration's trainings, in the mean of three other seeds."""
    return statistics.fmean(min(training(kind, config, seed)) for seed in RETRAININGS)


def add_means(file: Path) -> None:
    """Trains each configuration of the file that was the best so far again, where that was not done yet."""
    held = read(file)
    for one in held:
        if len(one["course"][-1]) > 3:
            continue
        known: dict[str, float] = {}
        for step in one["course"]:
            key = json.dumps(step[2], sort_keys=True)
            if key not in known:
                known[key] = mean_quality(one["kind"], step[2])
            step.append(known[key])
        write(file, held)


def work(file: Path, seeds: Sequence[int], kinds: Sequence[str]) -> None:
    """Runs what the file does not hold yet."""
    held = read(file)
    for seed, kind, name in itertools.product(seeds, kinds, SECTIONS):
        if not any((one["kind"], one["seed"], one["name"]) == (kind, seed, name) for one in held):
            held.append({"kind": kind, "seed": seed, "name": name, **sweep(kind, seed, SECTIONS[name])})
            write(file, held)
            print(f"{kind} {seed} {name}: {held[-1]['course'][-1][1]:.4f}", flush=True)


def write(file: Path, held: Sequence[dict[str, Any]]) -> None:
    """One line of JSON for each sweep."""
    file.write_text("".join(json.dumps(one) + "\n" for one in held))


def read(file: Path) -> list[dict[str, Any]]:
    """What a file holds."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def show(file: Path) -> None:
    """For each task the share of the plain sweep's epochs after which the other was as good."""
    held = read(file)
    plain = {(one["kind"], one["seed"]): one for one in held if one["name"] == "plain"}
    columns = ("task", "sweep", "seeds", "plain: epochs", "as good: value seen", "mean of 3 trainings",
               "each: value seen", "each: mean of 3 trainings")  # fmt: skip
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    others = list(dict.fromkeys(one["name"] for one in held if one["name"] != "plain"))
    for kind, name in itertools.product(EPOCHS, others):
        pairs = [(one, plain[kind, one["seed"]]) for one in held
                 if (one["kind"], one["name"]) == (kind, name) and (kind, one["seed"]) in plain]  # fmt: skip
        if pairs:
            trained = [(one, base) for one, base in pairs
                       if min(len(one["course"][-1]), len(base["course"][-1])) > 3]  # fmt: skip
            shares = [sorted(share(one, base, column) for one, base in known)
                      for column, known in ((1, pairs), (3, trained)) if known]  # fmt: skip
            medians = [f"{statistics.median(each):.2f}" for each in shares]
            texts = [", ".join(f"{s:.2f}" if s < math.inf else "never" for s in each) for each in shares]
            epochs = statistics.median(base["epochs"] for _, base in pairs)
            print(f"| {kind} | {name} | {len(pairs)} | {epochs:.0f} | {' | '.join([*medians, *texts])} |")


def share(one: dict[str, Any], plain: dict[str, Any], column: int) -> float:
    """Of the plain sweep's epochs, those after which a sweep was as good as its end; infinite if never."""
    last = plain["course"][-1]
    there = [step[0] for step in one["course"] if step[column] <= last[column]]
    return float(there[0] / plain["epochs"]) if there else math.inf


def main() -> None:
    """Runs and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--print-only", action="store_true")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--tasks", nargs="*", default=list(EPOCHS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    if not given.print_only:
        seeds = range(given.first_seed, given.first_seed + given.seeds)
        work(given.file, seeds, given.tasks)
        add_means(given.file)
    show(given.file)


if __name__ == "__main__":
    main()
