"""Several objectives: the trials that no other is better than, and how one objective alone is looked at."""

from collections.abc import Sequence
from dataclasses import replace

from dashboards.records import Sweep, Trial


def pareto_set(trials: Sequence[Trial], directions: Sequence[str]) -> tuple[Trial, ...]:
    """Return the complete trials that no other one dominates, the best in the first objective first.

    One dominates another if it is no worse in any objective and better in one (Pareto dominance, as in
    Deb et al. 2002, doi.org/10.1109/4235.996017); equal ones are all returned.
    """
    signs = [-1.0 if direction == "maximize" else 1.0 for direction in directions]
    costs = {
        trial.number: tuple(sign * value for sign, value in zip(signs, trial.values, strict=True))
        for trial in trials
        if trial.state == "complete" and len(trial.values) == len(signs)
    }
    found: list[Trial] = []
    # In this order no trial is dominated by a later one.
    complete = [trial for trial in trials if trial.number in costs]
    for trial in sorted(complete, key=lambda trial: (costs[trial.number], trial.number)):
        mine = costs[trial.number]
        if not any(_dominates(costs[other.number], mine) for other in found):
            found.append(trial)
    return tuple(sorted(found, key=lambda trial: (costs[trial.number][0], trial.number)))


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def first_objective(sweep: Sweep) -> Sweep:
    """Return the sweep as if its first objective were its only one."""
    trials = tuple(replace(trial, values=()) for trial in sweep.trials)
    alone = replace(sweep, summary=replace(sweep.summary, objectives=(), front=()), trials=trials)
    best = alone.best
    summary = replace(alone.summary, best_number=best.number if best else None)
    return replace(alone, summary=summary)
