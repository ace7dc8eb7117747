"""What a sweep searched, put together from what its trials were given."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from dashboards.records import Parameter


def parameters(spaces: Iterable[Mapping[str, Any]]) -> tuple[Parameter, ...]:
    """Return the union of the trials' search spaces.

    Args:
        spaces: Optuna's distributions by name, one mapping a trial.
    """
    found: dict[str, Parameter] = {}
    seen: dict[str, Any] = {}
    for space in spaces:
        for name, distribution in space.items():
            if seen.get(name) != distribution:  # nearly always the one of the trial before
                seen[name] = distribution
                found[name] = _joined(found.get(name), _parameter(name, distribution))
    return tuple(found.values())


def _parameter(name: str, distribution: Any) -> Parameter:
    kind = type(distribution).__name__.removesuffix("Distribution").lower()
    if kind == "categorical":
        return Parameter(name, kind, choices=tuple(distribution.choices))
    return Parameter(name, kind, distribution.low, distribution.high, distribution.log)


def _joined(known: Parameter | None, new: Parameter) -> Parameter:
    if known is None or known.kind != new.kind:
        return new
    if new.kind == "categorical":
        more = tuple(choice for choice in new.choices if choice not in known.choices)
        return replace(known, choices=known.choices + more)
    lows = [bound for bound in (known.low, new.low) if bound is not None]
    highs = [bound for bound in (known.high, new.high) if bound is not None]
    return replace(new, low=min(lows), high=max(highs))
