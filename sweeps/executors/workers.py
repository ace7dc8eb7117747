"""The warm workers of one sweep on a Ray cluster: how many there can be, who comes and who is sent away.

A worker is a Ray actor. It is asked for where there seems to be room, comes when Ray has found it a place and
it has imported what it needs, and stays until it has been idle for a while or is ended. What it trains is
the executor's business.

On a cluster of others' some wait in Ray's queue beside those: without a place there, what others have queued
would always come first, and an autoscaler, which counts what is queued, would add no node.
"""

import contextlib
import functools
import time
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError

from sweeps.errors import UserError
from sweeps.executors import TrialFunction
from sweeps.executors.cluster import node_of, nodes, ray_reason
from sweeps.executors.left_out import LeftOut
from sweeps.executors.life import lives
from sweeps.executors.orphans import called, guarded
from sweeps.executors.resources import ACCELERATOR, Need, NodeState, room
from sweeps.executors.slot import Slot
from sweeps.executors.sources import Sources
from sweeps.provenance import imported_sources
from sweeps.records import Event, Outcome, Report, State
from sweeps.training.worker import Worker

LOOK_SECONDS = 1.0
"""How often to look at what the cluster has; also how late Ray may show what was just taken."""

MOST_STARTS = 4
"""How many workers may die before the first trial; some are preempted."""

NODE = "ray.io/node-id"
"""The label with which Ray names each node."""

PATIENT_LOOKS = 3
PLACE_SECONDS = 30.0
"""How long a process may take to start where there was a place; who has none by then waits in Ray's queue."""
ANSWER_SECONDS = 5.0
LONGEST_REST_SECONDS = 60.0
"""How long no further worker is asked for, at most, after those on their way have died again and again."""


class Workers:
    """The workers of one sweep.

    Args:
        make_trial_function: Called once in each worker's process; does the slow imports.
        need: What each takes.
        most: The most of them.
        idle_seconds: How long one without work stays.
        say: Takes a line for the person who waits.
        queues: Whether some wait in Ray's queue for places that are not there yet.

    Attributes:
        slots: Those that are there or on their way.
        most: The most of them.
        capacity: How many there can be at present.
        look_at: When to look at the cluster again, on the monotonic clock.
        sources: What they import.
        closed: The nodes that get no further trial: they are about to go, or are left out.
    """

    def __init__(
        self,
        make_trial_function: Callable[[], TrialFunction],
        need: Need,
        most: float,
        idle_seconds: float,
        say: Callable[[str], None],
        *,
        queues: bool = False,
    ) -> None:
        self._make_trial_function = functools.partial(guarded, make_trial_function)
        self._need, self._idle_seconds = need, idle_seconds
        kind = {ACCELERATOR + need.accelerator: 0.001} if need.accelerator else {}
        self._actor_class, self._options = ray.remote(Worker), {
            "num_cpus": need.cpus, "num_gpus": need.gpus, "resources": kind
        }  # fmt: skip
        self._asked, self._deaths, self._rests_until = 0, 0, 0.0
        self._say, self.sources = say, Sources(say)
        self._left_out, self._nodes, self.closed = LeftOut(say), dict[str, NodeState](), set[str]()
        self.slots: list[Slot] = []
        self._queues = queues
        self.most, self.capacity, self.look_at = most, 0, 0.0

    @property
    def free(self) -> list[Slot]:
        """Those without a trial, on their way or there; first those that have no place."""
        free = [slot for slot in self.slots if slot.trial is None]
        return sorted(free, key=lambda slot: not slot.is_queued)

    @property
    def _queued(self) -> list[Slot]:
        return [slot for slot in self.slots if slot.is_queued]

    @property
    def _settled(self) -> int:
        return len(self.slots) - len(self._queued)

    def look(self) -> None:
        """Finds out how many there can be: they come and go with the nodes, and with what others take."""
        now = time.monotonic()
        self.look_at = now + LOOK_SECONDS
        self._nodes = nodes()
        self._close({name for name, node in self._nodes.items() if node.is_drained} | self._left_out.names())
        for slot in self.slots if self._queues else ():
            if not slot.node and (slot.is_queued or now - slot.since > PLACE_SECONDS):
                slot.is_queued = not node_of(slot.actor)
        settled = [slot for slot in self.slots if not slot.is_queued]
        unseen = sum(not slot.node and now - slot.since < LOOK_SECONDS for slot in settled)
        held = [slot.node for slot in settled if slot.node not in self.closed]
        staying = sum(slot.trial is not None for slot in self.slots if slot.node in self.closed)
        self.capacity = int(min(self.most, room(self._need, self._open, held, unseen) + staying))

    def _close(self, closed: set[str]) -> None:
        if closed != self.closed:  # what is queued was told of others
            for slot in self._queued:
                self.end(slot)
        self.closed = closed

    @property
    def _open(self) -> dict[str, NodeState]:
        """The nodes where a trial may begin."""
        fits = self._need.fits
        return {n: node for n, node in self._nodes.items() if n not in self.closed and fits(node.total)}

    def note(self, slot: Slot, event: Event) -> None:
        """Sees whether trials begin well on a node, or fail there and not elsewhere."""
        if isinstance(event, Report) and not slot.has_validated:
            slot.has_validated = True
            self._left_out.begins_well(slot.node)
        if not isinstance(event, Outcome) or event.state is not State.FAILED or event.fault == "oom":
            return
        if not slot.has_validated and slot.node in self._nodes:
            place = self._nodes[slot.node].place
            self._left_out.fails(slot.node, event.number, place, event.reason, self._open)
            self.look()

    def grow(self, wanted: float, later: float = 0) -> None:
        """Asks for more where more are wanted, as many as there can be, and lets some of the others queue.

        Where some are there and others die on their way, as without memory for all of them, it rests longer
        each time: to start one takes seconds of all CPUs, for nothing.

        Args:
            wanted: How many have something to do at once; one that has no place may queue.
            later: How many more may queue.
        """
        is_any_there = any(slot.node for slot in self.slots)
        few = max(self._settled, int(min(wanted, self.capacity)))
        for slot in self._queued[: few - self._settled]:  # its place is there
            slot.is_queued, slot.since = False, time.monotonic()
        queue = min(1 + later, min(wanted + later, self.most) - few) if self._queues else 0
        while len(self.slots) < few + queue:
            if self._deaths and is_any_there:
                if time.monotonic() < self._rests_until:
                    return
                self._rest()
            self._ask(is_queued=self._settled >= few)

    def _ask(self, *, is_queued: bool) -> None:
        name = f"worker-{self._asked}"
        self._asked += 1
        other = {"label_selector": {NODE: f"!in({','.join(sorted(self.closed))})"}} if self.closed else {}
        kind = self._actor_class.options(**self._options, **other)
        actor: Any = kind.remote(self._make_trial_function, name)
        self.slots.append(Slot(name, actor, actor.call.remote(_node_id), is_queued=is_queued))

    def welcome(self, slot: Slot) -> None:
        """Takes in one that has answered for the first time, or ends one that died of what its node is.

        Raises:
            RayError: It died on its way otherwise; it is not one of the slots any more.
        """
        reference, slot.pending = slot.pending, None
        try:
            slot.node, slot.since = ray.get(reference), time.monotonic()
            if slot.is_queued:
                slot.is_queued, self.look_at = False, 0.0
        except RayError as error:
            is_the_nodes = self._is_the_nodes(slot, error)
            self.end(slot)
            if not is_the_nodes:
                self._deaths += 1
                self._rest()
                raise
            self.look()
        else:
            self._deaths = 0
        if any(other.node for other in self.slots):  # else it may be the code, and ends the launch
            self._left_out.say()

    def _is_the_nodes(self, slot: Slot, error: RayError) -> bool:
        """Whether one died on its way since something is not right with its node, which is left out then.

        Those that queue die with the node that keeps their queue, before they have begun.
        """
        if not isinstance(error, ActorDiedError):
            return False
        node = node_of(slot.actor)
        if slot.is_queued and not node:
            return True
        if not error.actor_init_failed or node not in self._nodes:
            return False
        return self._left_out.cannot_begin(node, self._nodes[node].place, ray_reason(error), self._open)

    def first_ready(self, wanted: float) -> Slot:
        """Waits for one, and says so if others have taken all that it needs; for use before the first trial.

        Args:
            wanted: How many to ask for meanwhile.

        Raises:
            UserError: One died on its way, and so did those that were tried after it.
        """
        has_said, looks, deaths = False, 0, 0
        while True:
            if found := next((slot for slot in self.slots if slot.node), None):
                return found
            looks += not self._settled
            if looks > PATIENT_LOOKS and not has_said:  # one of ours that died is shown a while as taken
                why = "others have taken all" if self._open else "no node has that yet"
                self._say(f"waiting for a free place: a trial takes {self._need}, and {why}")
                has_said = True
            if self.slots:
                coming = {slot.pending: slot for slot in self.slots}
                ready, _ = ray.wait(list(coming), num_returns=1, timeout=LOOK_SECONDS)
                for reference in ready:
                    try:
                        self.welcome(coming[reference])
                    except RayError as error:
                        deaths += 1
                        if deaths == MOST_STARTS:
                            raise UserError(f"the worker process dies: {ray_reason(error)}") from error
            else:
                time.sleep(LOOK_SECONDS)
            self.look()
            self.grow(wanted)

    def look_at_code(self, slot: Slot) -> None:
        """Asks one what it has imported, at its first word on each trial: any may have imported more."""
        if slot.looked_at != slot.trial:
            with contextlib.suppress(RayError):  # it is gone, or too busy: asked again at its next word
                reference = slot.actor.call.remote(imported_sources)
                slot.code = self.sources.changed(ray.get(reference, timeout=ANSWER_SECONDS))
                slot.looked_at = slot.trial

    def _rest(self) -> None:
        seconds = min(2.0 ** min(self._deaths, 10), LONGEST_REST_SECONDS)
        self._rests_until = time.monotonic() + seconds

    def end(self, slot: Slot) -> None:
        """Ends one, which is not heard any more."""
        if lives():
            with contextlib.suppress(RayError):
                ray.kill(slot.actor)
        self.slots = [other for other in self.slots if other is not slot]
        self.look_at = min(self.look_at, time.monotonic() + LOOK_SECONDS / 5)

    def end_idle(self, wanted: float) -> None:
        """Ends those that have had nothing to do for long: others may need their places.

        Args:
            wanted: How many have something to do, now or later.
        """
        now = time.monotonic()
        for slot in self.free:
            if slot.is_queued and len(self.slots) <= wanted:
                slot.since = now
            elif (slot.node or slot.is_queued) and now - slot.since > self._idle_seconds:
                self.end(slot)

    def end_all(self) -> None:
        """Ends them all."""
        for slot in self.slots:
            self.end(slot)


def _node_id() -> str:
    """The node of this worker, which from now on knows that it is wanted."""
    called()
    return str(ray.get_runtime_context().get_node_id())
