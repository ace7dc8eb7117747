"""Ready-made parts of a search space: those of `catalog/`, and a person's own files."""

from collections.abc import Mapping
from pathlib import Path

from search_spaces.documents import read_text, read_yaml
from search_spaces.errors import SpaceError
from search_spaces.wording import nearest, shown

CATALOG = Path(__file__).parent / "catalog"


def catalog() -> tuple[str, ...]:
    """Return the names of the ready-made spaces."""
    return tuple(sorted(path.stem for path in CATALOG.glob("*.yaml")))


def included(items: object, folder: Path) -> dict[str, object]:
    """Return what several spaces make together.

    Named choices of the same key are put together: `adamw` and `sgd` give a choice between the two. Of
    anything else the later one wins.

    Args:
        items: A list of names of the catalogue and paths of YAML files (with a `/` or ending in `.yaml` or
            `.yml`); `{name: {path: other path, another path: null}}` renames keys or leaves them out.
        folder: What paths are relative to.

    Raises:
        SpaceError: If there is no such name, or a file is not a search space. Its key is the item's index.
    """
    if not isinstance(items, list):
        items = [items]
    together: dict[str, object] = {}
    for index, item in enumerate(items):
        try:
            part = _renamed(*_item(item), folder)
        except SpaceError as error:
            raise error.under(str(index)) from None
        for key, value in part.items():
            together[key] = _put_together(together.get(key), value)
    return together


def _item(item: object) -> tuple[str, Mapping[str, object]]:
    if isinstance(item, str):
        return item, {}
    if isinstance(item, Mapping) and len(item) == 1:
        [(name, renames)] = item.items()
        if isinstance(renames, Mapping):
            return str(name), renames
    raise SpaceError("", f"must be a name, a path or {{name: {{path: other path}}}}, but is {shown(item)}.")


def _renamed(name: str, renames: Mapping[str, object], folder: Path) -> dict[str, object]:
    part = _read(name, folder)
    for key, other in renames.items():
        if key not in part:
            raise SpaceError(key, f"{name} has no such key{nearest(key, list(part))}")
        if other is not None and not isinstance(other, str):
            raise SpaceError(key, f"must be another path or null, but is {shown(other)}.")
    new = {key: str(renames.get(key, key)) for key in part if renames.get(key, key) is not None}
    return {new[key]: value for key, value in part.items() if key in new}


def _read(name: str, folder: Path) -> dict[str, object]:
    is_path = "/" in name or name.endswith((".yaml", ".yml"))
    path = folder / name if is_path else CATALOG / f"{name}.yaml"
    if not is_path and name not in catalog():
        raise SpaceError("", f"the catalogue has no {name!r}{nearest(name, catalog())}")
    try:
        raw = read_yaml(read_text(path), name)
    except FileNotFoundError:
        raise SpaceError("", f"there is no file {name}.") from None
    except SpaceError as error:
        raise SpaceError("", f"{name}: {error.rule}") from None
    if not isinstance(raw, dict) or not raw:
        raise SpaceError("", f"{name} must hold a mapping as `search_space` does, but holds {shown(raw)}.")
    if "include" in raw:
        raise SpaceError("", f"{name} cannot include others: name them all in the sweep file's `include`")
    return raw


def _put_together(first: object, second: object) -> object:
    if _is_named_choices(first) and _is_named_choices(second):
        return {**first, **second}  # type: ignore[dict-item]
    return second


def _is_named_choices(raw: object) -> bool:
    return isinstance(raw, Mapping) and not isinstance(raw.get("type"), str)
