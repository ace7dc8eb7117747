"""Sweeps that are not as sweeps usually are: the pages must make sense of them all."""

import math

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
    }
