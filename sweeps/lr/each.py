"""`lr_finder: {mode: trial}`, seen from the driver: what each trial is told, and what that costs."""

from search_spaces import FloatParameter
from sweeps.context import RateSearch
from sweeps.lr.finder import REPEATS
from sweeps.sweep_file.spec import SweepSpec


def rate_search(spec: SweepSpec) -> RateSearch | None:
    """How each trial finds its learning rate; None if the sweep does not ask for it."""
    finder = spec.lr_finder
    if finder is None or finder.mode != "trial":
        return None
    bounds = {
        site.name: (site.content.low, site.content.high)
        for site in spec.space.sites
        if site.config_path == finder.parameter and isinstance(site.content, FloatParameter)
    }
    return RateSearch(finder.parameter, finder.low, finder.high, finder.steps, bounds)


def outlook(spec: SweepSpec, batches: int | None) -> str:
    """What the finder is going to do, and what that costs, for `sweeps check`; "" without one.

    Args:
        spec: The sweep.
        batches: Training batches an epoch at the centre of the space; None if that is not known.
    """
    finder = spec.lr_finder
    if finder is None:
        return ""
    test = f"a range test of {finder.steps} optimizer steps, {finder.low:g} .. {finder.high:g}"
    if finder.mode == "trial":
        trials = spec.budget.trials
        asked = _cost(trials * finder.steps, spec, batches) + f" for {trials} trials" if trials else ""
        factor = ", times a searched multiplier" if finder.multiplier is not None else ""
        in_all = f"; at most {asked}" if asked else ""
        return f"each trial begins with {test}, and trains with {finder.parameter} as found{factor}{in_all}"
    places = sum(site.config_path == finder.parameter for site in spec.space.sites)
    count = places * (finder.configs if finder.configs > 1 else REPEATS)
    cost = _cost(count * finder.steps, spec, batches)
    return f"{count} times {test}, before the first trial narrow {finder.parameter}; at most {cost}"


def _cost(steps: int, spec: SweepSpec, batches: int | None) -> str:
    text = f"{steps:,} steps"
    accumulated = spec.trainer.get("accumulate_grad_batches") or 1
    if batches and isinstance(accumulated, int):
        text += f" (about {steps * accumulated / batches:,.0f} epochs)"
    return text


def advice(spec: SweepSpec) -> list[str]:
    """Notes on the finder beside the search space."""
    search = rate_search(spec)
    if search is None or not search.bounds:
        return []
    rule = "with `mode: trial` its range only bounds what is found, and stands in where nothing is"
    return [f"lr_finder: {search.parameter} is searched, too: {rule}; `multiplier` searches around it"]
