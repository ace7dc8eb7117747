"""Builds a `SearchSpace` from what YAML gave, and explains what is wrong with it.

The vocabulary: a mapping whose `type` is float, int, categorical or choice is a parameter; at the top
level any other list is a categorical and any other mapping is named choices. Inside a branch a mapping is
configuration, searched for parameters. Every error carries the dotted key of the offending part, spelled
like the Optuna name it would have had.
"""

from collections.abc import Mapping
from typing import Any

from search_spaces.choices import Branch, Choice, Slot
from search_spaces.conditions import When, read_when
from search_spaces.errors import SpaceError
from search_spaces.parameters import CategoricalParameter, FloatParameter, IntParameter, Parameter
from search_spaces.paths import Path, is_index, split, unshared
from search_spaces.space import SearchSpace
from search_spaces.wording import KEY_HABITS, range_as_key, shown, unknown_key, unknown_type, untyped

RANGE_KEYS = ("type", "low", "high", "log", "step", "when")
KEYS: dict[str, tuple[str, ...]] = {
    "float": RANGE_KEYS,
    "int": RANGE_KEYS,
    "categorical": ("type", "choices", "when"),
    "choice": ("type", "choices", "when"),
}
VOCABULARY = {*RANGE_KEYS, "choices", "value", *KEY_HABITS}


def load_space(raw: object) -> SearchSpace:
    """Return the search space that a sweep file's `search_space` mapping describes.

    Args:
        raw: The mapping, as `read_yaml` returns it. It is not kept.

    Raises:
        SpaceError: If anything in it breaks a rule; its key is relative to `raw`.
    """
    if raw is None:
        raw = {}
    if not isinstance(raw, Mapping):
        rule = f"must be a mapping from configuration paths to what may vary, but is {shown(raw)}."
        raise SpaceError("", rule)
    slots = (Slot(split(key), _top_level(key, value), _when(key, value)) for key, value in raw.items())
    return SearchSpace(tuple(slots))


def _top_level(key: str, raw: object) -> Parameter | Choice:
    if isinstance(raw, list):
        return _checked(key, CategoricalParameter, choices=_choices(key, raw))
    if not isinstance(raw, Mapping):
        rule = f"a fixed value belongs into the base configuration, not into the search space: {shown(raw)}."
        raise SpaceError(key, rule)
    if isinstance(raw.get("type"), str):
        return _parameter(key, raw)
    if _looks_untyped(raw):
        raise SpaceError(key, untyped(raw))
    if raw and (rule := range_as_key(raw)):
        raise SpaceError(key, rule)
    if "when" in raw:
        rule = "`when` needs the long form of named choices: {type: choice, choices: {...}, when: {...}}."
        raise SpaceError(key, rule)
    return _choice(key, raw)


def _when(key: str, raw: object) -> When:
    """Read the `when` of a parameter, if it has one."""
    if not isinstance(raw, Mapping) or "when" not in raw or not isinstance(raw.get("type"), str):
        return ()
    return read_when(key, raw["when"])


def _parameter(key: str, raw: Mapping[Any, object]) -> Parameter | Choice:
    """Read a mapping that has a `type`."""
    kind = raw["type"]
    if kind not in KEYS:
        raise SpaceError(key, unknown_type(kind, KEYS))
    for name in raw:
        if name not in KEYS[str(kind)]:
            raise SpaceError(key, unknown_key(name, KEYS[str(kind)]))
    if kind == "choice":
        return _choice(key, _required(key, raw, "choices"))
    if kind == "categorical":
        return _checked(key, CategoricalParameter, choices=_choices(key, _required(key, raw, "choices")))
    for name in ("low", "high"):
        _required(key, raw, name)
    fields = {name: value for name, value in raw.items() if name not in ("type", "when")}
    return _checked(key, FloatParameter if kind == "float" else IntParameter, **fields)


def _required(key: str, raw: Mapping[Any, object], name: str) -> object:
    if name not in raw:
        raise SpaceError(key, f"`{name}` is missing: type {raw['type']} needs it.")
    return raw[name]


def _checked(key: str, kind: type[Parameter], **fields: Any) -> Parameter:
    """Build a parameter; its own complaint gets the key."""
    try:
        return kind(**fields)
    except SpaceError as error:
        raise error.under(key) from None


def _choices(key: str, raw: object) -> tuple[object, ...]:
    if not isinstance(raw, list):
        advice = ": for named choices write type: choice" if isinstance(raw, Mapping) else ""
        raise SpaceError(key, f"`choices` must be a list, but is {shown(raw)}{advice}.")
    for item in raw:
        if _holds_parameter(item):
            raise SpaceError(
                key, "a list's items do not vary themselves: use named choices, {a: ..., b: ...}."
            )
    return tuple(raw)


def _choice(key: str, raw: object) -> Choice:
    if not isinstance(raw, Mapping):
        advice = ": for a list write type: categorical" if isinstance(raw, list) else ""
        raise SpaceError(key, f"`choices` must be a mapping from names, but is {shown(raw)}{advice}.")
    branches = tuple(_branch(key, name, value) for name, value in raw.items())
    try:
        return Choice(branches)
    except SpaceError as error:
        raise error.under(key) from None


def _branch(key: str, raw_name: object, raw: object) -> Branch:
    if not isinstance(raw_name, str | bool | int | float):
        raise SpaceError(key, f"the name of a choice must be a string, but is {shown(raw_name)}.")
    name = raw_name if isinstance(raw_name, str) else shown(raw_name)
    search = _Search()
    template = search.branch(f"{key}.{name}", raw)
    return Branch(name, template, tuple(search.slots))


class _Search:
    """Finds the parameters inside a branch and leaves a template with holes in their places."""

    def __init__(self) -> None:
        self.slots: list[Slot] = []

    def branch(self, key: str, raw: object) -> object:
        """Return the template of a whole branch; a list here is the value itself, not a categorical."""
        return self._literal(key, (), raw) if isinstance(raw, list) else self._search(key, (), raw)

    def _search(self, key: str, path: Path, raw: object) -> object:
        if isinstance(raw, Mapping):
            return self._mapping(key, path, raw)
        if not isinstance(raw, list):
            return unshared(raw)
        if all(isinstance(item, Mapping) for item in raw):
            return self._literal(key, path, raw)
        if len(raw) == 1:
            return _only_item(key, raw[0])
        self._vary(key, path, _checked(key, CategoricalParameter, choices=_choices(key, raw)))
        return None

    def _mapping(self, key: str, path: Path, raw: Mapping[Any, object]) -> object:
        kind = raw.get("type")
        if isinstance(kind, str) and (kind in KEYS or _looks_mistyped(kind, raw)):
            self._vary(key, path, _parameter(key, raw), _when(key, raw))
            return None
        for name in raw:
            if not isinstance(name, str):
                raise SpaceError(key, f"the key {shown(name)} must be a string: put it in quotes.")
        return {name: self._search(f"{key}.{name}", (*path, name), item) for name, item in raw.items()}

    def _literal(self, key: str, path: Path, items: list[object]) -> object:
        """Keep a list as it is, but search the mappings in it."""
        found = []
        for index, item in enumerate(items):
            here, inner = f"{key}.{index}", (*path, str(index))
            if isinstance(item, list):
                found.append(self._literal(here, inner, item))
            else:
                found.append(self._search(here, inner, item))
        return found

    def _vary(self, key: str, path: Path, content: Parameter | Choice, when: When = ()) -> None:
        """Note that `content` fills the place at `path`."""
        if when and (not path or is_index(path[-1])):
            rule = "`when` can leave out a key; this is a branch as a whole or an item of a list."
            raise SpaceError(f"{key}.when", rule)
        for segment in path:
            if "." in segment:
                rule = f"the key {segment!r} has a dot: inside a branch write nested mappings."
                raise SpaceError(key, rule)
        self.slots.append(Slot(path, content, when))


def _only_item(key: str, item: object) -> object:
    """Return the literal list that `[[...]]` stands for; a list of one scalar is most likely a mistake."""
    if isinstance(item, list):
        return unshared(item)
    rule = (
        f"a list here is a choice between its items, and [{shown(item)}] has one: "
        f"write {shown(item)}, or [[{shown(item)}]] for the list itself."
    )
    raise SpaceError(key, rule)


def _looks_untyped(raw: Mapping[Any, object]) -> bool:
    """Return whether a top-level mapping without a `type` is a parameter rather than named choices."""
    if any(isinstance(value, Mapping) for value in raw.values()):
        return False
    pairs = {"low", "high"} <= raw.keys() or {"min", "max"} <= raw.keys()
    return bool(raw) and (pairs or raw.keys() <= VOCABULARY)


def _looks_mistyped(kind: str, raw: Mapping[Any, object]) -> bool:
    """Return whether a branch's mapping with an unknown `type` is a parameter rather than configuration."""
    ranges = {"low", "high", "min", "max", "choices", "values"} & raw.keys()
    return kind not in KEYS and bool(ranges) and raw.keys() <= VOCABULARY


def _holds_parameter(item: object) -> bool:
    if isinstance(item, Mapping):
        kind = item.get("type")
        return (isinstance(kind, str) and kind in KEYS) or any(_holds_parameter(i) for i in item.values())
    return isinstance(item, list) and any(_holds_parameter(i) for i in item)
