"""With what each trial was trained: versions, git commit and the user's modules of the driver that had it.

A sweep has a driver from its launch, and another one from each resumption.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dashboards.records import Driver, Sweep, Trial

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_DIGITS = 8
_NAMED = 5
_RANGES = 12


def drivers(mark: Mapping[str, Any]) -> tuple[Driver, ...]:
    """Return a sweep's drivers, oldest first, from the study attribute `lightning_sweeps`."""
    found = []
    sources: dict[str, str | None] = {}
    for kept in (mark, *mark.get("resumed", ())):
        # Older studies have all sources at each resumption, later ones what changed.
        sources = dict(kept["sources"]) if "sources" in kept else sources | kept.get("changed", {})
        there = {name: digest for name, digest in sources.items() if digest is not None}
        found.append(
            Driver(
                moment(kept.get("created")), kept.get("versions") or {}, kept.get("git_commit"), sources=there
            )
        )
    return tuple(found)


def moment(text: str | None) -> datetime | None:
    """Return a time that a driver wrote; None for none."""
    if not text:
        return None
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def trained_by(frozen: "FrozenTrial", known: Sequence[Driver]) -> tuple[int, ...]:
    """Return the indices of the drivers that trained a trial, oldest first; empty if none did.

    Each ended trial says so itself, in older studies only by its times. One that no driver but the last has
    found running, and that did not end, is the last one's.
    """
    if frozen.state.name == "WAITING":
        return ()
    outcome = frozen.user_attrs.get("outcome") or {}
    last = len(known) - 1
    if several := frozen.user_attrs.get("drivers"):
        return tuple(min(index, last) for index in several)
    if "driver" in outcome:
        return (min(outcome["driver"], last),)
    if not frozen.state.is_finished() or frozen.datetime_start is None:
        return (last,)
    begun = (outcome.get("timing") or {}).get("started") or frozen.datetime_start.timestamp()
    starts = [driver.started.timestamp() if driver.started else 0.0 for driver in known[1:]]
    return (bisect_right(starts, begun),)


def recipes(sweep: Sweep, trial: Trial) -> list[Driver]:
    """Return with what a trial was trained, oldest first; what several drivers had is there once.

    The last one has the modules as the trial's worker had them.
    """
    found = [sweep.drivers[index] for index in trial.drivers]
    if found and trial.code:
        found[-1] = replace(found[-1], sources=found[-1].sources | trial.code)
    kept: list[Driver] = []
    for one in found:
        if not any(_is_same(one, other) for other in kept):
            kept.append(one)
    return kept


def _is_same(one: Driver, other: Driver) -> bool:
    return (one.git_commit, one.versions, one.sources) == (other.git_commit, other.versions, other.sources)


def sentences(sweep: Sweep) -> list[str]:
    """Return what the trials were trained with: once for all, and what differs by the trials' numbers."""
    groups = _groups(sweep)
    all_of = [recipe for recipe, _ in groups] or list(sweep.drivers[:1])
    if not all_of:
        return []
    shared = {
        name: version
        for name, version in all_of[0].versions.items()
        if all(recipe.versions.get(name) == version for recipe in all_of)
    }
    commits = {recipe.git_commit for recipe in all_of}
    parts = [f"{name} {version}" for name, version in shared.items()]
    if len(commits) == 1 and all_of[0].git_commit:
        parts.append(f"commit {all_of[0].git_commit}")
    said = [f"the sweep ran with {', '.join(parts)}"] if parts else []
    if len(groups) == 1:
        return said
    for recipe, numbers in groups:
        own = [] if len(commits) == 1 else [f"commit {recipe.git_commit or 'unknown'}"]
        own += [f"{name} {version}" for name, version in recipe.versions.items() if name not in shared]
        own += _own_modules(recipe, all_of)
        if not any(_is_same(recipe, driver) for driver in sweep.drivers):
            own.append("edited while the sweep ran")
        which = f"trial{'s'[: len(numbers) > 1]} {ranges(numbers)}"
        said += [f"{which} ran with {', '.join(own)}"] if own else []
    return said


def _groups(sweep: Sweep) -> list[tuple[Driver, list[int]]]:
    """Return each recipe with the trials that had it; a trial that went on with another one is in both."""
    groups: list[tuple[Driver, list[int]]] = []
    known: dict[tuple[object, ...], list[Driver]] = {}
    for trial in sweep.trials:
        key = (trial.drivers, *sorted(trial.code.items()))
        if key not in known:
            known[key] = recipes(sweep, trial)
        for recipe in known[key]:
            numbers = next((found for other, found in groups if _is_same(recipe, other)), None)
            if numbers is None:
                groups.append((recipe, numbers := []))
            numbers.append(trial.number)
    return groups


def _own_modules(recipe: Driver, others: Sequence[Driver]) -> list[str]:
    """Return the modules that are not the same for all trials, with the beginning of each one's digest."""
    names = [name for name in _names(others) if len({other.sources.get(name) for other in others}) > 1]
    own = [
        f"{name} {recipe.sources[name][:_DIGITS]}" if name in recipe.sources else f"no {name}"
        for name in names[:_NAMED]
    ]
    return [*own, f"{len(names) - _NAMED} more modules"] if len(names) > _NAMED else own


def _names(recipes: Sequence[Driver]) -> list[str]:
    # Without the sources of the first drivers of an older version nothing is known of what they ran.
    if not all(recipe.sources for recipe in recipes):
        return []
    return sorted({name for recipe in recipes for name in recipe.sources})


def recipe_text(recipe: Driver) -> str:
    """Return commit and versions in one line; "" if neither is known."""
    commit = [f"commit {recipe.git_commit}"] if recipe.git_commit else []
    return ", ".join([*commit, *(f"{name} {version}" for name, version in recipe.versions.items())])


def ranges(numbers: Sequence[int]) -> str:
    """Return ascending numbers as `0-5, 7, 9-12`."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1] = [found[-1][0], number]
        else:
            found.append([number])
    text = ", ".join("-".join(map(str, dict.fromkeys(ends))) for ends in found[:_RANGES])
    more = sum(ends[-1] - ends[0] + 1 for ends in found[_RANGES:])
    return f"{text} and {more} more" if more else text
