"""What MLflow takes: names, texts and batches, and how others are made to fit.

MLflow's names may hold letters, digits, spaces and `_ - . : /`. Any other character becomes `_`, and so does
an empty, `.` or `..` part between slashes; a name of more than 240 characters ends in a hash; a name that is
taken already gets `_2`, `_3`, ... Texts that are too long end in an ellipsis, a
parameter's in a hash after it.
"""

import hashlib
import os
import re
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import yaml

from sweeps.records import Point

NAME_LENGTH, PARAM_LENGTH, TAG_LENGTH = 250, 6_000, 5_000  # newer servers take tags of 8,000 characters
BATCH_ITEMS, BATCH_STRINGS, BATCH_BYTES = 1_000, 100, 900_000
REFUSED_CHARACTERS = re.compile(r"[^/\w.\- ]" if os.name == "nt" else r"[^/\w.\- :]")


class Text(NamedTuple):
    """A parameter or a tag, name and value safe for MLflow; a tag without a value is to be deleted."""

    kind: Literal["param", "tag"]
    key: str
    value: str


class Names(dict[str, str]):
    """The safe name of each name, the same for the whole sweep."""

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        super().__init__()
        self._taken = set(reserved)

    def __missing__(self, key: str) -> str:
        name = base = safe_name(key)
        count = 1
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        self[key] = name
        return name


def batch_length(items: list[Point | Text]) -> int:
    """How many of the first items one call of MLflow may carry; bytes are counted as if all were escaped."""
    size = strings = 0
    for index, item in enumerate(items[:BATCH_ITEMS]):
        strings += isinstance(item, Text)
        size += 100 + 6 * (len(item.key) + (len(item.value) if isinstance(item, Text) else 0))
        if strings > BATCH_STRINGS or size > BATCH_BYTES:
            return index
    return min(len(items), BATCH_ITEMS)


def cut(text: str, length: int) -> str:
    """The text in at most `length` characters that every database takes: no NUL, no lone surrogates."""
    text = text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text if len(text) <= length else f"{text[: length - 1]}…"


def safe_name(name: str) -> str:
    """The name as MLflow takes it."""
    parts = REFUSED_CHARACTERS.sub("_", name).split("/")
    safe = "/".join("_" if part in ("", ".", "..") else part for part in parts)
    if safe.startswith(".."):  # MLflow takes it for the way out of a folder
        safe = f"_{safe[1:]}"
    # Room for the `_2` of a name that is taken and the `best.` of a parameter.
    if len(safe) <= NAME_LENGTH - 10:
        return safe
    return f"{safe[: NAME_LENGTH - 20]}_{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=4).hexdigest()


def shown(value: object) -> str:
    """A parameter's value as people write it; NumPy's floats as Python's; a cut one ends in a hash."""
    text = repr(float(value)) if isinstance(value, float) else str(value)
    if len(text) <= PARAM_LENGTH:
        return cut(text, PARAM_LENGTH)
    return f"{cut(text, PARAM_LENGTH - 8)}{_digest(text)}"


def yaml_text(config: dict[str, Any]) -> str:
    """A configuration as YAML, in its own order.

    Raises:
        yaml.YAMLError: It holds something that YAML cannot say.
    """
    # The C version of `yaml.safe_dump`, which takes a tenth of the time.
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(config, Dumper=dumper, sort_keys=False, allow_unicode=True))
