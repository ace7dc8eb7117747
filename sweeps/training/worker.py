"""One warm worker: a process that imports once and then trains one trial after the other.

The driver and the worker exchange one message at a time: an assignment or an answer goes in, the next
report or outcome comes out. The trial itself runs in a thread of its own, a fresh one for each trial, so
that what torch keeps for each thread (grad mode, autocast, inference mode) does not outlive it.
"""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sweeps.errors import StoreAway
from sweeps.executors import TrialFunction
from sweeps.records import Answer, Assignment, Event, Outcome, Report, State
from sweeps.training.faults import fault_of, is_of_hardware
from sweeps.training.invalid import declared


class Worker:
    """Runs trials one by one; the plain class behind the Ray actor.

    Args:
        make_trial_function: Called once, in the worker's process: imports what training needs.
        name: The worker's name, recorded with each outcome.
    """

    def __init__(self, make_trial_function: Callable[[], TrialFunction], name: str) -> None:
        self._name = name
        self._trial_function = make_trial_function()
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def exchange(self, message: Assignment | Answer) -> Event:
        """Starts an assignment, or answers the last report, and waits for the next event."""
        match message:
            case Answer():
                self._answers.put(message.stop)
            case Assignment():
                # A queue for each trial: one that raised before it read its last answer leaves that behind.
                self._answers = queue.SimpleQueue()
                name = f"trial-{message.number}"
                threading.Thread(target=self._run, args=(message, self._answers), name=name).start()
            case _:
                raise TypeError(f"neither an assignment nor an answer: {message!r}")
        return self._events.get()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Runs a function in the worker's process while no trial runs there."""
        return function(*arguments)

    def _run(self, assignment: Assignment, answers: "queue.SimpleQueue[bool]") -> None:
        started, began = time.time(), time.monotonic()
        reporter = _Reporter(self._events, answers)
        try:
            outcome = self._trial_function(assignment, reporter)
        except BaseException as error:  # noqa: BLE001 - SystemExit included: it is the trial's end, not the worker's
            outcome = failure(assignment.number, error)
        timing = replace(outcome.timing, started=started, slot_seconds=time.monotonic() - began)
        self._events.put(replace(outcome, worker=self._name, timing=timing))


class _Reporter:
    """The worker's side of a conversation; see `sweeps.executors.Reporter`."""

    def __init__(self, events: "queue.SimpleQueue[Event]", answers: "queue.SimpleQueue[bool]") -> None:
        self.wait_seconds = 0.0
        self._events, self._answers = events, answers

    def send(self, report: Report) -> None:
        self._events.put(report)

    def stop_requested(self) -> bool:
        started = time.perf_counter()
        answer = self._answers.get()
        self.wait_seconds += time.perf_counter() - started
        return answer


def failure(number: int, error: BaseException) -> Outcome:
    """The outcome of a trial that raised; the reason is the error in one line.

    It failed, unless its code declared something else: see `sweeps.training.invalid`.
    """
    state, fault = State.FAILED, fault_of(error)
    if found := declared(error):
        state, error = found
        if str(error):
            return Outcome(number, state, reason=" ".join(str(error).split())[:1000], fault=fault)
    text = " ".join(str(error).split())
    if isinstance(error, SystemExit):
        text = f"sys.exit({error.code!r})"
    reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
    reason = f"out of memory: {reason}" if fault == "oom" else reason
    is_lost = isinstance(error, StoreAway) or (fault == "cuda" and is_of_hardware(error))
    return Outcome(number, state, reason=reason[:1000], fault=fault, lost=is_lost)
