"""One worker of a sweep, and the trial that it trains."""

import math
import time
from dataclasses import dataclass, field
from typing import Any

from sweeps.records import Outcome, State, Timing


@dataclass(eq=False)
class Slot:
    """A worker, on its way or there.

    Attributes:
        name: Its name, recorded with what it trains.
        actor: The Ray actor.
        pending: The reference of what it was asked last, None while the driver has the turn.
        node: Where it runs; empty until it is there.
        trial: What it trains, if anything.
        deadline: When the trial has had its time, on the monotonic clock.
        since: When it was asked for, became idle or was wanted last while it queued, on the same clock.
        is_queued: It waits in Ray's queue for a place that was not there when it was asked for.
        code: The modules that it has otherwise than the sweep, see `Outcome.code`; None if that is not known.
        looked_at: The trial at which that was asked last.
        has_validated: Its trial has, since it is there.
    """

    name: str
    actor: Any
    pending: Any = field(repr=False)
    node: str = ""
    trial: int | None = None
    deadline: float = math.inf
    since: float = field(default_factory=time.monotonic)
    code: dict[str, str] | None = None
    looked_at: int | None = None
    is_queued: bool = False
    has_validated: bool = False
    _began: tuple[float, float] = field(default=(0.0, 0.0), repr=False)
    """When its trial did, on the clocks that people read and that nobody sets."""

    def begin(self, number: int, seconds: float) -> None:
        """Notes a trial that it trains from now on, and how long that may take."""
        self.trial, self._began = number, (time.time(), time.monotonic())
        self.has_validated = False
        self.deadline = self._began[1] + seconds

    def failed(self, reason: str, *, lost: bool) -> Outcome:
        """The outcome of its trial, which fails for this reason; its worker itself says nothing any more."""
        started, began = self._began
        timing = Timing(started, slot_seconds=time.monotonic() - began)
        return Outcome(self.trial or 0, State.FAILED, reason=reason, timing=timing, worker=self.name,
                       lost=lost, code=self.code or {})  # fmt: skip
