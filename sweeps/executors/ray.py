"""The executor that trains: warm Ray actors, one outstanding message each, as many as there is room for."""

import functools
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from sweeps.errors import UserError
from sweeps.executors import TrialFunction, taken_back
from sweeps.executors.cluster import ray_reason
from sweeps.executors.each import map_on
from sweeps.executors.life import asked, ensure_it_lives, leave_if_lost
from sweeps.executors.resources import Need
from sweeps.executors.slot import Slot
from sweeps.executors.workers import LOOK_SECONDS, MOST_STARTS, Workers
from sweeps.records import Answer, Assignment, Event, Outcome, Started, State

IDLE_SECONDS = 30.0
"""A worker that has had nothing to do for so long is ended: others may need its place, or nobody its node."""


class RayExecutor:
    """Trains on Ray actors that stay; see `sweeps.executors.Executor` for the contract.

    There are as many slots as fit on the living nodes beside what others have taken; they come and go with
    the nodes. A trial is given to a worker that is there, so that none waits for one that cannot be placed.

    Args:
        make_trial_function: Called once in each worker process; does the slow imports.
        slots: The most slots; None for as many as fit.
        first: How many workers to start with; None for one a slot. More come when more is submitted.
        need: What each takes.
        timeout_seconds: How long a trial may take.
        grace_seconds: How long one that goes on may wait for its checkpoint beside that.
        idle_seconds: How long a worker without work stays.
        queue: How many workers may wait in Ray's queue for places that are not there yet.
        say: Takes a line for the person who waits.
    """

    def __init__(
        self,
        make_trial_function: Callable[[], TrialFunction],
        *,
        slots: int | None,
        first: int | None = None,
        need: Need = Need(),  # noqa: B008 - frozen
        timeout_seconds: float = math.inf,
        grace_seconds: float = 0.0,
        idle_seconds: float = IDLE_SECONDS,
        queue: int = 0,
        say: Callable[[str], None] = print,
    ) -> None:
        self._need, self._timeout_seconds, self._grace_seconds = need, timeout_seconds, grace_seconds
        self._waiting: deque[Assignment] = deque()
        self._news: deque[Event] = deque()
        self._first = math.inf if first is None else first
        self._left, self._is_held = time.monotonic(), False
        self._queue, self._numbers = queue, set[int]()
        most = math.inf if slots is None else slots
        self._workers = Workers(make_trial_function, need, most, idle_seconds, say, queues=queue > 0)
        self._workers.look()
        self._workers.grow(self._first)

    @property
    def has_room(self) -> bool:
        """Whether `submit` may be called."""
        return self._trials <= self._workers.capacity

    @property
    def has_free_slot(self) -> bool:
        """Whether a slot waits for a trial."""
        return self._trials < self._workers.capacity

    @property
    def idle(self) -> bool:
        """Whether nothing is submitted, or nothing but what is held back."""
        return not self._news and not self._wanted

    @property
    def _trials(self) -> int:
        return len(self._waiting) + self._training

    @property
    def _training(self) -> int:
        return sum(slot.trial is not None for slot in self._workers.slots)

    @property
    def _wanted(self) -> int:
        """The trials that train, or are to as soon as they can."""
        return self._training if self._is_held else self._trials

    @property
    def _later(self) -> float:
        """The trials that are still to come and could have a worker of their own."""
        to_come = self._first - len(self._numbers) if self._waiting and not self._is_held else 0
        return max(0, min(self._queue - 1, to_come))

    def expect(self, sources: Mapping[str, str]) -> None:
        """Takes the user's modules that the sweep is started with; a worker that has others is made known."""
        self._workers.sources.expect(sources)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Runs a function in a worker and gives its result; for use before the first trial.

        Raises:
            UserError: The worker's process died, and so did those that were tried after it.
        """
        for attempt in range(MOST_STARTS):
            slot = self._workers.first_ready(self._first)
            try:
                result = asked(functools.partial(ray.get, slot.actor.call.remote(function, *arguments)))
            except RayError as error:
                if attempt == MOST_STARTS - 1:
                    raise UserError(f"the worker process dies: {ray_reason(error)}") from error
                self._workers.end(slot)
            else:
                for there in self._workers.slots:
                    there.since = time.monotonic()
                return result
        return None

    def map(
        self,
        function: Callable[..., Any],
        arguments: Sequence[tuple[Any, ...]],
        timeout_seconds: float = math.inf,
    ) -> list[Any]:
        """Runs a function for each of the arguments, on all workers; see `sweeps.executors.Crew`."""
        seconds = min(timeout_seconds, self._timeout_seconds)
        return map_on(self._workers, self._first, function, arguments, seconds)

    def submit(self, assignment: Assignment) -> None:
        """Takes a trial."""
        self._waiting.append(assignment)
        self._numbers.add(assignment.number)
        self._fill()

    def next_event(self, timeout_seconds: float = math.inf) -> Event | None:
        """Waits for the next report or outcome; also comes back when there is more room than before.

        Raises:
            ClusterLost: The cluster has ended, and the workers with it.
        """
        away = time.monotonic() - self._left
        for slot in self._workers.slots:  # the driver was held up, perhaps by its database: not their time
            slot.deadline += away if away > LOOK_SECONDS else 0
        event, self._left = self._wait(time.monotonic() + timeout_seconds), time.monotonic()
        return event

    def _wait(self, until: float) -> Event | None:
        while not self._news:
            ensure_it_lives()
            self._end_late_ones()
            is_over = self._adjust() or self._news or (self.idle and math.isinf(until))
            if is_over or (now := time.monotonic()) > until:
                break
            slots = self._workers.slots
            pending = {slot.pending: slot for slot in slots if slot.pending is not None}
            wake_at = min([until, self._workers.look_at, *(slot.deadline for slot in slots)])
            pause = max(0.0, wake_at - now)
            if not pending:
                time.sleep(min(pause, LOOK_SECONDS))
                continue
            ready, _ = ray.wait(list(pending), num_returns=1, timeout=pause)
            if ready and (event := self._take(pending[ready[0]])):
                return event
        return self._news.popleft() if self._news else None

    def cancel(self, number: int, reason: str) -> None:
        """Ends a trial, which fails for this reason; one that is not there is left alone."""
        for assignment in [a for a in self._waiting if a.number == number]:
            self._waiting.remove(assignment)
            self._news.append(Outcome(number, State.FAILED, reason=reason, fault="killed"))
        for slot in [slot for slot in self._workers.slots if slot.trial == number]:
            self._news.append(replace(self._give_up(slot, reason), fault="killed"))
        self._fill()

    def hold(self, *, held: bool) -> None:
        """Holds back the trials that have no slot yet, or lets them start."""
        self._is_held = held
        self._fill()

    def recall(self) -> list[Assignment]:
        """Gives back the trials that have no slot yet and never had one."""
        return taken_back(self._waiting)

    def resize(self, slots: int) -> None:
        """Changes the most slots: at once upwards, downwards as trials end."""
        self._workers.most = slots
        self._workers.look()
        self._fill()

    def reply(self, number: int, *, stop: bool) -> None:
        """Answers the trial's last report."""
        slot = next(slot for slot in self._workers.slots if slot.trial == number)
        slot.pending = slot.actor.exchange.remote(Answer(number, stop))

    def close(self) -> None:
        """Ends all workers."""
        self._workers.end_all()
        self._waiting.clear()
        leave_if_lost()

    def _take(self, slot: Slot) -> Event | None:
        """What a worker answered; nothing for one that has just come."""
        if not slot.node:
            return self._received(slot)
        reference, slot.pending = slot.pending, None
        try:
            event: Event = ray.get(reference)
        except RayTaskError as error:  # our code there raised; the process lives, but who knows how
            event = self._give_up(slot, f"the worker failed: {ray_reason(error)}")
        except RayError as error:
            event = self._give_up(slot, f"the worker process died: {ray_reason(error)}", lost=True)
        else:
            self._workers.look_at_code(slot)
            self._workers.note(slot, event)
        if isinstance(event, Outcome):
            event = replace(event, code=slot.code or {})
            if event.fault:  # what it holds on the GPU stays there as long as its process
                self._workers.end(slot)
            slot.trial, slot.deadline, slot.since = None, math.inf, time.monotonic()
            self._fill()
        return event

    def _received(self, slot: Slot) -> Outcome | None:
        """Takes in a worker that has come; one that died on its way takes a waiting trial with it."""
        try:
            self._workers.welcome(slot)
        except RayError as error:
            if any(other.node for other in self._workers.slots) or not self._waiting or self._is_held:
                return None
            reason = f"the worker process died: {ray_reason(error)}"
            number = self._waiting.popleft().number
            return Outcome(number, State.FAILED, reason=reason, worker=slot.name, lost=True)
        self._fill()
        return None

    def _end_late_ones(self) -> None:
        reason = f"it ran longer than trial_timeout={self._timeout_seconds:g} seconds"
        for slot in [slot for slot in self._workers.slots if slot.deadline < time.monotonic()]:
            self._news.append(self._give_up(slot, reason))

    def _adjust(self) -> bool:
        """Now and then: ends what is idle, starts what is wanted; says whether there is new room."""
        had_room = self.has_room
        if time.monotonic() < self._workers.look_at:
            return False
        self._workers.end_idle(self._wanted + self._later)
        self._workers.look()
        self._fill()
        return self.has_room and not had_room

    def _fill(self) -> None:
        """Gives what waits to the workers that are free, and asks for more workers where more is wanted."""
        for slot in self._workers.free:
            if len(self._workers.slots) > self._workers.most or slot.node in self._workers.closed:
                self._workers.end(slot)
            elif self._waiting and slot.node and not self._is_held:
                assignment = self._waiting.popleft()
                grace = self._grace_seconds if assignment.attempt else 0.0
                slot.begin(assignment.number, self._timeout_seconds + grace)
                self._news.append(Started(assignment.number, time.time()))
                slot.pending = slot.actor.exchange.remote(assignment)
        self._workers.grow(self._wanted, self._later)

    def _give_up(self, slot: Slot, reason: str, *, lost: bool = False) -> Outcome:
        """Ends a worker and its trial, which fails for this reason."""
        self._workers.end(slot)
        return slot.failed(reason, lost=lost)
