"""When a parameter is active: in which branches, and what its `when:` asks of earlier parameters.

A condition is the name of an earlier parameter with the stored values that it may have. A parameter's
conditions hold those of the parameters that they name, so that they can be met by setting all of them.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from search_spaces.errors import SpaceError
from search_spaces.labels import Scalar, choice_text, label
from search_spaces.parameters import CategoricalParameter, FloatParameter, IntParameter
from search_spaces.wording import nearest, shown

if TYPE_CHECKING:
    from search_spaces.choices import Site

Condition = tuple[str, tuple[Scalar, ...]]
When = tuple[tuple[str, tuple[object, ...]], ...]
"""What a file says: a name or path of an earlier parameter, and the values that it may have."""


def read_when(key: str, raw: object) -> When:
    """Read what follows `when:`.

    Raises:
        SpaceError: If it is not a mapping from parameters to a value or a list of values.
    """
    if not isinstance(raw, Mapping) or not raw:
        rule = f"`when` must be a mapping such as {{optimizer: sgd}}, but is {shown(raw)}."
        raise SpaceError(f"{key}.when", rule)
    found = []
    for name, values in raw.items():
        several = values if isinstance(values, list) else [values]
        if not several:
            raise SpaceError(f"{key}.when.{name}", "the list of values is empty.")
        found.append((str(name), tuple(several)))
    return tuple(found)


def combined(
    name: str, outer: Sequence[Condition], when: When, earlier: Sequence["Site"]
) -> tuple[Condition, ...]:
    """Return all conditions of the parameter `name`: of its branches, of its `when`, and of what these name.

    Raises:
        SpaceError: If `when` names no earlier parameter or none of its values, or nothing can meet it all.
    """
    together = dict(outer)
    for asked, values in when:
        key = f"{name}.when.{asked}"
        site = _named(key, asked, earlier)
        stored = tuple(_stored(key, site, value) for value in values)
        for other, possible in (*site.conditions, (site.name, stored)):
            left = tuple(v for v in possible if v in together.get(other, possible))
            if not left:
                raise SpaceError(key, f"this can never be: it needs another {other} than {name} itself does.")
            together[other] = left
    order = [site.name for site in earlier]
    return tuple(sorted(together.items(), key=lambda condition: order.index(condition[0])))


def _named(key: str, asked: str, earlier: Sequence["Site"]) -> "Site":
    for site in earlier:
        if site.name == asked:
            return site
    at_path = [site for site in earlier if site.config_path == asked]
    if len(at_path) == 1:
        return at_path[0]
    names = [site.name for site in earlier]
    if at_path:
        several = ", ".join(site.name for site in at_path)
        raise SpaceError(key, f"{asked!r} may be one of several parameters: {several}.")
    rule = f"`when` names {asked!r}, which is no parameter above this one{nearest(asked, names)}"
    raise SpaceError(key, rule)


def _stored(key: str, site: "Site", value: object) -> Scalar:
    """Return what Optuna stores for a value of another parameter."""
    content = site.content
    if isinstance(content, FloatParameter):
        raise SpaceError(key, f"{site.name} is a float, which hardly ever equals a value.")
    if isinstance(content, IntParameter):
        if isinstance(value, int) and not isinstance(value, bool) and content.low <= value <= content.high:
            return value
        raise SpaceError(key, f"{shown(value)} is no value of {site.name}, {content.describe()}.")
    if isinstance(content, CategoricalParameter):
        if label(value) in content.labels:
            return label(value)
        options = [choice_text(choice) for choice in content.choices]
    else:
        text = value if isinstance(value, str) else shown(value)
        if text in content.edges:
            return text
        options = list(content.edges)
    raise SpaceError(key, f"{shown(value)} is no value of {site.name}{nearest(value, options)}")
