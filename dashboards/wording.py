"""How names, numbers and times are written for people."""

import math
from collections.abc import Iterable
from typing import Any


def value_text(value: Any) -> str:
    """Return a parameter's value in a few characters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def number_text(value: float | None, digits: int = 5) -> str:
    """Return a number with so many significant digits, and `-` for none."""
    return "-" if value is None else f"{value:.{digits}g}"


def counted(count: int, noun: str) -> str:
    """Return `1 trial`, `2 trials`, `10,000 trials`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def percent_text(share: float) -> str:
    """Return a share from 0 to 1 in whole percent; `<1 %`, `>99 %` for not quite nothing or all."""
    if 0.995 <= share < 1:
        return ">99 %"
    return "<1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def worse_text(gap: float) -> str:
    """Return how a value is behind the best one."""
    return f"worse by {number_text(gap, 3)}" if gap else "equally good"


def duration_text(seconds: float | None) -> str:
    """Return seconds as people say them: `4.2 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Return for each of Optuna's names the shortest end that no other name has, `init_args` left out.

    `model.init_args.lr` becomes `lr`, and `model.lr` if there is an `optimizer.init_args.lr` beside it.
    """
    parts = {name: [p for p in name.split(".") if p != "init_args"] or [name] for name in names}
    short: dict[str, str] = {}
    for name, own in parts.items():
        others = [other for key, other in parts.items() if key != name]
        lengths = range(1, len(own) + 1)
        unique = (n for n in lengths if all(other[-n:] != own[-n:] for other in others))
        length = next(unique, None)
        short[name] = name if length is None else ".".join(own[-length:])
    return short
