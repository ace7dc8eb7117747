"""The same function on all the workers of a sweep, beside its trials."""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from sweeps.executors.workers import Slot, Workers

LOOK_SECONDS = 5.0


def map_on(
    workers: Workers,
    first_ready: Callable[[], Slot],
    function: Callable[..., Any],
    arguments: Sequence[tuple[Any, ...]],
) -> list[Any]:
    """Runs a function for each of the arguments, on all workers; for use before the first trial.

    Args:
        workers: The workers.
        first_ready: Waits for a worker.
        function: What they run.
        arguments: Of each call.

    Returns:
        The results in order; where a call raised or its worker died, the exception.
    """
    waiting = deque(enumerate(arguments))
    results: list[Any] = [None] * len(arguments)
    running: dict[Any, tuple[Slot, int]] = {}
    while waiting or running:
        if not running:
            first_ready()
        busy = {id(slot) for slot, _ in running.values()}
        for slot in [slot for slot in workers.slots if slot.node and id(slot) not in busy]:
            if waiting:
                index, given = waiting.popleft()
                running[slot.actor.call.remote(function, *given)] = slot, index
        coming = {slot.pending: slot for slot in workers.slots if not slot.node}
        for reference in ray.wait([*running, *coming], num_returns=1, timeout=LOOK_SECONDS)[0]:
            if reference in coming:
                with contextlib.suppress(RayError):
                    workers.welcome(coming[reference])
            else:
                slot, index = running.pop(reference)
                results[index] = _result(workers, slot, reference)
    for slot in workers.slots:
        slot.since = time.monotonic()
    return results


def _result(workers: Workers, slot: Slot, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except RayTaskError as error:
        return error
    except RayError as error:
        workers.end(slot)
        return error
