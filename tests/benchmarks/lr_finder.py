"""The learning-rate finder against the truth, beside Lightning's own; results and dates in lr_finder.md.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.lr_finder --suggestions curves.json
    OMP_NUM_THREADS=1 python -m tests.benchmarks.lr_finder --sweeps sweeps.json

The first runs, for each pair of `lr_truth.json` and each of five seeds, what `sweeps lr-find` does for one
configuration, and Lightning's `Tuner.lr_find`. The second runs real sweeps with and without `lr_finder`.
Both go on with what their file holds already, so that they can be cut short; without a file to write they
only print what it holds.
"""

import argparse
import itertools
import json
import math
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sweeps.context import TrialContext
from sweeps.executors.scripted import ScriptedExecutor
from sweeps.lr import finder
from sweeps.lr.curve import Curve, Finding, read
from sweeps.lr.narrow import configurations
from sweeps.lr.range_test import range_test
from sweeps.records import Assignment, Report
from sweeps.runner import run
from sweeps.study.persistence import create_study
from sweeps.study.study import Study
from sweeps.sweep_file.loading import load_spec
from tests.benchmarks.lr_tasks import Task, TaskData, arrays, loss_of, network
from tests.benchmarks.lr_truth import FILE, OPTIMIZERS, batches, optimizer_of, pairs

SEEDS = range(5)
FIRST_SEED = 1000
"""The rule was made with curves of other seeds."""

NEW = ("gru_mnist1d", "autoencoder_digits", "deep_diabetes")
"""Tasks that the rule was not fitted to; of these, diabetes was seen while it was made."""

CONTEXT = TrialContext("val_loss", True, "best", Path(tempfile.gettempdir()), (str(Path.cwd()),))


def config_of(kind: str, optimizer: str, batch: int) -> dict[str, Any]:
    """A pair as a sweep file has it."""
    path, options = OPTIMIZERS[optimizer]
    return {
        "model": {"class_path": "tests.benchmarks.lr_tasks.Task", "init_args": {"kind": kind}},
        "data": {
            "class_path": "tests.benchmarks.lr_tasks.TaskData",
            "init_args": {"kind": kind, "batch_size": batch},
        },
        "optimizer": {"class_path": path, "init_args": {"lr": 1e-3, **options}},
        "trainer": {"accelerator": "cpu", "max_epochs": 1},
        "seed_everything": 0,
    }


def lightnings(kind: str, optimizer: str, batch: int, seed: int) -> float | None:
    """The suggestion of Lightning's finder, with its defaults but for the range, which is ours."""
    import lightning.pytorch as pl
    from lightning.pytorch.tuner.tuning import Tuner

    class WithRate(Task):
        def __init__(self) -> None:
            super().__init__(kind)
            self.lr = 1e-3

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return optimizer_of(optimizer, self.parameters(), self.lr)

    pl.seed_everything(seed, verbose=False)
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            max_epochs=-1, logger=False, accelerator="cpu", enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=folder, num_sanity_val_steps=0, limit_val_batches=0,
        )  # fmt: skip
        try:
            found = Tuner(trainer).lr_find(
                WithRate(), datamodule=TaskData(kind, batch), min_lr=1e-8, max_lr=1.0, num_training=100,
                update_attr=False,
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001 - that counts as no suggestion
            print(f"Lightning: {error}")
            return None
    return found.suggestion() if found else None


def suggestions(file: Path) -> None:
    """Runs the range tests that the file does not hold yet."""
    held = json.loads(file.read_text()) if file.exists() else {}
    for seed in SEEDS:
        for kind, optimizer, batch in pairs():
            key = f"{kind} {optimizer} {batch} {seed}"
            if key in held:
                continue
            first = FIRST_SEED + seed * finder.REPEATS
            tests = [
                range_test(CONTEXT, config_of(kind, optimizer, batch), "optimizer.init_args.lr",
                           low=1e-8, high=1.0, steps=100, seed=first + repeat)
                for repeat in range(finder.REPEATS)
            ]  # fmt: skip
            held[key] = {
                "rates": tests[0].rates if len(tests[0].rates) == 100 else [],
                "curves": [[None if v is None else float(f"{v:.5g}") for v in t.losses] for t in tests],
                "lightning": lightnings(kind, optimizer, batch, first),
            }
            file.write_text(json.dumps(held))
        print(f"seed {seed} is done", flush=True)


def truth_of(entry: dict[str, Any]) -> tuple[float, list[float]]:
    """The log10 of the best rate, and of all rates within one standard deviation of its seeds."""
    losses = np.array([[math.inf if v is None else v for v in row] for row in entry["losses"]])
    means, logs = losses.mean(axis=1), np.log10(entry["rates"])
    best = int(means.argmin())
    near = logs[means <= means[best] + losses[best].std(ddof=1)]
    return float(logs[best]), [float(log) for log in near]


def found_of(entry: dict[str, Any], count: int) -> Finding:
    """What the finder makes of the first curves of an entry."""
    from sweeps.lr.curve import rates_between

    rates = rates_between(1e-8, 1.0, 100)
    return read([Curve(rates[: len(losses)], tuple(losses)) for losses in entry["curves"][:count]])


def print_suggestions(file: Path) -> None:
    """The table of lr_finder.md."""
    truth, held = json.loads(FILE.read_text()), json.loads(file.read_text())
    known = [pair for pair in truth if not pair.startswith(NEW)]
    new = [pair for pair in truth if pair.startswith(NEW)]
    print(
        "| pair | best rate | suggestion (distance) | interval (width) | best inside | Lightning (distance) |"
    )
    print("|---|---|---|---|---|---|")
    for title, group in (("as in the making", known), ("new", new), ("all", known + new)):
        for count in (finder.REPEATS, 1):
            rows = [row for pair in group for row in _rows(pair, truth[pair], held, count)]
            if title != "all" and count > 1:
                for pair in group:
                    _print_pair(pair, truth[pair], [row for row in rows if row["pair"] == pair])
            print(f"{title}, {count} curves: {_summary(rows)}")


def _rows(pair: str, entry: dict[str, Any], held: dict[str, Any], count: int) -> list[dict[str, Any]]:
    best, near = truth_of(entry)
    rows = []
    for seed in SEEDS:
        if (one := held.get(f"{pair} {seed}")) is None:
            continue
        found, theirs = found_of(one, count), one["lightning"]
        low, high = np.log10(found.interval) if found.interval else (math.nan, math.nan)
        rows.append({
            "pair": pair,
            "suggestion": found.suggestion,
            "distance": _distance(found.suggestion, near),
            "inside": bool(low - 1e-9 <= best <= high + 1e-9),
            "near_inside": any(low - 1e-9 <= log <= high + 1e-9 for log in near),
            "low": low, "high": high,
            "theirs": theirs,
            "their_distance": _distance(theirs, near),
        })  # fmt: skip
    return rows


def _distance(rate: float | None, near: Sequence[float]) -> float:
    return min(abs(math.log10(rate) - log) for log in near) if rate else math.inf


def _print_pair(pair: str, entry: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    best, near = truth_of(entry)
    middle = {
        key: statistics.median(row[key] for row in rows)
        for key in ("distance", "low", "high", "their_distance")
    }
    suggestion = statistics.median(row["suggestion"] or 0 for row in rows)
    theirs = statistics.median(row["theirs"] or 0 for row in rows)
    print(
        f"| {pair} | {10**best:.2g} ({10 ** min(near):.2g} .. {10 ** max(near):.2g}) "
        f"| {suggestion:.2g} ({middle['distance']:.2f}) "
        f"| {10 ** middle['low']:.2g} .. {10 ** middle['high']:.2g} ({middle['high'] - middle['low']:.2f}) "
        f"| {sum(row['inside'] for row in rows)} of {len(rows)} "
        f"| {theirs:.2g} ({middle['their_distance']:.2f}) |"
    )


def _summary(rows: list[dict[str, Any]]) -> str:
    def share(key: str, most: float) -> float:
        return sum(row[key] <= most for row in rows) / len(rows)

    width = statistics.median(row["high"] - row["low"] for row in rows)
    return (
        f"{len(rows)} runs, median distance {statistics.median(row['distance'] for row in rows):.2f}, "
        f"within 0.7 {share('distance', 0.7):.1%}, "
        f"best inside {sum(r['inside'] for r in rows) / len(rows):.1%} "
        f"(one as good {sum(r['near_inside'] for r in rows) / len(rows):.1%}), median width {width:.2f}; "
        f"Lightning median {statistics.median(row['their_distance'] for row in rows):.2f}, "
        f"within 0.7 {share('their_distance', 0.7):.1%}"
    )


TASKS = ("mlp_digits", "mlp_mnist1d", "cnn_digits")
SWEEP_SEEDS, TRIALS, EPOCHS = 10, 30, 8

SECTIONS: dict[str, dict[str, Any] | None] = {
    "plain": None,
    "as it is": {"configs": 8},
    "short": {"configs": 3, "steps": 60, "low": 1e-6},
}
"""The sweep file's `lr_finder` of each sweep that is compared with the plain one."""


class Here:
    """Runs range tests in this process."""

    def map(
        self, function: Any, arguments: Sequence[tuple[Any, ...]], timeout_seconds: float = math.inf
    ) -> list[Any]:
        """One after the other."""
        return [function(*given) for given in arguments]


def sweep(kind: str, seed: int, section: dict[str, Any] | None) -> dict[str, Any]:
    """A real sweep with real range tests; its trainings run one at a time, in a plain loop."""
    raw = {
        "name": "bench", "objective": {"metric": "val_loss", "direction": "minimize"},
        "budget": {"trials": TRIALS}, **config_of(kind, "adam", 32),
        "trainer": {"accelerator": "cpu", "max_epochs": EPOCHS},
        "sampler": {"class_path": "optuna.samplers.TPESampler", "init_args": {"seed": seed}},
        "search_space": {
            "optimizer.init_args.lr": {"type": "float", "low": 1e-5, "high": 1.0, "log": True},
            "model.init_args.width": {"type": "int", "low": 8, "high": 64, "log": True},
            "data.init_args.batch_size": [32, 64, 128],
        },
    }  # fmt: skip
    spec = load_spec(raw | ({"lr_finder": section} if section else {}))
    notes = finder.prepare(Here(), CONTEXT, spec)
    narrow = finder.applied(spec, notes)
    study = create_study(
        spec, None, validations=EPOCHS, notes=notes, starts=finder.suggested(notes, spec), searched=narrow
    )
    epochs: float = sum(
        len(curve["losses"]) * batch_of(config) / len(arrays(kind)[0])
        for found in notes.get("lr_finder", {}).get("findings", [])
        for curve, (_, config) in zip(
            found["curves"],
            configurations(spec, spec.space.sites[0], (section or {})["configs"]),
            strict=True,
        )
    )
    best = math.inf
    course: list[tuple[float, float]] = []

    class Watching:
        def record(self, event: Any) -> None:
            nonlocal best, epochs
            if isinstance(event, Report):
                epochs += 1
                best = min(best, event.value)
                course.append((epochs, best))

    run(
        Study(study, narrow), ScriptedExecutor(lambda a: training(kind, a, seed), length=EPOCHS), [Watching()]
    )
    return {
        "course": _steps(course) if section else course[-1:],
        "found": notes.get("lr_finder", {}).get("findings", [{}])[0].get("searched"),
    }


def batch_of(config: dict[str, Any]) -> int:
    """The batch size of a configuration."""
    size: int = config["data"]["init_args"]["batch_size"]
    return size


def _steps(course: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Where the best so far got better."""
    kept: list[tuple[float, float]] = []
    for at, value in course:
        if not kept or value < kept[-1][1]:
            kept.append((round(at, 1), float(f"{value:.5g}")))
    return kept


def training(kind: str, assignment: Assignment, seed: int) -> Iterator[tuple[float, float]]:
    """Trains a configuration: seconds (one an epoch) and the validation loss of each epoch."""
    config = assignment.config
    torch.manual_seed(1000 * seed + assignment.number)
    net = network(kind, config["model"]["init_args"]["width"])
    optimizer = optimizer_of("adam", net.parameters(), config["optimizer"]["init_args"]["lr"])
    _, _, x_val, y_val = arrays(kind)
    for _ in range(EPOCHS):
        net.train()
        for x, y in batches(kind, batch_of(config)):
            loss = loss_of(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            yield 1.0, loss_of(net(x_val), y_val).item()


def sweeps(file: Path) -> None:
    """Runs the sweeps that the file does not hold yet."""
    held = json.loads(file.read_text()) if file.exists() else {}
    for seed in range(SWEEP_SEEDS):
        for kind in TASKS:
            key = f"{kind} {seed}"
            if key not in held:
                held[key] = {name: sweep(kind, seed, section) for name, section in SECTIONS.items()}
                file.write_text(json.dumps(held))
        print(f"seed {seed} is done", flush=True)


def print_sweeps(file: Path) -> None:
    """Of each task the share of the plain sweep's epochs after which the other was as good."""
    held = json.loads(file.read_text())
    print("| task | finder | epochs of the plain sweep | share until as good (median) | got there | each |")
    print("|---|---|---|---|---|---|")
    for kind, name in itertools.product(TASKS, [name for name in SECTIONS if name != "plain"]):
        shares, plain = [], []
        for key, pair in held.items():
            if not key.startswith(f"{kind} "):
                continue
            [(epochs, value)] = pair["plain"]["course"]
            there = [at for at, best in pair[name]["course"] if best <= value]
            shares.append(there[0] / epochs if there else math.inf)
            plain.append(epochs)
        each = ", ".join(f"{share:.2f}" for share in sorted(shares))
        print(
            f"| {kind} | {name} | {statistics.median(plain):.0f} | {statistics.median(shares):.2f} "
            f"| {sum(map(math.isfinite, shares))} of {len(shares)} | {each} |"
        )


def main() -> None:
    """Runs what is asked for and prints it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suggestions", type=Path)
    parser.add_argument("--sweeps", type=Path)
    parser.add_argument("--print-only", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for file, work, show in (
        (given.suggestions, suggestions, print_suggestions),
        (given.sweeps, sweeps, print_sweeps),
    ):
        if file:
            if not given.print_only:
                work(file)
            show(file)


if __name__ == "__main__":
    main()
