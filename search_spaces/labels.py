"""How the values of a categorical parameter are stored, shown and told apart; `parameters` uses this."""

import json
import math
from collections.abc import Sequence

from search_spaces.errors import SpaceError
from search_spaces.wording import shown

Scalar = None | bool | int | float | str
"""What Optuna stores as a parameter's value."""

SHOWN_CHOICES = 8


def alternatives(texts: Sequence[str]) -> str:
    """Join texts by `|`, shortening a long list."""
    if len(texts) <= SHOWN_CHOICES:
        return " | ".join(texts)
    return " | ".join([*texts[: SHOWN_CHOICES - 2], f"... ({len(texts)} choices)"])


def label(choice: object) -> Scalar:
    """Return what Optuna stores for a choice: itself, or the compact JSON text of a list or mapping.

    Raises:
        SpaceError: If the choice is not a YAML value.
    """
    if choice is None or isinstance(choice, bool | int | float | str):
        return choice
    try:
        return json.dumps(choice, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError):
        raise SpaceError("", f"the choice {shown(choice)} is not a YAML value.") from None


def choice_text(choice: object) -> str:
    """Return a choice for reading; a text that could be taken for something else keeps its quotes."""
    if not isinstance(choice, str):
        return json.dumps(choice, ensure_ascii=False, separators=(",", ":"))
    try:
        json.loads(choice)
    except ValueError:
        plain = choice.strip() == choice and choice.isprintable() and "|" not in choice
        return choice if plain and choice else json.dumps(choice, ensure_ascii=False)
    return json.dumps(choice, ensure_ascii=False)


def check_distinct(choices: tuple[object, ...]) -> None:
    """Check that each label leads back to one choice.

    Raises:
        SpaceError: If two choices are equal, have the same label, or one holds NaN.
    """
    seen: dict[object, object] = {}
    for choice in choices:
        if _holds_nan(choice):
            raise SpaceError("", f"a choice must equal itself, but {shown(choice)} holds NaN.")
        for form in {_hashable(choice), label(choice)}:
            if form in seen:
                rule = f"the choices {shown(seen[form])} and {shown(choice)} are equal: keep one of them."
                raise SpaceError("", rule)
            seen[form] = choice


def _holds_nan(value: object) -> bool:
    if isinstance(value, dict):
        return any(_holds_nan(item) for item in value.values())
    if isinstance(value, list):
        return any(_holds_nan(item) for item in value)
    return isinstance(value, float) and math.isnan(value)


def _hashable(value: object) -> object:
    """Return a stand-in that is equal exactly when the value is."""
    if isinstance(value, dict):
        return frozenset((key, _hashable(item)) for key, item in value.items())
    if isinstance(value, list):
        return tuple(_hashable(item) for item in value)
    return value
