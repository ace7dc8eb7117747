"""Known good starting points: what a person writes becomes the parameters that Optuna is given first."""

from collections.abc import Mapping

from search_spaces.choices import Choice, Site
from search_spaces.errors import SpaceError
from search_spaces.labels import Scalar, choice_text, label
from search_spaces.parameters import CategoricalParameter, IntParameter
from search_spaces.space import Params, SearchSpace
from search_spaces.wording import nearest, shown


def start_params(space: SearchSpace, raw: object) -> Params:
    """Return the parameters of a starting point; those that it leaves out are for the sampler.

    Args:
        space: The search space.
        raw: A mapping from parameters, by Optuna's name or by configuration path, to values.

    Raises:
        SpaceError: If a name or a value is not in the space, or a parameter is not active with the others.
    """
    if not isinstance(raw, Mapping) or not raw:
        raise SpaceError("", f"must be a mapping from parameters to values, but is {shown(raw)}.")
    params: Params = {}
    used = set()
    for site in space.sites:
        key = next((k for k in (site.name, site.config_path) if k in raw and k not in used), None)
        if key is None or not _may_be_active(site, params):
            continue
        used.add(key)
        try:
            params[site.name] = _stored(site, raw[key])
        except SpaceError as error:
            raise error.under(key) from None
    for key in raw:
        if key not in used:
            raise SpaceError(str(key), _unused(space, str(key)))
    return params


def _may_be_active(site: Site, params: Params) -> bool:
    return all(name not in params or params[name] in values for name, values in site.conditions)


def _stored(site: Site, value: object) -> Scalar:
    """Return what Optuna stores for a value, which must be one that the sampler could have found."""
    content = site.content
    if isinstance(content, Choice):
        name = value if isinstance(value, str) else shown(value)
        return content.decode(name).name
    if isinstance(content, CategoricalParameter):
        if label(value) in content.labels:
            return label(value)
        options = [choice_text(choice) for choice in content.choices]
        raise SpaceError("", f"{shown(value)} is not a choice{nearest(value, options)}")
    number = content.decode(value)
    steps = (number - content.low) / content.step if content.step else 0.0
    off_step = isinstance(content, IntParameter) or content.step is not None
    if not content.low <= number <= content.high or (off_step and abs(steps - round(steps)) > 1e-9):
        raise SpaceError("", f"{shown(value)} is not in the range {content.describe()}.")
    return number


def _unused(space: SearchSpace, key: str) -> str:
    sites = [site for site in space.sites if key in (site.name, site.config_path)]
    if sites:
        return f"this parameter is active only when {' or '.join(site.condition for site in sites)}."
    names = list(dict.fromkeys([*space.names, *(site.config_path for site in space.sites)]))
    return f"the search space has no such parameter{nearest(key, names)}"
