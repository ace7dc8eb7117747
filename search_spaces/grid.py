"""Every configuration of a search space, once each: what a grid search goes through."""

import itertools
import math
from collections.abc import Iterator

from search_spaces.checks import count_steps, exact
from search_spaces.choices import Choice, Site
from search_spaces.errors import SpaceError
from search_spaces.labels import Scalar
from search_spaces.parameters import CategoricalParameter, FloatParameter, IntParameter
from search_spaces.space import Params, SearchSpace

MOST_CELLS = 100_000


def grid_of(space: SearchSpace, points: int | None = None) -> list[Params]:
    """Return every combination of values, of the active parameters only, in the order of the file.

    Args:
        space: The search space.
        points: How many values of a range without a step to take, both ends among them and evenly spaced
            (equal ratios with `log`); an integer range of fewer values is taken whole.

    Raises:
        SpaceError: A range of floats has neither a step nor `points`, or there are more than `MOST_CELLS`
            combinations.
    """
    values = {site.name: values_of(site, points) for site in space.sites}
    found: list[Params] = list(itertools.islice(_cells(space.sites, values, {}), MOST_CELLS + 1))
    if len(found) > MOST_CELLS:
        largest = max(values, key=lambda name: len(values[name]))
        rule = f"the grid has more than {MOST_CELLS:,} configurations, {len(values[largest]):,} values here"
        raise SpaceError(largest, f"{rule}: give it a larger step, or the sampler `points`")
    return found


def values_of(site: Site, points: int | None = None) -> list[Scalar]:
    """Return the values of one parameter in a grid, as Optuna stores them.

    Raises:
        SpaceError: As for `grid_of`.
    """
    match site.content:
        case Choice() | CategoricalParameter():
            return list(site.content.edges)
        case IntParameter(low, high, log, step):
            count = (high - low) // step + 1
            if points is None or step != 1 or count <= points:
                if count > MOST_CELLS:
                    raise SpaceError(site.name, f"a grid over {count:,} values: give it a larger `step`")
                return list(range(low, high + 1, step))
            return list(dict.fromkeys(round(value) for value in _between(low, high, points, log)))
        case FloatParameter(low, high, _, step) if step is not None:
            return [float(exact(low) + i * exact(step)) for i in range(count_steps(low, high, step) + 1)]
        case FloatParameter(low, high, log):
            if points is None:
                rule = "a grid needs values: give it a `step`, list its choices, or let the sampler take some"
                raise SpaceError(site.name, f"{rule}: {{class_path: grid, init_args: {{points: 5}}}}")
            return [*_between(low, high, points, log)]


def _between(low: float, high: float, count: int, log: bool) -> list[float]:
    """Evenly spaced values, the ends exactly."""
    shares = [index / (count - 1) for index in range(1, count - 1)]
    if log:
        inner = [math.exp(math.log(low) + share * (math.log(high) - math.log(low))) for share in shares]
    else:
        inner = [low + share * (high - low) for share in shares]
    return [low, *inner, high]


def _cells(sites: tuple[Site, ...], values: dict[str, list[Scalar]], params: Params) -> Iterator[Params]:
    """Every way to go on from the parameters that were decided."""
    if not sites:
        yield params
        return
    site, *rest = sites
    if not site.is_active(params):
        yield from _cells(tuple(rest), values, params)
        return
    for value in values[site.name]:
        yield from _cells(tuple(rest), values, {**params, site.name: value})
