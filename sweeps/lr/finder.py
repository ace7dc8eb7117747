"""Finds learning rates before a sweep: range tests on the workers, read, and applied to the sweep.

The study keeps what was found as its attribute `lr_finder`, which is all that resume and the readers know:

    parameter       the configuration path of the learning rate
    low, high, steps    of the range tests
    findings        a list, one for each place of the space that sets the rate (one an optimizer of a choice):
        parameter       its Optuna name
        suggestion      the rate that the first trial gets; null where nothing was found
        interval        [low, high] as found; null likewise
        allowed         [low, high] of the sweep file
        searched        [low, high] that the sweep searches
        confidence      high, medium, low or none
        notes           lines about it
        curves          a list of {rates, losses, suggestion}; a null loss is one that was not finite
"""

import importlib
import itertools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search_spaces import FloatParameter, Site
from sweeps.context import TrialContext
from sweeps.executors import Crew
from sweeps.lr.curve import Curve, Finding, read
from sweeps.lr.narrow import configurations, narrowed, starts, within
from sweeps.records import Point
from sweeps.sweep_file.cells import grid_arguments
from sweeps.sweep_file.sections import LrFinder
from sweeps.sweep_file.spec import SweepSpec

STARTS = 10
"""Trials that a sweep begins with at most: as many as the sampler `auto` spreads out before it learns."""

REPEATS = 4
"""Range tests of a single configuration, each with another seed: one curve alone says little."""


@dataclass(frozen=True)
class Found:
    """What was found for one place of the search space.

    Attributes:
        name: Optuna's name of the parameter; its configuration path where the space does not have it.
        finding: The suggestion and the interval.
        site: The place; None where the space does not have it.
    """

    name: str
    finding: Finding
    site: Site | None = None


def run_test(context: TrialContext, config: Mapping[str, Any], finder: LrFinder, seed: int | None) -> Curve:
    """One range test; called in a worker, where torch is imported."""
    tested: Curve = importlib.import_module("sweeps.lr.range_test").range_test(
        context, config, finder.parameter, low=finder.low, high=finder.high, steps=finder.steps, seed=seed
    )
    return tested


def sites_of(spec: SweepSpec, finder: LrFinder) -> list[Site | None]:
    """The places of the space that set the learning rate; one that is none where the space does not."""
    return [s for s in spec.space.sites if s.config_path == finder.parameter] or [None]


def find(workers: Crew, context: TrialContext, spec: SweepSpec, finder: LrFinder) -> list[Found]:
    """Runs the range tests of all places that set the learning rate, and reads their curves.

    Args:
        workers: Run the tests.
        context: What the trials of the sweep share.
        spec: The sweep.
        finder: What to test. A parameter that the space does not have is tested all the same.
    """
    sites = sites_of(spec, finder)
    jobs, owners = [], []
    for index, site in enumerate(sites):
        tests = [config for _, config in configurations(spec, site, finder.configs)]
        repeats = REPEATS if len(tests) == 1 else 1
        for number, config in enumerate(tests * repeats):
            jobs.append((context, config, finder, (int(spec.seed_everything) + number) % 2**32))
            owners.append(index)
    curves = [_curve(result) for result in workers.map(run_test, jobs)]
    found = []
    for index, site in enumerate(sites):
        own = [curve for curve, owner in zip(curves, owners, strict=True) if owner == index]
        found.append(Found(site.name if site else finder.parameter, read(own), site))
    return found


def _curve(result: Any) -> Curve:
    if isinstance(result, Curve):
        return result
    raised = getattr(result, "cause", None) or result  # what Ray wraps
    told = getattr(raised, "curve", None)
    if isinstance(told, Curve):
        return told
    return Curve((), (), problem=f"the worker failed: {' '.join(str(raised).split())[:300]}")


def stored(spec: SweepSpec, finder: LrFinder, found: Sequence[Found]) -> dict[str, Any]:
    """What the study keeps; see the module's description."""
    return {
        "parameter": finder.parameter,
        "low": finder.low,
        "high": finder.high,
        "steps": finder.steps,
        "findings": [_stored(spec, each) for each in found],
    }


def _stored(spec: SweepSpec, found: Found) -> dict[str, Any]:
    finding, content = found.finding, found.site.content if found.site else None
    allowed = searched = (content.low, content.high) if isinstance(content, FloatParameter) else None
    notes = list(finding.notes)
    suggestion = finding.suggestion
    if isinstance(content, FloatParameter) and suggestion is not None and finding.interval:
        known = [float(str(p[found.name])) for p in spec.start_with_params if found.name in p]
        narrow = within(content, *finding.interval, also=known)
        if narrow is None:
            notes.append("the interval lies outside the range of the sweep file, which is searched as it is")
        low, high = searched = narrow or (content.low, content.high)
        suggestion = min(max(suggestion, low), high)
    return {
        "parameter": found.name,
        "suggestion": suggestion,
        "interval": list(finding.interval) if finding.interval else None,
        "allowed": list(allowed) if allowed else None,
        "searched": list(searched) if searched else None,
        "confidence": finding.confidence,
        "notes": notes,
        "curves": [
            {**curve.plain(), "suggestion": own}
            for curve, own in zip(finding.curves, finding.suggestions, strict=True)
        ],
    }


def prepare(workers: Crew, context: TrialContext, spec: SweepSpec) -> dict[str, Any]:
    """What a new sweep notes in its study: the findings, where its file asks for them."""
    finder = spec.lr_finder
    if finder is None or finder.mode == "trial":
        return {}
    return {"lr_finder": stored(spec, finder, find(workers, context, spec, finder))}


def findings(attributes: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """What was found, from the attributes of a study; nothing where the finder was not asked for."""
    kept: Sequence[Mapping[str, Any]] = attributes.get("lr_finder", {}).get("findings", [])
    return kept


def applied(spec: SweepSpec, attributes: Mapping[str, Any]) -> SweepSpec:
    """The sweep with the ranges that the study notes."""
    found = findings(attributes)
    narrow = {f["parameter"]: tuple(f["searched"]) for f in found if f["searched"] != f["allowed"]}
    return narrowed(spec, narrow) if narrow else spec


def suggested(attributes: Mapping[str, Any], spec: SweepSpec) -> list[dict[str, Any]]:
    """The parameters that the sweep begins with, after the user's own starting points.

    For each place, the centre with the suggestion, then the other tested configurations, each with the rate
    that its own test suggests: they take the place of the sampler's first ones, which are as arbitrary, and
    make the sweep more reliable (see `tests/benchmarks/lr_finder.md`). With the user's points they are at
    most half of the trials, and at most `STARTS`, but never fewer than the suggestions; a grid, which has
    configurations of its own, gets only these.
    """
    found = [finding for finding in findings(attributes) if finding["suggestion"] is not None]
    known = {finding["parameter"]: finding["suggestion"] for finding in found}
    places = [_starts(finding, known, spec) for finding in found]
    if grid_arguments(spec.sampler) is not None:
        most = len(places)
    else:
        half = min(STARTS, (spec.budget.trials or 2 * STARTS) // 2)
        most = max(len(places), half - len(spec.start_with_params))
    in_turn = [start for turn in itertools.zip_longest(*places) for start in turn if start]
    return in_turn[:most]


def _starts(finding: Mapping[str, Any], known: Mapping[str, float], spec: SweepSpec) -> list[dict[str, Any]]:
    """What is begun with at one place, best known first; `known` are the suggestions of all places."""
    [site] = [site for site in spec.space.sites if site.name == finding["parameter"]]
    if grid_arguments(spec.sampler) is not None or spec.lr_finder is None:
        return [starts(site, finding["suggestion"])]
    low, high = finding["searched"]
    found = []
    tested = configurations(spec, site, spec.lr_finder.configs)
    for index, ((params, _), curve) in enumerate(zip(tested, finding["curves"], strict=False)):
        rate = curve["suggestion"] if index else finding["suggestion"]
        if rate is not None:
            others = {name: known[name] for name in params.keys() & known.keys()}
            found.append({**params, **others, site.name: min(max(rate, low), high)})
    return found


def lines(attributes: Mapping[str, Any]) -> list[str]:
    """What was found, a line each, for people."""
    return [_line(finding) for finding in findings(attributes)]


def _line(finding: Mapping[str, Any]) -> str:
    notes = "; ".join(finding["notes"])
    if finding["suggestion"] is None:
        return f"{finding['parameter']}: no learning rate found, the range of the file is searched: {notes}"
    low, high = finding["interval"]
    text = f"{finding['parameter']}: {finding['suggestion']:.2g}, interval {low:.2g} .. {high:.2g}"
    if finding["searched"] and finding["searched"] != finding["interval"]:
        text += f", searched {finding['searched'][0]:.2g} .. {finding['searched'][1]:.2g}"
    return f"{text}, confidence {finding['confidence']}" + (f" ({notes})" if notes else "")


def params(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Suggestions and intervals as MLflow's parent run has them."""
    said = {}
    for finding in findings(attributes):
        if finding["suggestion"] is not None:
            name = f"lr_finder.{finding['parameter']}"
            said[f"{name}.suggestion"] = f"{finding['suggestion']:.4g}"
            for key in ("interval", "searched"):
                if finding[key]:
                    said[f"{name}.{key}"] = " .. ".join(f"{end:.4g}" for end in finding[key])
    return said


def points(attributes: Mapping[str, Any]) -> tuple[Point, ...]:
    """The curves as MLflow keeps them: rate and loss at each step of each range test."""
    found = []
    now = time.time_ns() // 1_000_000
    for finding in findings(attributes):
        for number, curve in enumerate(finding["curves"]):
            key = f"lr_finder/{finding['parameter']}/{number}"
            for step, (rate, loss) in enumerate(zip(curve["rates"], curve["losses"], strict=False)):
                found.append(Point(f"{key}/lr", rate, step, now))
                if loss is not None:
                    found.append(Point(f"{key}/loss", loss, step, now))
    return tuple(found)


def recorded(attributes: Mapping[str, Any], **known: str) -> dict[str, Any]:
    """What `SweepInfo` takes of the findings, with the parameters that are known besides."""
    found = attributes.get("lr_finder")
    return {
        "params": known | params(attributes),
        "texts": {"lr_finder.json": json.dumps(found)} if found else {},
        "points": points(attributes),
    }
