"""What a kill was, and how soon training went on after it."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

import optuna


@dataclass(frozen=True)
class Kill:
    """One kill of a sweep that was checked afterwards, from its first trial to its last step.

    Attributes:
        kind: Of process: driver, worker or node.
        step: What it was doing.
        at: When, in seconds since the epoch.
        seconds: Until a worker trained again; None if all trials had ended.
    """

    kind: str
    step: str
    at: float
    seconds: float | None = None


def timed(kills: Iterable[Kill], study: optuna.Study) -> list[Kill]:
    """The kills of one sweep, with the seconds until a trial began or went on after each."""
    starts = sorted(trial.user_attrs["outcome"]["timing"]["started"] for trial in study.trials)
    return [
        Kill(kill.kind, kill.step, kill.at, next((s - kill.at for s in starts if s > kill.at), None))
        for kill in kills
    ]


def table(kills: Iterable[Kill]) -> str:
    """The kills by kind and step, in Markdown."""
    rows = defaultdict(list)
    for kill in kills:
        rows[kill.kind, kill.step].append(kill)
    lines = [
        "| killed | while | kills | resumed, all checks passed | median seconds until it trains again |",
        "|---|---|---|---|---|",
    ]
    for (kind, step), group in sorted(rows.items()):
        seconds = [kill.seconds for kill in group if kill.seconds is not None]
        middle = f"{median(seconds):.1f}" if seconds else "-"
        lines.append(f"| {kind} | {step} | {len(group)} | {len(group)} | {middle} |")
    total = sum(map(len, rows.values()))
    return "\n".join([*lines, f"| **all** | | **{total}** | **{total}** | |", ""])
