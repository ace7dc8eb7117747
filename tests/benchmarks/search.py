"""How good the search is, in simulated time; `python -m tests.benchmarks.search tabular`, or `curves`.

Real trainings, looked up: `search_tasks` (one value a trial) and `curves` (a loss an epoch, for pruning). Our
contenders run as a sweep does: the sweep file's `sampler` and `pruner`, the study, the loop, the scripted
executor, which asks one trial ahead; only the database is in memory. Results are kept in a folder, so that a
run goes on; delete it after a change.
"""

import argparse
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sweeps.executors.scripted import ScriptedExecutor, Step
from sweeps.records import Assignment, News, Outcome, Report, State
from sweeps.runner import run
from sweeps.study.persistence import create_study
from sweeps.study.study import Study
from sweeps.sweep_file.loading import load_spec
from sweeps.sweep_file.spec import SweepSpec
from tests.benchmarks import curves, search_tasks
from tests.benchmarks.search_peers import PEERS, play

AT = (25, 50, 100)
OPTUNA = {"class_path": "optuna.samplers.TPESampler", "init_args": {"group": False}}
OPTUNA_MEDIAN = {"class_path": "MedianPruner", "init_args": {"n_startup_trials": 5, "n_warmup_steps": 0}}
CONTENDERS: dict[str, tuple[Any, Any]] = {
    "random": ("random", "none"),
    "optuna": (OPTUNA, OPTUNA_MEDIAN),
    "optuna gp": ("gp", "none"),
    **dict.fromkeys(PEERS, (None, None)),
    "ours": (None, None),
    "ours, 5 first": ({"class_path": "auto", "init_args": {"n_startup_trials": 5}}, None),
    "ours, 20 first": ({"class_path": "auto", "init_args": {"n_startup_trials": 20}}, None),
    "ours, no pruner": (None, "none"),
    "ours, median": ("auto", "median"),
    "ours, forecast": ("auto", "forecast"),
    "ours, best third": ("auto", {"class_path": "percentile", "init_args": {"percentile": 33.3}}),
    "ours, best quarter": ("auto", "percentile"),
    "ours, hyperband": ("auto", "hyperband"),
    "ours, halving": ("auto", "successive_halving"),
    "tpe, hyperband": ("tpe", "hyperband"),
    "tpe, halving": ("tpe", "successive_halving"),
    "random, hyperband": ("random", "hyperband"),
    "random, halving": ("random", "successive_halving"),
}
"""Sampler and pruner as in a sweep file; None for what a sweep has that names none."""


def spec_of(contender: str, space: dict[str, Any], *, trials: int, epochs: int, seed: int) -> SweepSpec:
    """The sweep of one contender."""
    sampler, pruner = CONTENDERS[contender]
    named = {"sampler": sampler, "pruner": pruner}
    return load_spec(
        {
            "name": "search",
            "objective": {"metric": "loss", "direction": "minimize"},
            "budget": {"trials": trials},
            "model": "Model",
            "trainer": {"max_epochs": epochs},
            "seed_everything": seed,
            "search_space": space,
            **{key: value for key, value in named.items() if value is not None},
        }
    )


class Watch:
    """Keeps, for each finished epoch, the best complete trial so far; also the processor time of asking."""

    def __init__(self) -> None:
        self.epochs = 0
        self.ended: list[tuple[int, int, float | None]] = []
        """At each end of a trial: epochs used by all, the trial's number, its value if it is complete."""

    def record(self, event: News) -> None:
        """Takes an event."""
        if isinstance(event, Report):
            self.epochs += 1
        elif isinstance(event, Outcome):
            value = event.value if event.state is State.COMPLETE else None
            self.ended.append((self.epochs, event.number, value))


def sweep(
    contender: str, spec: SweepSpec, script: Any, *, slots: int, epochs: int, seed: int
) -> tuple[Any, float]:
    """Runs one sweep.

    Returns:
        What `Watch` kept, and the processor seconds of an ask, in the mean.
    """
    watch = Watch()
    started = time.process_time()
    if contender in PEERS:
        best: dict[int, float] = {}
        peer, trials = PEERS[contender](spec, epochs, seed), spec.budget.trials or 0
        for number, value, is_last in play(peer, script, trials=trials, slots=slots):
            watch.epochs += 1
            best[number] = min(best.get(number, math.inf), value)
            if is_last:
                watch.ended.append((watch.epochs, number, best[number]))
    else:
        study = Study(create_study(spec, None, validations=epochs), spec)
        run(study, ScriptedExecutor(script, slots=slots, length=epochs), [watch])
    return watch.ended, (time.process_time() - started) / len(watch.ended)


def tabular(contender: str, task: str, *, kind: str, noise: bool, slots: int, seed: int) -> dict[str, Any]:
    """One sweep of 100 trials over a table: its quantile regret after each trial."""
    table, draws = search_tasks.table(task), np.random.default_rng(seed)
    spec = spec_of(contender, search_tasks.search_space(kind), trials=max(AT), epochs=1, seed=seed)
    found: dict[int, tuple[int, ...]] = {}

    def script(assignment: Assignment) -> Iterator[Step]:
        row = found[assignment.number] = table.index(assignment.params)
        errors = table.errors[row]
        yield float(table.seconds[row]), float(errors[draws.integers(5)] if noise else errors.mean())

    ended, seconds = sweep(contender, spec, script, slots=slots, epochs=1, seed=seed)
    regrets, best = [], (math.inf, -1)
    for _, number, value in ended:
        best = min(best, (value, number))
        regrets.append(float(table.regret[found[best[1]]]))
    return {"regret": regrets, "ask": seconds}


def curve_table(task: str) -> dict[Any, list[float]]:
    """The learning curves of a task, or of one that is called `NAME, late` or `NAME, mixed`; see there."""
    name, _, kind = task.partition(", ")
    made = {"late": lambda: curves.late(curves.load(name)), "mixed": lambda: curves.mixed(name)}
    return made.get(kind, lambda: curves.load(name))()


def pruned(contender: str, task: str, *, trials: int, slots: int, seed: int) -> dict[str, Any]:
    """One sweep over learning curves: the best loss at the end of each trial, and the epochs used by then."""
    table = curve_table(task)
    spec = spec_of(contender, curves.search_space(), trials=trials, epochs=curves.EPOCHS, seed=seed)

    def script(assignment: Assignment) -> Iterator[Step]:
        yield from ((1.0, loss) for loss in table[curves.key_of(assignment.params)])

    ended, seconds = sweep(contender, spec, script, slots=slots, epochs=curves.EPOCHS, seed=seed)
    losses = np.minimum.accumulate([math.inf if value is None else value for _, _, value in ended])
    return {"epochs": [epochs for epochs, _, _ in ended], "loss": losses.tolist(), "ask": seconds}


def kept(folder: Path, name: str, make: Callable[[], Any]) -> dict[str, Any]:
    """A result from the folder, or a new one, put there."""
    path = folder / f"{name}.json"
    if not path.exists():
        path.write_text(json.dumps(make()))
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def regrets(arguments: argparse.Namespace, contender: str, slots: int) -> tuple[np.ndarray, float]:
    """Quantile regrets, shape (seeds, tasks, len(AT)), and processor seconds a trial."""
    found, seconds = [], []
    for seed in range(arguments.seeds):
        for task in search_tasks.TASKS:
            name = f"{contender}-{task}-{arguments.kind}-{arguments.noise}-{slots}-{seed}"
            make = partial(
                tabular, contender, task, kind=arguments.kind, noise=arguments.noise, slots=slots, seed=seed
            )
            made = kept(arguments.results, name, make)
            found.append([made["regret"][at - 1] for at in AT])
            seconds.append(made["ask"])
    shape = arguments.seeds, len(search_tasks.TASKS), len(AT)
    return np.array(found).reshape(shape), float(np.mean(seconds))


def geometric_mean(regret: np.ndarray, axis: Any = (0, 1)) -> np.ndarray:
    """Of regret + 1e-4."""
    mean: np.ndarray = np.exp(np.log(regret + 1e-4).mean(axis))
    return mean


def against(ours: np.ndarray, other: np.ndarray) -> str:
    """The ratio of the geometric means, with its 95 % interval: paired bootstrap over seeds."""
    logs = (np.log(ours + 1e-4) - np.log(other + 1e-4)).mean(1)
    draws = np.random.default_rng(0).integers(0, len(ours), (10_000, len(ours)))
    low, high = np.exp(np.quantile(logs[draws].mean(1), [0.025, 0.975], axis=0))
    return " / ".join(
        f"{m:.2f} ({a:.2f}-{b:.2f})" for m, a, b in zip(np.exp(logs.mean(0)), low, high, strict=True)
    )


def behind_random(ours: np.ndarray, other: np.ndarray) -> str:
    """Tasks in which the mean regret is higher with 95 % confidence: paired bootstrap over seeds."""
    draws = np.random.default_rng(0).integers(0, len(ours), (10_000, len(ours)))
    worse = []
    for index, task in enumerate(search_tasks.TASKS):
        for at, column in zip(AT, range(len(AT)), strict=True):
            differences = (ours - other)[:, index, column]
            if np.quantile(differences[draws].mean(1), 0.025) > 0:
                worse.append(f"{task} at {at}")
    return ", ".join(worse) or "none"


def show_tabular(arguments: argparse.Namespace) -> None:
    """Prints one row a contender and number of slots."""
    for slots in arguments.slots:
        random, _ = regrets(arguments, "random", slots)
        optuna, _ = regrets(arguments, "optuna", slots)
        for contender in arguments.contenders:
            found, seconds = regrets(arguments, contender, slots)
            means = found.mean((0, 1)) / random.mean((0, 1))
            by_task = geometric_mean(found, 0)[:, -1] / geometric_mean(optuna, 0)[:, -1]
            print(f"| {contender} | {slots} | {' / '.join(f'{v:.2f}' for v in means)} | "
                  f"{against(found, optuna)} | {' '.join(f'{v:.2f}' for v in by_task)} | "
                  f"{behind_random(found, random)} | {seconds * 1e3:.0f} |", flush=True)  # fmt: skip


def curve_runs(arguments: argparse.Namespace, contender: str, task: str, slots: int) -> list[dict[str, Any]]:
    """The sweeps of one contender over one task's learning curves, one a seed."""
    return [
        kept(
            arguments.results,
            f"{contender}-{task}-{arguments.trials}-{slots}-{seed}",
            partial(pruned, contender, task, trials=arguments.trials, slots=slots, seed=seed),
        )
        for seed in range(arguments.seeds)
    ]


def show_curves(arguments: argparse.Namespace) -> None:
    """Prints, for each task and contender, the epochs to random search's and the grid's final quality."""
    for task, slots in itertools.product(arguments.tasks, arguments.slots):
        table = curve_table(task)
        finals = np.sort([min(filter(math.isfinite, c), default=math.inf) for c in table.values()])
        grid_epochs = sum(map(len, table.values()))
        random = curve_runs(arguments, "random", task, slots)
        goal = float(np.mean([one["loss"][-1] for one in random]))
        random_epochs = float(np.mean([one["epochs"][-1] for one in random]))
        print(f"{task}, {slots} at once: random search ends at {goal:.4g} after {random_epochs:.0f} epochs, "
              f"the grid at {finals[0]:.4g} (next {finals[1]:.4g}) after {grid_epochs}")  # fmt: skip
        for contender in arguments.contenders:
            found = curve_runs(arguments, contender, task, slots)
            cells = [
                _share([_epochs_to(one, goal) / random_epochs for one in found]),
                _share([_epochs_to(one, finals[0]) / grid_epochs for one in found]),
                *(f"{np.mean([_regret_at(one, epochs, finals) for one in found]):.3f}"
                  for epochs in (random_epochs / 4, grid_epochs / 10, math.inf)),
                f"{np.mean([one['epochs'][-1] for one in found]):.0f}",
                f"{np.mean([one['ask'] for one in found]) * 1e3:.0f}",
            ]  # fmt: skip
            print(f"| {contender} | {' | '.join(cells)} |", flush=True)


def _epochs_to(one: dict[str, Any], goal: float) -> float:
    reached = [e for e, loss in zip(one["epochs"], one["loss"], strict=True) if loss <= goal * (1 + 1e-9)]
    return reached[0] if reached else math.inf


def _regret_at(one: dict[str, Any], epochs: float, finals: np.ndarray) -> float:
    """Share of the grid's configurations that are better than the incumbent after so many epochs."""
    losses = [loss for e, loss in zip(one["epochs"], one["loss"], strict=True) if e <= epochs]
    return float(np.searchsorted(finals, losses[-1] if losses else math.inf) / len(finals))


def _share(values: list[float]) -> str:
    middle = np.median(values)
    text = f"{middle:.2f}" if math.isfinite(middle) else "not reached"
    return f"{text} ({np.mean(np.isfinite(values)):.0%})"


def main() -> None:
    """Runs what is not there yet and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["tabular", "curves"])
    parser.add_argument("contenders", nargs="*", default=["random", "optuna", "ray", "ours"])
    parser.add_argument("--results", type=Path, default=Path("search-results"), help="A folder.")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--slots", type=int, nargs="*", default=[4])
    parser.add_argument("--trials", type=int, default=100, help="Of a sweep over learning curves.")
    parser.add_argument("--tasks", nargs="*", default=list(curves.BATCHES), help="Learning curves of these.")
    parser.add_argument("--kind", choices=["levels", "lists"], default="levels", help="Numbers or choices.")
    parser.add_argument("--noise", action="store_true", help="A trial gives one seed's value, not the mean.")
    arguments = parser.parse_args()
    arguments.results.mkdir(exist_ok=True)
    (show_tabular if arguments.part == "tabular" else show_curves)(arguments)


if __name__ == "__main__":
    main()
