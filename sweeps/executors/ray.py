"""The executor that trains: warm Ray actors, one outstanding message each."""

import contextlib
import logging
import os
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from sweeps.errors import UserError
from sweeps.executors import TrialFunction
from sweeps.records import Assignment, Event, Outcome, State
from sweeps.worker import Worker

OBJECT_STORE_BYTES = 128 * 2**20
"""Ray takes 30 % of the memory by default; our messages are small."""

TOKEN = secrets.token_hex(32)
"""The token of this process's local clusters; Ray reads the first one it sees for good."""


@contextlib.contextmanager
def cluster(**options: Any) -> Iterator[None]:
    """A Ray cluster for one sweep: the one this process is connected to, else a new local one.

    `ray.init` without an address would join any cluster recorded on this machine, so the address is
    always `local`. Ray turns token authentication on for local clusters and writes its token readable
    for everyone; we give it a token that lives in this process only, unless the user has one.

    Args:
        options: More of `ray.init`'s, such as `num_cpus` and `num_gpus`.
    """
    if ray.is_initialized():
        yield
        return
    before = dict(os.environ)
    token_file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if token_file.is_file():
        with contextlib.suppress(PermissionError):  # another user's: not ours to change
            token_file.chmod(0o600)
    else:
        os.environ.setdefault("RAY_AUTH_TOKEN", TOKEN)
    logging.getLogger("ray").setLevel(logging.ERROR)
    settings: dict[str, Any] = {
        "address": "local",
        "include_dashboard": False,
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "object_store_memory": OBJECT_STORE_BYTES,
    }
    try:
        ray.init(**settings | options)
        yield
    finally:
        ray.shutdown()
        for name in [n for n in os.environ if n.startswith("RAY_") and n not in before]:
            del os.environ[name]


def cluster_resources() -> dict[str, float]:
    """What the connected cluster has: `CPU`, `GPU` and more, as Ray counts them."""
    there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return there


@dataclass
class _Slot:
    name: str
    actor: Any
    trial: int | None = None
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
    """

    def __init__(
        self,
        make_trial_function: Callable[[], TrialFunction],
        *,
        slots: int,
        cpus: float = 1.0,
        gpus: float = 0.0,
    ) -> None:
        self._make_trial_function = make_trial_function
        self._actor_class = ray.remote(Worker).options(num_cpus=cpus, num_gpus=gpus)
        self._waiting: deque[Assignment] = deque()
        self._started = 0
        self._slots = [self._new_slot() for _ in range(slots)]

    @property
    def has_room(self) -> bool:
        """Whether `submit` may be called."""
        return len(self._waiting) + sum(slot.trial is not None for slot in self._slots) <= len(self._slots)

    @property
    def idle(self) -> bool:
        """Whether nothing is submitted."""
        return not self._waiting and all(slot.trial is None for slot in self._slots)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Runs a function in the first worker and gives its result; for use while no trial runs there.

        Raises:
            UserError: The worker's process died.
        """
        try:
            return ray.get(self._slots[0].actor.call.remote(function, *arguments))
        except RayError as error:
            raise UserError(f"the worker process could not be used: {_one_line(error)}") from error

    def submit(self, assignment: Assignment) -> None:
        """Takes a trial."""
        self._waiting.append(assignment)
        self._fill()

    def next_event(self) -> Event:
        """Waits for the next report or outcome."""
        pending = {slot.pending: slot for slot in self._slots if slot.pending is not None}
        [ready], _ = ray.wait(list(pending), num_returns=1)
        slot = pending[ready]
        slot.pending = None
        try:
            event: Event = ray.get(ready)
        except RayError as error:
            event = self._replace(slot, slot.trial or 0, error)
        if isinstance(event, Outcome):
            slot.trial = None
            self._fill()
        return event

    def reply(self, number: int, *, stop: bool) -> None:
        """Answers the trial's last report."""
        slot = next(slot for slot in self._slots if slot.trial == number)
        slot.pending = slot.actor.exchange.remote(stop)

    def close(self) -> None:
        """Ends all workers."""
        for slot in self._slots:
            ray.kill(slot.actor)
        self._slots.clear()
        self._waiting.clear()

    def _fill(self) -> None:
        for slot in self._slots:
            if self._waiting and slot.trial is None:
                assignment = self._waiting.popleft()
                slot.trial = assignment.number
                slot.pending = slot.actor.exchange.remote(assignment)

    def _new_slot(self) -> _Slot:
        name = f"worker-{self._started}"
        self._started += 1
        return _Slot(name, self._actor_class.remote(self._make_trial_function, name))

    def _replace(self, slot: _Slot, number: int, error: RayError) -> Outcome:
        """A new actor for a slot whose process died, and the outcome of the trial that died with it."""
        reason = f"the worker process died: {_one_line(error)}"
        outcome = Outcome(number, State.FAILED, reason=reason, worker=slot.name)
        with contextlib.suppress(RayError):
            ray.kill(slot.actor)
        new = self._new_slot()
        slot.name, slot.actor = new.name, new.actor
        return outcome


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
