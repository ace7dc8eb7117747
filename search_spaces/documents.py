"""Reads YAML text the way its authors mean it: the scalars of YAML 1.2's core schema.

PyYAML follows YAML 1.1, where `1e-4` is a string and `on` is true, the first things a sweep file holds.
This module takes only PyYAML's parser and builds the values itself, so its global loaders stay as they
are, no two places of the result share an object, and each error knows its line.
Schema: https://yaml.org/spec/1.2.2/#103-core-schema, with `<<` merging kept from 1.1.
"""

import re
from collections.abc import Callable
from pathlib import Path

import yaml

from search_spaces.errors import SpaceError

VALUES_LIMIT = 100_000
DEPTH_LIMIT = 100  # what reads the values after us, JSON and pydantic among them, has limits of its own
TAG = "tag:yaml.org,2002:"

INT = re.compile(r"[-+]?[0-9]+\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z|[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z"
)
BOOL = re.compile(r"(true|True|TRUE|false|False|FALSE)\Z")
NULL = re.compile(r"(null|Null|NULL|~|)\Z")
MERGE = re.compile(r"<<\Z")


class _Loader(yaml.SafeLoader):
    """PyYAML's parser with our own scalar patterns; None means whatever the first character is."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's attribute, replaced here as a whole
        None: [
            (TAG + "null", NULL),
            (TAG + "bool", BOOL),
            (TAG + "int", INT),
            (TAG + "float", FLOAT),
            (TAG + "merge", MERGE),
        ]
    }


def read_text(path: Path) -> str:
    """Return what a file holds.

    Raises:
        FileNotFoundError: There is none.
        SpaceError: It cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SpaceError("", f"cannot be read: {reason}") from None


def read_yaml(text: str, file: str) -> object:
    """Return the one document in `text` as dicts, lists and scalars; None when there is none.

    Keys are strings: `1:` and `true:` become "1" and "true", spelled as in the text. Dates stay strings.

    Args:
        text: The YAML text.
        file: The name that errors carry.

    Raises:
        SpaceError: If the text is not YAML, repeats a key, has a key that is null or not a scalar, or uses
            a tag outside the core schema. Its key is `file` and its rule starts with the line.
    """
    try:
        node = _Loader(text).get_single_node()
        return None if node is None else _Builder(file).build(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # PyYAML's problem may be only the second half of a sentence.
        whole = f"{error.context}, {error.problem}" if str(error.problem).startswith("but") else error.problem
        problem = " ".join(str(whole or error.context).split())
        raise SpaceError(file, f"line {mark.line + 1 if mark else 1}: {problem}.") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, int(error.position)) + 1
        rule = f"line {line}: the character {chr(int(error.character))!r} is not allowed in YAML."
        raise SpaceError(file, rule) from None
    except RecursionError:
        raise SpaceError(file, "line 1: the document is nested too deeply.") from None


class _Builder:
    """Turns parsed nodes into values, counting them and remembering which ones are still open."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.count = 0
        self.open: set[int] = set()

    def build(self, node: yaml.Node) -> object:
        """Return the value of a node; an alias is built anew at each place."""
        self.count += 1
        if self.count > VALUES_LIMIT:
            raise self._error(node, f"the document has more than {VALUES_LIMIT} values")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if len(self.open) >= DEPTH_LIMIT:
            raise self._error(node, f"the document is nested more than {DEPTH_LIMIT} deep")
        if id(node) in self.open:
            raise self._error(node, "this value contains itself through an alias")
        self.open.add(id(node))
        value = self._collection(node)
        self.open.remove(id(node))
        return value

    def _scalar(self, node: yaml.ScalarNode) -> object:
        convert = SCALARS.get(node.tag)
        if convert is None:
            raise self._error(node, f"the tag {_short(node.tag)} is not supported")
        try:
            return convert(node.value)
        except (ValueError, KeyError):
            raise self._error(node, f"{node.value[:40]!r} is not a value for {_short(node.tag)}") from None

    def _collection(self, node: yaml.Node) -> object:
        if isinstance(node, yaml.SequenceNode) and node.tag == TAG + "seq":
            return [self.build(item) for item in node.value]
        if isinstance(node, yaml.MappingNode) and node.tag == TAG + "map":
            return self._mapping(node)
        raise self._error(node, f"the tag {_short(node.tag)} is not supported")

    def _mapping(self, node: yaml.MappingNode) -> dict[str, object]:
        merged: dict[str, object] = {}
        own: dict[str, object] = {}
        for key_node, value_node in node.value:
            if key_node.tag == TAG + "merge":
                merged = self._merge(value_node) | merged
                continue
            key = self._key(key_node)
            if key in own:
                raise self._error(key_node, f"the key {key!r} appears twice in one mapping")
            own[key] = self.build(value_node)
        return merged | own

    def _merge(self, node: yaml.Node) -> dict[str, object]:
        """Return the mapping behind `<<`; of several, the first to name a key wins."""
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, object] = {}
        for part in parts:
            value = self.build(part)
            if not isinstance(value, dict):
                raise self._error(part, "`<<` merges mappings only")
            merged = value | merged
        return merged

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(node, "a key must be a string, but is a list or a mapping")
        if node.tag == TAG + "null":
            raise self._error(node, f"the key {node.value or 'null'} must be a string: put it in quotes")
        return str(node.value)

    def _error(self, node: yaml.Node, problem: str) -> SpaceError:
        return SpaceError(self.file, f"line {node.start_mark.line + 1}: {problem}.")


def _short(tag: str) -> str:
    return tag.replace(TAG, "!!")


def _int(text: str) -> int:
    if text.startswith("0o"):
        return int(text[2:], 8)
    if text.startswith("0x"):
        return int(text[2:], 16)
    return int(text)


def _float(text: str) -> float:
    if FLOAT.match(text) is None:
        raise ValueError(text)
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


SCALARS: dict[str, Callable[[str], object]] = {
    TAG + "null": lambda text: None,
    TAG + "bool": lambda text: {"true": True, "false": False}[text.lower()],
    TAG + "int": _int,
    TAG + "float": _float,
    TAG + "str": str,
    TAG + "merge": str,
}
