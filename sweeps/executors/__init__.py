"""Who runs the trials: the contract that every executor keeps, and that of workers before the first trial.

`ray` runs them on warm Ray workers, `scripted` plays them in simulated time for tests and studies of
search quality. One conformance suite (`tests/test_executors.py`) holds for both.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from sweeps.records import Assignment, Event, Outcome, Report


class Executor(Protocol):
    """Runs assignments in a number of slots and gives their events one by one.

    An executor takes one assignment more than it has slots, so that a slot that gets free goes on at
    once while the study still thinks about the next one.
    """

    @property
    def has_room(self) -> bool:
        """Whether `submit` may be called."""

    @property
    def has_free_slot(self) -> bool:
        """Whether a slot waits for a trial."""

    @property
    def idle(self) -> bool:
        """Whether no event can come: nothing is submitted, or nothing but what is held back."""

    def submit(self, assignment: Assignment) -> None:
        """Takes a trial; it starts at once or as soon as a slot is free."""

    def next_event(self, timeout_seconds: float = math.inf) -> Event | None:
        """Waits for the next event, and gives None if none comes in time.

        A trial's first event says that it has started. After a trial's report nothing comes from that
        trial until `reply` was called. Every submitted trial ends with exactly one outcome, also when it
        raises or its worker dies.
        """

    def reply(self, number: int, *, stop: bool) -> None:
        """Answers the trial's last report: go on, or stop before the next epoch."""

    def cancel(self, number: int, reason: str) -> None:
        """Ends a trial, which fails for this reason; one that is not there is left alone."""

    def hold(self, *, held: bool) -> None:
        """Holds back the trials that have no slot yet, or lets them start."""

    def recall(self) -> list[Assignment]:
        """Gives back the trials that have no slot yet and never had one."""

    def resize(self, slots: int) -> None:
        """Changes the number of slots: at once upwards, downwards as trials end."""

    def close(self) -> None:
        """Ends all workers, running trials included; may be called twice."""


class Crew(Protocol):
    """Processes like a worker's, before the first trial: one that dies, or takes too long, is replaced."""

    def map(
        self,
        function: Callable[..., Any],
        arguments: Sequence[tuple[Any, ...]],
        timeout_seconds: float = math.inf,
    ) -> list[Any]:
        """Runs a function for each of the arguments, one after the other in each process.

        Args:
            function: What they run.
            arguments: Of each call.
            timeout_seconds: How long a call may take, where that is less than a trial may.

        Returns:
            The results in order; where a call raised, took too long or lost its process, the exception.
        """


def taken_back(waiting: deque[Assignment]) -> list[Assignment]:
    """Takes the trials that never began out of those that wait for a slot."""
    found = [assignment for assignment in waiting if not assignment.attempt]
    for assignment in found:
        waiting.remove(assignment)
    return found


class Reporter(Protocol):
    """How a trial talks to the study, as seen inside a worker.

    Attributes:
        wait_seconds: Time spent in `stop_requested` so far.
    """

    wait_seconds: float

    def send(self, report: Report) -> None:
        """Sends a report and returns at once."""

    def stop_requested(self) -> bool:
        """Waits for the answer to the last report: whether the trial shall end."""


TrialFunction = Callable[[Assignment, Reporter], Outcome]
"""What runs inside a worker: trains one assignment. Whatever it raises becomes a failed outcome."""
