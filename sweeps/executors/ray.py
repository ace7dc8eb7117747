"""The executor that trains: warm Ray actors, one outstanding message each."""

import contextlib
import math
import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from sweeps.errors import UserError
from sweeps.executors import TrialFunction
from sweeps.records import Answer, Assignment, Event, Outcome, Started, State
from sweeps.worker import Worker


@dataclass
class _Slot:
    name: str
    actor: Any
    trial: int | None = None
    deadline: float = math.inf
    """When the trial has had its time, on the monotonic clock."""
    pending: Any = field(default=None, repr=False)
    """The reference of the outstanding `exchange`, None while the driver has the turn."""


class RayExecutor:
    """Trains on Ray actors that stay; see `sweeps.executors.Executor` for the contract.

    An actor whose process dies fails its trial and is replaced.

    Args:
        make_trial_function: Called once in each worker process; does the slow imports.
        slots: Number of actors.
        cpus: Logical CPUs of each.
        gpus: GPUs of each, a fraction for sharing one.
        timeout_seconds: How long a trial may take.
    """

    def __init__(
        self,
        make_trial_function: Callable[[], TrialFunction],
        *,
        slots: int,
        cpus: float = 1.0,
        gpus: float = 0.0,
        timeout_seconds: float = math.inf,
    ) -> None:
        self._make_trial_function = make_trial_function
        self._actor_class = ray.remote(Worker).options(num_cpus=cpus, num_gpus=gpus)
        self._timeout_seconds = timeout_seconds
        self._waiting: deque[Assignment] = deque()
        self._news: deque[Event] = deque()
        self._started = 0
        self._wanted = slots
        self._slots = [self._new_slot() for _ in range(slots)]

    @property
    def has_room(self) -> bool:
        """Whether `submit` may be called."""
        return len(self._waiting) + sum(slot.trial is not None for slot in self._slots) <= len(self._slots)

    @property
    def idle(self) -> bool:
        """Whether nothing is submitted."""
        return not (self._waiting or self._news) and all(slot.trial is None for slot in self._slots)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Runs a function in the first worker and gives its result; for use while no trial runs there.

        Raises:
            UserError: The worker's process died, and so did a second one.
        """
        slot = self._slots[0]
        for is_last in (False, True):
            try:
                return ray.get(slot.actor.call.remote(function, *arguments))
            except RayError as error:
                if is_last:
                    raise UserError(f"the worker process dies: {_one_line(error)}") from error
                self._replace(slot, "", lost=True)
        return None

    def submit(self, assignment: Assignment) -> None:
        """Takes a trial."""
        self._waiting.append(assignment)
        self._fill()

    def next_event(self, timeout_seconds: float = math.inf) -> Event | None:
        """Waits for the next report or outcome."""
        now = time.monotonic()
        for slot in self._slots:
            if slot.deadline < now:
                self._end(slot, f"it ran longer than trial_timeout={self._timeout_seconds:g} seconds")
        if self._news:
            return self._news.popleft()
        pending = {slot.pending: slot for slot in self._slots if slot.pending is not None}
        until = min([now + timeout_seconds, *(slot.deadline for slot in self._slots)])
        if not pending:
            time.sleep(max(0.0, min(until - now, 1.0)))
            return None
        timeout = None if math.isinf(until) else max(0.0, until - now)
        ready, _ = ray.wait(list(pending), num_returns=1, timeout=timeout)
        return self._take(pending[ready[0]]) if ready else None

    def _take(self, slot: _Slot) -> Event:
        reference, slot.pending = slot.pending, None
        try:
            event: Event = ray.get(reference)
        except RayTaskError as error:  # our code there raised; the process lives, but who knows how
            event = self._replace(slot, f"the worker failed: {_one_line(error)}", lost=False)
        except RayError as error:
            event = self._replace(slot, f"the worker process died: {_one_line(error)}", lost=True)
        if isinstance(event, Outcome):
            slot.trial, slot.deadline = None, math.inf
            self._fill()
        return event

    def cancel(self, number: int, reason: str) -> None:
        """Ends a trial, which fails for this reason; one that is not there is left alone."""
        for assignment in [a for a in self._waiting if a.number == number]:
            self._waiting.remove(assignment)
            self._news.append(Outcome(number, State.FAILED, reason=reason))
        for slot in self._slots:
            if slot.trial == number:
                self._end(slot, reason)

    def _end(self, slot: _Slot, reason: str) -> None:
        self._news.append(self._replace(slot, reason, lost=False))
        slot.trial, slot.deadline, slot.pending = None, math.inf, None
        self._fill()

    def resize(self, slots: int) -> None:
        """Changes the number of slots: at once upwards, downwards as trials end."""
        self._wanted = slots
        while len(self._slots) < slots:
            self._slots.append(self._new_slot())
        self._fill()

    def reply(self, number: int, *, stop: bool) -> None:
        """Answers the trial's last report."""
        slot = next(slot for slot in self._slots if slot.trial == number)
        slot.pending = slot.actor.exchange.remote(Answer(number, stop))

    def close(self) -> None:
        """Ends all workers."""
        for slot in self._slots:
            ray.kill(slot.actor)
        self._slots.clear()
        self._waiting.clear()

    def _fill(self) -> None:
        for slot in [slot for slot in self._slots if slot.trial is None]:
            if len(self._slots) > self._wanted:
                self._slots.remove(slot)
                ray.kill(slot.actor)
            elif self._waiting:
                assignment = self._waiting.popleft()
                slot.trial = assignment.number
                slot.deadline = time.monotonic() + self._timeout_seconds
                self._news.append(Started(assignment.number, time.time()))
                slot.pending = slot.actor.exchange.remote(assignment)

    def _new_slot(self) -> _Slot:
        name = f"worker-{self._started}"
        self._started += 1
        return _Slot(name, self._actor_class.remote(self._make_trial_function, name))

    def _replace(self, slot: _Slot, reason: str, *, lost: bool) -> Outcome:
        """A new actor for a slot, and the outcome of its trial; the old actor is not heard any more."""
        outcome = Outcome(slot.trial or 0, State.FAILED, reason=reason, worker=slot.name, lost=lost)
        with contextlib.suppress(RayError):
            ray.kill(slot.actor)
        new = self._new_slot()
        slot.name, slot.actor = new.name, new.actor
        return outcome


def _one_line(error: BaseException) -> str:
    """Ray's message in one line: of a traceback the last one, without the terminal's colours."""
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", str(error)).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[-1 if isinstance(error, RayTaskError) else 0][:300]
