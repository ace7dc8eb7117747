"""Dotted paths into a LightningCLI configuration, and copies that share nothing.

A path is a tuple of segments; `trainer.callbacks.0.init_args.x` reads the `0` as a list index where the
configuration holds a list. `space` writes with these, `loading` splits with them.
"""

import copy
from collections.abc import Mapping
from typing import Any

from search_spaces.errors import SpaceError
from search_spaces.wording import shown

Path = tuple[str, ...]


def split(key: object) -> Path:
    """Return the segments of a dotted key.

    Raises:
        SpaceError: If the key is not a string or a segment is empty.
    """
    if not isinstance(key, str):
        raise SpaceError("", f"a key must be a dotted path such as model.init_args.lr, but is {shown(key)}.")
    segments = tuple(key.split("."))
    if not all(segment.strip() for segment in segments):
        raise SpaceError("", f"the key {key!r} has an empty segment between its dots.")
    return segments


def unshared(value: object) -> object:
    """Return a deep copy of what YAML can say, tuples as lists, in which no two places are the same object.

    `copy.deepcopy` keeps YAML aliases together: setting one place would then set the other.
    """
    if isinstance(value, Mapping):
        return {key: unshared(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [unshared(item) for item in value]
    return copy.deepcopy(value)


def get(target: object, path: Path | str) -> Any:
    """Return what stands at `path`, a dotted one too, or None when there is nothing."""
    for segment in path.split(".") if isinstance(path, str) else path:
        if isinstance(target, Mapping):
            target = target.get(segment)
        elif isinstance(target, list) and is_index(segment) and int(segment) < len(target):
            target = target[int(segment)]
        else:
            return None
    return target


def put(target: object, path: Path | str, value: object) -> Any:
    """Set `value` at `path` inside `target`, in place, and return `target`; an empty path returns `value`.

    Missing and null mappings on the way are created; lists are never extended.

    Raises:
        SpaceError: If a list lacks the index, or a plain value stands in the way.
    """
    if not path:
        return value
    path = tuple(path.split(".")) if isinstance(path, str) else path
    inner = target
    for depth in range(len(path) - 1):
        inner = _step(inner, path, depth)
    here, last = ".".join(path[:-1]), path[-1]
    if isinstance(inner, dict):
        inner[last] = value
    elif isinstance(inner, list):
        inner[_index(inner, here, last)] = value
    else:
        raise SpaceError(".".join(path), _in_the_way(here, inner))
    return target


def removed(target: object, path: Path) -> None:
    """Take away the key at `path`, in place, if it is there."""
    inner = get(target, path[:-1])
    if isinstance(inner, dict):
        inner.pop(path[-1], None)


def is_index(segment: str) -> bool:
    """Return whether a segment can address a list: 0, 1, 2, ... without sign or leading zero."""
    return segment.isascii() and segment.isdigit() and (segment == "0" or segment[0] != "0")


def _step(target: object, path: Path, depth: int) -> object:
    """Go one segment down, creating a mapping where there is nothing."""
    here, segment = ".".join(path[:depth]), path[depth]
    if isinstance(target, list):
        index = _index(target, here, segment)
        if target[index] is None:
            target[index] = _created(path, depth)
        return target[index]
    if not isinstance(target, dict):
        raise SpaceError(".".join(path), _in_the_way(here, target))
    if target.get(segment) is None:
        target[segment] = _created(path, depth)
    return target[segment]


def _created(path: Path, depth: int) -> dict[str, object]:
    """Return the new mapping below `path[depth]`, unless a list was meant there."""
    if is_index(path[depth + 1]):
        here = ".".join(path[: depth + 1])
        raise SpaceError(".".join(path), f"the base configuration has no list at {here!r}.")
    return {}


def _index(items: list[object], here: str, segment: str) -> int:
    """Return the list index a segment stands for."""
    count = f"{len(items)} item{'' if len(items) == 1 else 's'}"
    if not is_index(segment) or int(segment) >= len(items):
        rule = f"the list {here!r} has {count} in the base configuration, so there is no {segment!r} in it."
        raise SpaceError(f"{here}.{segment}", rule)
    return int(segment)


def _in_the_way(here: str, found: object) -> str:
    return f"{here!r} is {shown(found)} in the base configuration, which has no keys."
