"""What the finder needs of a search space, and what it does to one."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from search_spaces import FloatParameter, Scalar, Site
from search_spaces.checks import is_number
from search_spaces.draws import Draws
from search_spaces.paths import get, unshared
from search_spaces.wording import nearest
from sweeps.sweep_file.sections import MULTIPLIER, LrFinder
from sweeps.sweep_file.spec import SweepSpec

DRAWS = 200
"""How often a configuration is drawn until one meets the constraints."""


def check_finder(spec: SweepSpec) -> None:
    """Checks the section against the search space.

    Raises:
        SpecError: The parameter is not one that the finder can narrow.
    """
    finder = spec.lr_finder
    if finder is None:
        return
    sites = targets(spec, finder.parameter)
    if finder.mode == "trial":
        if not sites and not has_rate(spec, finder.parameter):
            raise spec.error("lr_finder.parameter", no_rate(spec, finder.parameter))
        _check_multiplier(spec)
    elif not sites:
        near = nearest_rate(spec, finder.parameter)
        rule = f"the finder narrows a searched parameter, but {finder.parameter!r} is none{near}"
        raise spec.error("lr_finder.parameter", rule)


def no_rate(spec: SweepSpec, parameter: str) -> str:
    """What is said of a parameter of which the configuration has no number."""
    near = nearest_rate(spec, parameter).rstrip(".")
    return f"the configuration has no number at {parameter!r}{near}; name the path of the learning rate"


def nearest_rate(spec: SweepSpec, parameter: str) -> str:
    """Which searched path may be meant; it is not the name that Optuna has for it in a choice."""
    sites = [site for site in spec.space.sites if isinstance(site.content, FloatParameter)]
    named = {site.name: site.config_path for site in sites}
    if parameter in named:
        return f", did you mean {named[parameter]!r}?"
    return nearest(parameter, list(dict.fromkeys(named.values())))


def has_rate(spec: SweepSpec, parameter: str) -> bool:
    """Whether there is a place for the rate at the centre of the space."""
    _, config = next(configurations(spec, None, 1), ({}, {}))
    return has_place(config, parameter)


def has_place(config: Mapping[str, Any], parameter: str) -> bool:
    """Whether a configuration has a number there, or an optimizer whose default it is."""
    value = get(config, parameter)
    return is_number(value) or (parameter == LrFinder().parameter and config.get("optimizer") is not None)


def _check_multiplier(spec: SweepSpec) -> None:
    for content in [site.content for site in spec.space.sites if site.name == MULTIPLIER]:
        if not all(is_number(edge) and edge > 0 for edge in content.edges):
            raise spec.error(MULTIPLIER, f"must be numbers above 0, but got {content.describe()}")


def targets(spec: SweepSpec, parameter: str) -> list[Site]:
    """The places in the space that set the learning rate: one for each optimizer of a choice, or none.

    Raises:
        SpecError: One of them is no range of floats without a step.
    """
    found = [site for site in spec.space.sites if site.config_path == parameter]
    for site in found:
        if (
            not isinstance(site.content, FloatParameter)
            or site.content.step is not None
            or site.content.low <= 0
        ):
            rule = (
                f"must be a float range above 0 without a step, but {site.name} is {site.content.describe()}"
            )
            raise spec.error("lr_finder.parameter", rule)
    return found


def configurations(
    spec: SweepSpec, site: Site | None, count: int
) -> Iterator[tuple[dict[str, Scalar], dict[str, Any]]]:
    """Parameters and configurations to test: one at the centre of the space, the others drawn from it.

    The draws follow from the sweep's `seed_everything`: asked again, they are the same.

    Args:
        spec: The sweep.
        site: The place whose rate is looked for: it is active in all of them; None for any.
        count: How many; fewer where constraints leave hardly any.
    """
    pinned, draws = site.prerequisites if site else {}, Draws(int(spec.seed_everything))
    for index in range(count):
        drawn = (spec.space.suggest(draws, pinned) for _ in range(DRAWS))
        for params in drawn if index else itertools.chain([spec.space.centre(pinned)], drawn):
            config = spec.space.configure(spec.base, params)
            if not spec.violated(params, config):
                yield params, config
                break


def within(
    allowed: FloatParameter, low: float, high: float, also: Sequence[float] = ()
) -> tuple[float, float] | None:
    """The part of an interval that a parameter's range allows; None if there is none worth searching.

    Args:
        allowed: The range of the user.
        low: The interval's lower end.
        high: Its upper end.
        also: Values that must stay in it: known good points of the user.
    """
    low, high = min([low, *also]), max([high, *also])
    low, high = max(low, allowed.low), min(high, allowed.high)
    return (low, high) if low < high else None


def narrowed(spec: SweepSpec, intervals: Mapping[str, tuple[float, float]]) -> SweepSpec:
    """The sweep with narrower ranges of some parameters, by their Optuna names."""
    space: Any = unshared(spec.search_space)
    written = dict(_mappings(space))
    for name, (low, high) in intervals.items():
        written[name].update(low=low, high=high)
    return spec.changed(search_space=space)


def _mappings(raw: Any, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """The mappings of a search space as it is written, by Optuna's names of the parameters there."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(raw, dict):
        yield name, raw
        is_choice = raw.get("type") == "choice" and isinstance(raw.get("choices"), dict)
        items = (raw["choices"] if is_choice else raw).items()
    elif isinstance(raw, list):
        items = enumerate(raw)
    for key, value in items:
        yield from _mappings(value, f"{name}.{key}" if name else str(key))


def starts(site: Site, suggestion: float) -> dict[str, Scalar]:
    """The parameters that a trial with the suggestion needs; the others are the sampler's."""
    return {**site.prerequisites, site.name: suggestion}
