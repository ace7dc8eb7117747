"""The rules of numeric ranges, in the form of Optuna's own messages; `parameters` applies them."""

import math
from fractions import Fraction
from typing import TypeGuard

from search_spaces.errors import SpaceError
from search_spaces.wording import not_a, shown

EXACT_LIMIT = 2**53  # Optuna's samplers keep integers as floats, which are exact up to here.


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether it is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_whole(value: object) -> TypeGuard[int]:
    """Whether it is an int; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def number(field: str, value: object) -> float:
    """Return `value` as a float.

    Raises:
        SpaceError: If it is not a finite number; true and false are none.
    """
    if not is_number(value):
        raise SpaceError("", not_a("number", field, value))
    try:
        as_float = float(value)
    except OverflowError:
        as_float = math.inf
    if not math.isfinite(as_float):
        raise SpaceError("", f"`{field}` must be finite, but is {shown(value)}.")
    return as_float


def whole(field: str, value: object) -> int:
    """Return `value` as an int; 1e3 is 1000.

    Raises:
        SpaceError: If it is not a whole number, or is too large to be exact as a float.
    """
    as_float = number(field, value)
    if not as_float.is_integer():
        raise SpaceError("", not_a("whole number", field, value))
    if abs(as_float) >= EXACT_LIMIT:
        raise SpaceError("", f"`{field}` must lie between -2**53 and 2**53, but is {shown(value)}.")
    return int(as_float)


def check_range(low: float, high: float, log: object) -> None:
    """Check what floats and integers share.

    Raises:
        SpaceError: If `log` is not a bool, or low does not lie below high.
    """
    if not isinstance(log, bool):
        raise SpaceError("", f"`log` must be true or false, but is {shown(log)}.")
    if low > high:
        raise SpaceError("", f"`low < high` must hold, but got low={low}, high={high}.")
    if low == high:
        rule = f"low and high are both {low}: put the value in the base configuration instead."
        raise SpaceError("", rule)


def exact(value: float) -> Fraction:
    """Return the decimal number that was written: Fraction(0.1) would be the nearest binary one."""
    return Fraction(repr(value))


def count_steps(low: float, high: float, step: float) -> int:
    """Return the number of steps from low to high; there must be a whole one.

    Raises:
        SpaceError: If the step is not positive, too large, too small or does not lead to `high`.
    """
    got = f"but got low={low}, high={high}, step={step}"
    if step <= 0:
        raise SpaceError("", f"`step > 0` must hold, but got step={step}.")
    # Exactly: in floats 0.17 - 0.1 is no longer 0.07.
    reach = exact(high) - exact(low)
    if exact(step) > reach:
        raise SpaceError("", f"`step <= high - low` must hold, {got}.")
    count, rest = divmod(reach, exact(step))
    if count > EXACT_LIMIT:
        raise SpaceError("", f"`step` is too small for the range, {got}.")
    if rest:
        count += 2 * rest > exact(step)
        right = type(high)(exact(low) + count * exact(step))
        raise SpaceError("", f"`high` must be whole steps above `low`, {got}: the nearest is high={right}.")
    return int(count)
