"""Sweeps that are not as sweeps usually are: the pages must make sense of them all."""

import math
from dataclasses import replace

from dashboards.pareto import pareto_set
from dashboards.records import Parameter, Sweep
from tests.studies import EVIL, realistic_sweep, sweep_record, trial_record


def all_of(state: str, count: int = 12) -> Sweep:
    trials = [
        trial_record(
            n, state, None, params={"lr": 0.1 + n / 100}, intermediate={1: 1.0 + n}, reason="because"
        )
        for n in range(count)
    ]
    return sweep_record(trials, Parameter("lr", "float", 0.0, 1.0))


def wide() -> Sweep:
    space = [Parameter(f"model.init_args.p{n}", "float", 0.0, 1.0) for n in range(40)]
    trials = []
    for n in range(60):
        params = {parameter.name: (n * 13 + i) % 60 / 60 for i, parameter in enumerate(space)}
        trials.append(trial_record(n, "complete", n * 7 % 60 / 60, params=params))
    return sweep_record(trials, *space)


def odd() -> Sweep:
    values: list[float | None] = [math.inf, math.nan, 1e300, -1e300, 0.0, None, 5e-324]
    trials = [
        trial_record(n, "complete" if value is not None else "failed", value, params={"lr": value or 0.5},
                     intermediate={1: math.nan, 2: math.inf}, timing={"started": 5.0})
        for n, value in enumerate(values)
    ]  # fmt: skip
    return sweep_record(
        trials,
        Parameter("lr", "float", -1e300, 1e300),
        Parameter("none", "categorical", choices=(None, True, 1)),
    )


def evil() -> Sweep:
    """Return a sweep whose every name and text is markup."""
    name = f"model.{EVIL}"
    trials = [
        trial_record(n, "complete", n / 9, reason=EVIL, worker=EVIL, intermediate={1: 1.0, 2: 0.5},
                     params={name: (EVIL, "b")[n % 2], "x": n / 20},
                     timing={"started": 1.0 + n, "slot_seconds": 1.0})
        for n in range(16)
    ]  # fmt: skip
    space = (Parameter(name, "categorical", choices=(EVIL, "b")), Parameter("x", "float", 0.0, 1.0))
    return sweep_record(trials, *space, name=EVIL, metric=EVIL)


def several_objectives() -> Sweep:
    """Return a sweep of a loss and a latency, a third objective to be maximized."""
    objectives = (("val_loss", "minimize"), ("latency_ms", "minimize"), ("val_acc", "maximize"))
    usual = realistic_sweep(60, seed=4)
    trials = []
    for trial in usual.trials:
        hidden, loss = trial.params["model.init_args.hidden"], trial.value or 1.0
        values = (loss, 0.4 + hidden / 90 + trial.number % 7 / 20, 1.0 - loss / 3)
        trials.append(replace(trial, values=values if trial.state == "complete" else ()))
    front = pareto_set(trials, [direction for _, direction in objectives])
    summary = replace(usual.summary, objectives=objectives, front=tuple(trial.number for trial in front))
    return replace(usual, summary=summary, trials=tuple(trials))


def range_tests() -> Sweep:
    """Return a sweep that began with range tests of the learning rate."""
    rates = [10 ** (-6 + 7 * step / 60) for step in range(61)]
    falls = [2.3 - 1.9 / (1 + (3e-3 / rate) ** 1.5) for rate in rates]
    losses = [fall + (rate / 0.9) ** 3 for fall, rate in zip(falls, rates, strict=True)]
    curves = [{"rates": rates, "losses": [loss * (1 + n / 40) for loss in losses]} for n in range(2)]
    finding = {
        "parameter": "optimizer.sgd.init_args.lr",
        "curves": curves,
        "suggestion": 0.012,
        "interval": [0.002, 0.09],
        "searched": [0.002, 0.09],
        "confidence": "high",
        "notes": [],
    }
    nothing = {"parameter": "optimizer.adamw.init_args.lr", "curves": [], "suggestion": None,
               "interval": None, "searched": None, "confidence": "none",
               "notes": ["the loss never fell"]}  # fmt: skip
    return realistic_sweep(20, lr_finder={"findings": [finding, nothing]})


def odd_sweeps() -> dict[str, Sweep]:
    """Return them all, by what is odd about them."""
    return {
        "empty": sweep_record([]),
        "one trial": realistic_sweep(1),
        **{f"all {state}": all_of(state) for state in ("failed", "pruned", "diverged", "running")},
        "40 parameters": wide(),
        "NaN and infinities": odd(),
        "conditional": realistic_sweep(60, seed=3),
        "markup": evil(),
        "several objectives": several_objectives(),
        "range tests": range_tests(),
    }
