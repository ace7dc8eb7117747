"""The words of error messages: values as YAML shows them, and the nearest right spelling.

Habits from other tools (Optuna's old distributions, Ray Tune, Weights & Biases) are answered with this
file format's own word, because that is what a user's first sweep file contains.
"""

import contextlib
import difflib
import json
import re
from collections.abc import Collection, Mapping

LIMIT = 60
NUMBER_TEXT = re.compile(r"[-+]?(\.\d+|\d[\d_]*(\.\d*)?)([eE][-+]?\d+)?\Z")

TYPE_HABITS = {
    "uniform": "{type: float, low: ..., high: ...}",
    "double": "{type: float, low: ..., high: ...}",
    "real": "{type: float, low: ..., high: ...}",
    "number": "{type: float, low: ..., high: ...}",
    "loguniform": "{type: float, log: true, low: ..., high: ...}",
    "log_uniform": "{type: float, log: true, low: ..., high: ...}",
    "log_uniform_values": "{type: float, log: true, low: ..., high: ...}",
    "quniform": "{type: float, step: ..., low: ..., high: ...}",
    "q_uniform": "{type: float, step: ..., low: ..., high: ...}",
    "q_log_uniform_values": "{type: float, log: true, low: ..., high: ...}",
    "inv_log_uniform_values": "{type: float, log: true, low: ..., high: ...}",
    "discrete_uniform": "{type: float, step: ..., low: ..., high: ...}",
    "integer": "{type: int, low: ..., high: ...}",
    "int_uniform": "{type: int, low: ..., high: ...}",
    "randint": "{type: int, low: ..., high: ...}",
    "qrandint": "{type: int, step: ..., low: ..., high: ...}",
    "lograndint": "{type: int, log: true, low: ..., high: ...}",
    "bool": "the list [true, false]",
    "boolean": "the list [true, false]",
    "list": "the list itself, [a, b, c]",
    "enum": "the list itself, [a, b, c]",
    "grid_search": "the list itself, [a, b, c]",
}

KEY_HABITS = {
    "min": "low",
    "lower": "low",
    "max": "high",
    "upper": "high",
    "values": "choices",
    "options": "choices",
    "categories": "choices",
    "distribution": "type",
    "q": "step",
    "increment": "step",
    "log_scale": "log",
}

ALGORITHM_HABITS = {
    "asha": "successive_halving",
    "bayes": "gp",
    "bayesian": "gp",
    "bohb": "hyperband",
    "cma": "cmaes",
    "cma_es": "cmaes",
    "hyperopt": "tpe",
    "nop": "none",
    "sobol": "qmc",
}


def shown(value: object) -> str:
    """Return `value` in one short line, spelled as in YAML."""
    text = repr(value)
    if value is None or isinstance(value, bool | list | dict):
        with contextlib.suppress(TypeError, ValueError):
            text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LIMIT else f"{text[: LIMIT - 3]}..."


def not_a(kind: str, field: str, value: object) -> str:
    """Return the rule for a `field` whose `value` is not a `kind` ("number", "whole number")."""
    if not isinstance(value, str):
        return f"`{field}` must be a {kind}, but is {shown(value)}."
    # Underscores separate digits in Python and in YAML 1.1, not in the YAML 1.2 read here.
    advice = f": write {value.replace('_', '')} without quotes" if NUMBER_TEXT.match(value) else ""
    return f"`{field}` must be a {kind}, but is the string {shown(value)}{advice}."


def did_you_mean(word: str, options: Collection[str], cutoff: float = 0.6) -> str:
    """Return ", did you mean 'x'?" for the option that is nearest, "" if none is; see `difflib`'s cutoff."""
    close = difflib.get_close_matches(word, options, n=1, cutoff=cutoff)
    return f", did you mean {close[0]!r}?" if close else ""


def nearest(word: object, options: Collection[str]) -> str:
    """Return ", did you mean 'x'?", or the list of options when nothing is near.

    Args:
        word: What was written.
        options: What could have been written; the list is cut when long.
    """
    if isinstance(word, str) and (near := did_you_mean(word, options)):
        return near
    first = ", ".join(list(options)[:8])
    return f"; there is {first}{', ...' if len(options) > 8 else ''}." if options else "."


def near_algorithm(name: str, options: Collection[str]) -> str:
    """Return ", did you mean 'x'?" for a sampler or pruner, by the name other tools may give it; or ""."""
    plain = name.lower().replace("-", "_").removesuffix("sampler").removesuffix("pruner")
    habit = ALGORITHM_HABITS.get(plain)
    return f", did you mean {habit!r}?" if habit in options else did_you_mean(plain, options)


def unknown_key(key: object, options: Collection[str]) -> str:
    """Return the rule for a `key` that a parameter does not have."""
    habit = KEY_HABITS.get(str(key))
    if habit == "choices" and habit not in options:
        return f"unknown key {key!r}: write the list itself, [a, b, c]."
    return f"unknown key {key!r}" + (f", did you mean {habit!r}?" if habit else nearest(key, options))


def unknown_type(kind: object, options: Collection[str]) -> str:
    """Return the rule for a parameter whose `type` is `kind`."""
    habit = TYPE_HABITS.get(kind) if isinstance(kind, str) else None
    return f"unknown type {shown(kind)}" + (f": write {habit}." if habit else nearest(kind, options))


def range_as_key(raw: Mapping[object, object]) -> str:
    """Return the rule for `{loguniform: [0.1, 1]}`, other tools' word as the only key; "" for others."""
    (kind, value), *others = raw.items()
    if others or not isinstance(value, list):
        return ""
    habit = {"choice": "the list itself, [a, b, c]", **TYPE_HABITS}.get(str(kind), "")
    for name, bound in zip(("low", "high", "step"), value, strict=False):
        habit = habit.replace(f"{name}: ...", f"{name}: {shown(bound)}")
    return habit and f"{shown(kind)} is a word of other tools: write {habit}."


def untyped(raw: Mapping[object, object]) -> str:
    """Return the rule for a mapping that looks like a parameter but has no `type`."""
    if "value" in raw:
        return "a fixed value belongs into the base configuration."
    for key in ("values", "choices"):
        if key in raw:
            return f"`{key}` needs no mapping: write the list itself, [a, b, c]."
    low = raw.get("low", raw.get("min", "..."))
    high = raw.get("high", raw.get("max", "..."))
    kind = "int" if isinstance(low, int) and isinstance(high, int) else "float"
    shape = f"{{type: {kind}, low: ..., high: ...}}"
    habit = TYPE_HABITS.get(str(raw.get("distribution")), shape)
    if "log: true" in habit and isinstance(low, int | float) and low <= 0:
        low = high = "..."  # exponents, as W&B's `log_uniform` takes them
    for name, value in (("low", low), ("high", high), ("step", raw.get("q", "..."))):
        habit = habit.replace(f"{name}: ...", f"{name}: {value}")
    if not habit.startswith("{"):
        return f"`type` is missing: write {habit}."
    named = "{type: choice, choices: {...}} for named choices"
    return f"`type` is missing: write {habit} for a range, or {named}."
