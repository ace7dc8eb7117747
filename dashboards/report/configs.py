"""Packs the configs of thousands of trials into a page that can write each of them as YAML.

Configs with the same keys in the same places differ in a few values only: what they share is kept once, as
YAML text with gaps, and each trial brings the texts for the gaps.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from dashboards.export import ordered, yaml_text

_GAP = "gapgapgap{}gap"


def pack(configs: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return `shapes` and `rows`, plain JSON.

    A shape is the list of the shared texts; a row is its shape's place and the texts of the gaps between
    them, so that texts and gaps in turn are the YAML. A trial without a config has an empty row.
    """
    places: dict[str, int] = {}
    members: list[list[int]] = []
    leaves: list[list[Any]] = []
    skeletons: list[Any] = []
    for index, config in enumerate(configs):
        own: list[Any] = []
        skeleton = _skeleton(ordered(config), own)
        leaves.append(own)
        if config:
            place = places.setdefault(json.dumps(skeleton), len(members))
            if place == len(members):
                members.append([])
                skeletons.append(skeleton)
            members[place].append(index)
    rows: list[list[Any]] = [[] for _ in leaves]
    shapes = []
    for place, (skeleton, indices) in enumerate(zip(skeletons, members, strict=True)):
        varying = _varying([leaves[index] for index in indices])
        shapes.append(list(_parts(yaml_text(skeleton), leaves[indices[0]], set(varying))))
        for index in indices:
            rows[index] = [place, *(leaves[index][gap] for gap in varying)]
    return {"shapes": shapes, "rows": rows}


def _skeleton(value: Any, leaves: list[Any]) -> Any:
    """Return a config with a numbered gap for each scalar or empty part, whose texts go to `leaves`."""
    if isinstance(value, dict) and value:
        return {str(key): _skeleton(item, leaves) for key, item in value.items()}
    if isinstance(value, list | tuple) and value:
        return [_skeleton(item, leaves) for item in value]
    leaves.append(_scalar(value))
    return _GAP.format(len(leaves) - 1)


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        needs_quotes = not value.isprintable() or not value
        return _quoted(value) if needs_quotes else _memoized(value)
    return _memoized(value)


def _quoted(text: str) -> str:
    """Return a JSON string, which is a YAML string on one line, whatever is in it.

    But JSON escapes a character beyond 16 bits as two halves, which YAML does not put together.
    """
    return "".join(c if c.isprintable() and ord(c) > 0xFFFF else json.dumps(c)[1:-1] for c in text).join('""')


def _memoized(value: Any, known: dict[tuple[type, str], str] = {}) -> str:  # noqa: B006 - the memory
    key = type(value), repr(value)
    if key not in known:
        if len(known) > 50_000:
            known.clear()
        known[key] = yaml_text(value).removesuffix("\n").removesuffix("...").removesuffix("\n")
    return known[key]


def _varying(rows: list[list[Any]]) -> list[int]:
    return [gap for gap, texts in enumerate(zip(*rows, strict=True)) if len(set(texts)) > 1]


def _parts(text: str, leaves: list[Any], varying: set[int]) -> Iterator[str]:
    """Yield the YAML between the gaps that vary; the other gaps are filled."""
    done = ""
    for gap, leaf in enumerate(leaves):
        before, _, text = text.partition(_GAP.format(gap))
        done += before
        if gap in varying:
            yield done
            done = ""
        else:
            done += leaf
    yield done + text
