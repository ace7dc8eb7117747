"""The part of the Ray executor that runs functions beside trials: the same one on all workers."""

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

LOOK_SECONDS = 5.0


class CallsEach(ABC):
    """What `RayExecutor` has for `map`."""

    _slots: list[Any]

    @abstractmethod
    def _first_ready(self) -> Any:
        """Waits for a worker."""

    @abstractmethod
    def _welcome(self, slot: Any) -> None:
        """Takes in a worker that has come."""

    @abstractmethod
    def _drop(self, slot: Any, reason: str, *, lost: bool) -> Any:
        """Ends a worker."""

    def map(self, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Runs a function for each of the arguments, on all workers; for use before the first trial.

        Returns:
            The results in order; where a call raised or its worker died, the exception.
        """
        waiting = deque(enumerate(arguments))
        results: list[Any] = [None] * len(arguments)
        running: dict[Any, tuple[Any, int]] = {}
        while waiting or running:
            if not running:
                self._first_ready()
            busy = {id(slot) for slot, _ in running.values()}
            for slot in [slot for slot in self._slots if slot.node and id(slot) not in busy]:
                if waiting:
                    index, given = waiting.popleft()
                    running[slot.actor.call.remote(function, *given)] = slot, index
            coming = {slot.pending: slot for slot in self._slots if not slot.node}
            for reference in ray.wait([*running, *coming], num_returns=1, timeout=LOOK_SECONDS)[0]:
                if reference in coming:
                    self._came(coming[reference])
                else:
                    slot, index = running.pop(reference)
                    results[index] = self._result(slot, reference)
        for slot in self._slots:
            slot.since = time.monotonic()
        return results

    def _came(self, slot: Any) -> None:
        try:
            self._welcome(slot)
        except RayError as error:
            self._drop(slot, str(error), lost=True)

    def _result(self, slot: Any, reference: Any) -> Any:
        try:
            return ray.get(reference)
        except RayTaskError as error:
            return error
        except RayError as error:
            self._drop(slot, "", lost=True)
            return error
