"""`lr_finder: {mode: trial}` in a worker: a range test of the trial's own configuration before it trains.

What was found is kept in the trial's folder, so that an attempt that goes on trains with the same rate. It
leaves with the outcome, whose `rate` is this:

    parameter       the configuration path of the learning rate
    suggestion      the rate that the test suggests; null where it says nothing
    interval        [low, high] in which the best rate lies; null likewise
    multiplier      the searched factor; 1 without one
    rate            the rate of the training; null where nothing was found and the configuration names none
    notes           lines about it
    curve           {rates, losses} of the test; a null loss is one that was not finite
"""

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from search_spaces.paths import get, put, unshared
from sweeps.context import RateSearch, TrialContext
from sweeps.layout import RATE, folder_of
from sweeps.lr.curve import Curve, read
from sweeps.lr.narrow import has_place
from sweeps.lr.range_test import range_test
from sweeps.records import Assignment, Outcome
from sweeps.remote import RemoteFolder
from sweeps.sweep_file.sections import MULTIPLIER
from sweeps.training.points import Points


def with_rate(
    assignment: Assignment, context: TrialContext, folder: Path, points: Points
) -> tuple[Assignment, dict[str, Any]]:
    """The assignment with the rate that its range test finds, and what was found; as it is without a finder.

    Args:
        assignment: The trial. An attempt that goes on takes what an earlier one found.
        context: What all trials share.
        folder: The trial's.
        points: Takes the curve.

    Raises:
        Exception: The range test ran out of memory, or the GPU is unusable: so would the training.
    """
    search = context.rate
    if search is None:
        return assignment, {}
    found = _kept(folder) if assignment.attempt else None
    if found is None:
        found = _find(assignment, context, search)
        _keep(found, folder, context.store and f"{context.store}/{folder_of(assignment.number)}")
    for step, (rate, loss) in enumerate(zip(found["curve"]["rates"], found["curve"]["losses"], strict=True)):
        points.log_metrics({"lr_finder/lr": rate, **({} if loss is None else {"lr_finder/loss": loss})}, step)
    config: Any = assignment.config
    if found["rate"] is not None:
        config = put(unshared(config), search.parameter, found["rate"])
    change = "; ".join(filter(None, [assignment.change, wording(found)]))
    print(change)  # noqa: T201 - to the trial's log
    return replace(assignment, config=config, change=change), found


def with_found(outcome: Outcome, found: Mapping[str, Any], config: dict[str, Any]) -> Outcome:
    """The outcome of a training with what its range test found; as it is without one."""
    if not found:
        return outcome
    effective: dict[str, Any] = {"learning_rate": found["rate"], "lr_suggestion": found["suggestion"]}
    if found["interval"]:
        effective["lr_interval"] = " .. ".join(f"{end:.4g}" for end in found["interval"])
    known = {name: value for name, value in effective.items() if value is not None}
    return replace(outcome, effective=outcome.effective | known, rate=dict(found), config=config)


def _find(assignment: Assignment, context: TrialContext, search: RateSearch) -> dict[str, Any]:
    configured = get(assignment.config, search.parameter)
    multiplier = float(assignment.params.get(MULTIPLIER, 1.0))
    curve = Curve((), (), problem="this configuration has no place for it")
    if has_place(assignment.config, search.parameter):
        curve = range_test(
            context, assignment.config, search.parameter,
            low=search.low, high=search.high, steps=search.steps,
        )  # fmt: skip
    finding = read([curve])
    rate, notes = finding.suggestion, list(finding.notes)
    if rate is None and isinstance(configured, int | float):
        rate = configured
    if rate is not None:
        rate = float(f"{rate * multiplier:.4g}")
        low, high = next((b for n, b in search.bounds.items() if n in assignment.params), (rate, rate))
        if not low <= rate <= high:
            notes.append(f"{rate:.3g} is held to the range of the sweep file")
            rate = min(max(rate, low), high)
    return {
        "parameter": search.parameter,
        "suggestion": finding.suggestion,
        "interval": list(finding.interval) if finding.interval else None,
        "multiplier": multiplier,
        "rate": rate,
        "notes": notes,
        "curve": curve.plain(),
    }


def wording(found: Mapping[str, Any]) -> str:
    """What was found, in a line."""
    said = f"; {'; '.join(found['notes'])}" if found["notes"] else ""
    if found["suggestion"] is None:
        used = "the default" if found["rate"] is None else f"{found['rate']:.3g}"
        return f"no learning rate found, so {used} is used{said}"
    factor = f" times {found['multiplier']:.3g}" if found["multiplier"] != 1 else ""
    return f"learning rate {found['rate']:.3g} by a range test: {found['suggestion']:.3g}{factor}{said}"


def _keep(found: Mapping[str, Any], folder: Path, store: str) -> None:
    """Writes it into the trial's folder, as a whole or not at all; a disk that is full keeps nothing."""
    path = folder / RATE
    new = path.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):
        new.write_text(json.dumps(found))
        new.replace(path)
        if store:
            RemoteFolder(store).send(path, RATE)
    with contextlib.suppress(OSError):
        new.unlink(missing_ok=True)


def _kept(folder: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((folder / RATE).read_text())
    except (OSError, ValueError):
        return None
    return found
