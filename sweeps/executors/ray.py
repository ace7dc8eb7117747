"""The executor that trains: warm Ray actors, one outstanding message each, as many as there is room for."""

import contextlib
import math
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from sweeps.errors import UserError
from sweeps.executors import TrialFunction
from sweeps.executors.cluster import nodes, one_line
from sweeps.executors.each import CallsEach
from sweeps.records import Answer, Assignment, Event, Outcome, Started, State
from sweeps.resources import ACCELERATOR, Need
from sweeps.worker import Worker

LOOK_SECONDS = 1.0
"""How often the executor looks at what the cluster has; also how late Ray may show what was just taken."""

IDLE_SECONDS = 30.0
"""A worker that has had nothing to do for so long is ended: others may need its place, or nobody its node."""


@dataclass(eq=False)
class _Slot:
    name: str
    actor: Any
    pending: Any = field(repr=False)
    """The reference of what the worker was asked last, None while the driver has the turn."""
    node: str = ""
    """Where it runs; empty until it is there and has imported what it needs."""
    trial: int | None = None
    deadline: float = math.inf
    """When the trial has had its time, on the monotonic clock."""
    since: float = field(default_factory=time.monotonic)
    """When it was asked for, or became idle."""


class RayExecutor(CallsEach):
    """Trains on Ray actors that stay; see `sweeps.executors.Executor` for the contract.

    There are as many slots as fit on the living nodes beside what others have taken; they come and go with
    the nodes. A trial is given to a worker that is there, so that none waits for one that cannot be placed.

    Args:
        make_trial_function: Called once in each worker process; does the slow imports.
        slots: The most slots; None for as many as fit.
        need: What each takes.
        timeout_seconds: How long a trial may take.
        idle_seconds: How long a worker without work stays.
        say: Takes a line for the person who waits.
    """

    def __init__(
        self,
        make_trial_function: Callable[[], TrialFunction],
        *,
        slots: int | None,
        need: Need = Need(),  # noqa: B008 - frozen
        timeout_seconds: float = math.inf,
        idle_seconds: float = IDLE_SECONDS,
        say: Callable[[str], None] = print,
    ) -> None:
        self._make_trial_function = make_trial_function
        self._need, self._most = need, math.inf if slots is None else slots
        kind = {ACCELERATOR + need.accelerator: 0.001} if need.accelerator else {}
        self._actor_class = ray.remote(Worker).options(num_cpus=need.cpus, num_gpus=need.gpus, resources=kind)
        self._timeout_seconds, self._idle_seconds, self._say = timeout_seconds, idle_seconds, say
        self._waiting: deque[Assignment] = deque()
        self._news: deque[Event] = deque()
        self._started = 0
        self._slots: list[_Slot] = []
        self._capacity = 0
        self._look_at, self._left = 0.0, time.monotonic()
        self._look()
        self._grow(self._capacity)

    @property
    def has_room(self) -> bool:
        """Whether `submit` may be called."""
        return self._trials <= self._capacity

    @property
    def has_free_slot(self) -> bool:
        """Whether a slot waits for a trial."""
        return self._trials < self._capacity

    @property
    def idle(self) -> bool:
        """Whether nothing is submitted."""
        return not self._news and not self._trials

    @property
    def _trials(self) -> int:
        return len(self._waiting) + sum(slot.trial is not None for slot in self._slots)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Runs a function in a worker and gives its result; for use before the first trial.

        Raises:
            UserError: The worker's process died, and so did a second one.
        """
        for is_last in (False, True):
            slot = None
            try:
                slot = self._first_ready()
                result = ray.get(slot.actor.call.remote(function, *arguments))
            except RayError as error:
                if is_last:
                    raise UserError(f"the worker process dies: {one_line(error)}") from error
                if slot:
                    self._drop(slot, "", lost=True)
            else:
                for there in self._slots:
                    there.since = time.monotonic()
                return result
        return None

    def _first_ready(self) -> _Slot:
        """Waits for a worker, and says so if others have taken all that it needs."""
        has_said = False
        while True:
            if found := next((slot for slot in self._slots if slot.node), None):
                return found
            if not self._slots and not has_said:
                self._say(f"waiting for a free place: a trial takes {self._need}, and others have taken all")
                has_said = True
            if self._slots:
                coming = {slot.pending: slot for slot in self._slots}
                ready, _ = ray.wait(list(coming), num_returns=1, timeout=LOOK_SECONDS)
                for reference in ready:
                    self._welcome(coming[reference])
            else:
                time.sleep(LOOK_SECONDS)
            self._look()
            self._grow(self._capacity)

    def submit(self, assignment: Assignment) -> None:
        """Takes a trial."""
        self._waiting.append(assignment)
        self._fill()

    def next_event(self, timeout_seconds: float = math.inf) -> Event | None:
        """Waits for the next report or outcome; also comes back when there is more room than before."""
        away = time.monotonic() - self._left
        for slot in self._slots:  # the driver was held up, by its database perhaps: not the trials' time
            slot.deadline += away if away > LOOK_SECONDS else 0
        event = self._wait(time.monotonic() + timeout_seconds)
        self._left = time.monotonic()
        return event

    def _wait(self, until: float) -> Event | None:
        while not self._news:
            self._end_late_ones()
            is_over = self._adjust() or self._news or (self.idle and math.isinf(until))
            if is_over or (now := time.monotonic()) > until:
                break
            pending = {slot.pending: slot for slot in self._slots if slot.pending is not None}
            pause = max(0.0, min([until, self._look_at, *(slot.deadline for slot in self._slots)]) - now)
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
            self._news.append(Outcome(number, State.FAILED, reason=reason))
        for slot in [slot for slot in self._slots if slot.trial == number]:
            self._news.append(self._drop(slot, reason, lost=False))
        self._fill()

    def resize(self, slots: int) -> None:
        """Changes the most slots: at once upwards, downwards as trials end."""
        self._most = slots
        self._look()
        self._fill()

    def reply(self, number: int, *, stop: bool) -> None:
        """Answers the trial's last report."""
        slot = next(slot for slot in self._slots if slot.trial == number)
        slot.pending = slot.actor.exchange.remote(Answer(number, stop))

    def close(self) -> None:
        """Ends all workers."""
        for slot in self._slots:
            ray.kill(slot.actor)
        self._slots, self._waiting = [], deque()

    def _take(self, slot: _Slot) -> Event | None:
        """What a worker answered; nothing for one that has just come."""
        if not slot.node:
            return self._received(slot)
        reference, slot.pending = slot.pending, None
        try:
            event: Event = ray.get(reference)
        except RayTaskError as error:  # our code there raised; the process lives, but who knows how
            event = self._drop(slot, f"the worker failed: {one_line(error)}", lost=False)
        except RayError as error:
            event = self._drop(slot, f"the worker process died: {one_line(error)}", lost=True)
        if isinstance(event, Outcome):
            if event.fault:  # what it holds on the GPU stays there as long as its process
                self._drop(slot, "", lost=False)
            slot.trial, slot.deadline, slot.since = None, math.inf, time.monotonic()
            self._fill()
        return event

    def _received(self, slot: _Slot) -> Outcome | None:
        """Takes in a worker that has come; one that died on its way takes a waiting trial with it."""
        try:
            self._welcome(slot)
        except RayError as error:
            outcome = self._drop(slot, f"the worker process died: {one_line(error)}", lost=True)
            if any(other.node for other in self._slots) or not self._waiting:
                return None
            return Outcome(self._waiting.popleft().number, State.FAILED, reason=outcome.reason, lost=True)
        self._fill()
        return None

    def _welcome(self, slot: _Slot) -> None:
        reference, slot.pending = slot.pending, None
        try:
            slot.node, slot.since = ray.get(reference), time.monotonic()
        except RayError:
            self._slots = [other for other in self._slots if other is not slot]
            raise

    def _end_late_ones(self) -> None:
        reason = f"it ran longer than trial_timeout={self._timeout_seconds:g} seconds"
        for slot in [slot for slot in self._slots if slot.deadline < time.monotonic()]:
            self._news.append(self._drop(slot, reason, lost=False))

    def _adjust(self) -> bool:
        """Now and then: ends what is idle, starts what is wanted; says whether there is new room."""
        now, had_room = time.monotonic(), self.has_room
        if now < self._look_at:
            return False
        for slot in [slot for slot in self._slots if slot.trial is None]:
            if now - slot.since > self._idle_seconds and slot.node:
                self._drop(slot, "", lost=False)
        self._look()
        self._fill()
        return self.has_room and not had_room

    def _look(self) -> None:
        """Counts the slots that there can be: ours, and what fits beside what is taken."""
        now = time.monotonic()
        self._look_at = now + LOOK_SECONDS
        coming = [slot for slot in self._slots if not slot.node]
        young = sum(now - slot.since < LOOK_SECONDS for slot in coming)  # Ray may not show them as taken yet
        placed = Counter(slot.node for slot in self._slots)
        free = sum(
            max(0, min(self._need.fits(node.free), self._need.fits(node.total) - placed[name]))
            for name, node in nodes().items()
        )
        self._capacity = int(min(self._most, len(self._slots) - young + max(young, free)))

    def _fill(self) -> None:
        """Gives what waits to the workers that are free, and asks for more workers where more is wanted."""
        for slot in [slot for slot in self._slots if slot.trial is None]:
            if len(self._slots) > self._most:
                self._drop(slot, "", lost=False)
            elif self._waiting and slot.node:
                assignment = self._waiting.popleft()
                slot.trial = assignment.number
                slot.deadline = time.monotonic() + self._timeout_seconds
                self._news.append(Started(assignment.number, time.time()))
                slot.pending = slot.actor.exchange.remote(assignment)
        self._grow(self._trials)

    def _grow(self, wanted: int) -> None:
        while len(self._slots) < min(wanted, self._capacity):
            name = f"worker-{self._started}"
            self._started += 1
            actor: Any = self._actor_class.remote(self._make_trial_function, name)
            self._slots.append(_Slot(name, actor, actor.call.remote(_node_id)))

    def _drop(self, slot: _Slot, reason: str, *, lost: bool) -> Outcome:
        """Ends a worker, which is not heard any more; gives the outcome of its trial."""
        outcome = Outcome(slot.trial or 0, State.FAILED, reason=reason, worker=slot.name, lost=lost)
        with contextlib.suppress(RayError):
            ray.kill(slot.actor)
        self._slots = [other for other in self._slots if other is not slot]
        self._look_at = min(self._look_at, time.monotonic() + LOOK_SECONDS / 5)
        return outcome


def _node_id() -> str:
    """The node of this worker."""
    return str(ray.get_runtime_context().get_node_id())
