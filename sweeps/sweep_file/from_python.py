"""A sweep written as a mapping in Python: NumPy's numbers, paths, ranges and classes, as YAML says them."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search_spaces.paths import unshared
from sweeps.errors import SpecError

MAIN = "__main__"


def plain(value: Any, key: str = "") -> Any:
    """A deep copy of a value in which everything is what YAML can say; anything else is left for the checks.

    A class becomes its class path: one of the script that runs, by the script's name.

    Args:
        value: A section of a sweep, or all of it.
        key: Its dotted path.

    Raises:
        SpecError: A class that no other process can import: one of a notebook's own, or of a function.
    """
    match value:
        case Mapping():
            return {
                plain(name): plain(item, f"{key}.{name}" if key else str(name))
                for name, item in value.items()
            }
        case list() | tuple() | range():
            return [plain(item, f"{key}.{index}") for index, item in enumerate(value)]
        case os.PathLike():
            return os.fspath(value)
        case type():
            return _class_path(value.__module__, value.__qualname__, key)
        case str() if value.startswith(f"{MAIN}."):
            return _class_path(MAIN, value.removeprefix(f"{MAIN}."), key)
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        found = value.tolist()
        return plain(found, key) if isinstance(found, list) else found
    return unshared(value)


def _class_path(module: str, name: str, key: str) -> str:
    main = sys.modules[MAIN]
    if module == MAIN and (file := getattr(main, "__file__", None)):
        module = main.__spec__.name if main.__spec__ else Path(file).stem  # of `python -m` the whole name
    if module == MAIN or "<locals>" in name:
        own = name.rpartition(".")[2]
        rule = f"no other process can import {own}, and the workers are others: put the class into a file"
        raise SpecError("", key, f"{rule} (in a notebook with `%%writefile my.py`) and say 'my.{own}'")
    return f"{module}.{name}"
