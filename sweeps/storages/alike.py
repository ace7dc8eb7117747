"""Values that are alike share their equal parts: many trials have almost one configuration."""

import sys
from typing import Any


def shared(value: Any, like: Any) -> Any:
    """The value, with the parts of `like` in place of its own where they are the same.

    Args:
        value: What JSON can say. It is not changed.
        like: A value of the same kind; nobody may change it from now on.
    """
    if type(value) is not type(like):
        return value
    if isinstance(value, dict):
        made = {sys.intern(key): shared(part, like.get(key)) for key, part in value.items()}
        is_like = list(made) == list(like) and all(made[key] is like[key] for key in made)
        return like if is_like else made
    if isinstance(value, list):
        parts = [shared(part, other) for part, other in zip(value, like, strict=False)]
        parts += value[len(parts) :]
        is_like = len(parts) == len(like) and all(a is b for a, b in zip(parts, like, strict=True))
        return like if is_like else parts
    return like if repr(value) == repr(like) else value  # by their text: NaN is itself, -0.0 is not 0.0
