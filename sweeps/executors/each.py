"""The same function on all the workers of a sweep, beside its trials."""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from sweeps.executors.life import ensure_it_lives
from sweeps.executors.slot import Slot
from sweeps.executors.workers import Workers

LOOK_SECONDS = 5.0


def map_on(
    workers: Workers,
    wanted: float,
    function: Callable[..., Any],
    arguments: Sequence[tuple[Any, ...]],
    timeout_seconds: float,
) -> list[Any]:
    """Does what `sweeps.executors.Crew` says; for use before the first trial.

    Args:
        workers: The workers.
        wanted: How many to ask for while none is there.
        function: What they run.
        arguments: Of each call.
        timeout_seconds: How long a call may take.
    """
    waiting = deque(enumerate(arguments))
    results: list[Any] = [None] * len(arguments)
    running: dict[Any, tuple[Slot, int, float]] = {}
    while waiting or running:
        ensure_it_lives()
        if not running:
            workers.first_ready(wanted)
        busy = {id(slot) for slot, *_ in running.values()}
        for slot in [slot for slot in workers.slots if slot.node and id(slot) not in busy]:
            if waiting:
                index, given = waiting.popleft()
                until = time.monotonic() + timeout_seconds
                running[slot.actor.call.remote(function, *given)] = slot, index, until
        coming = {slot.pending: slot for slot in workers.slots if not slot.node}
        pause = min([LOOK_SECONDS, *(max(0.0, u - time.monotonic()) for *_, u in running.values())])
        for reference in ray.wait([*running, *coming], num_returns=1, timeout=pause)[0]:
            if reference in coming:
                with contextlib.suppress(RayError):
                    workers.welcome(coming[reference])
            else:
                slot, index, _ = running.pop(reference)
                results[index] = _result(workers, slot, reference)
        for reference in [r for r, (*_, until) in running.items() if until < time.monotonic()]:
            slot, index, _ = running.pop(reference)
            workers.end(slot)
            results[index] = TimeoutError(f"it ran longer than trial_timeout={timeout_seconds:g} seconds")
    for slot in workers.slots:
        slot.since = time.monotonic()
    return results


def _result(workers: Workers, slot: Slot, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except RayError as error:  # one that raised may have spoilt its GPU, or hold memory there
        workers.end(slot)
        return error
