"""An executor that plays trials in simulated time: no Ray, no torch, milliseconds for a whole sweep."""

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

from sweeps.executors import taken_back
from sweeps.records import Assignment, Event, Outcome, Report, Started, State, Timing
from sweeps.training.worker import failure

Step = tuple[float, float | tuple[float, ...]]
"""One validation of a scripted trial: the simulated seconds it took, and its value, or one an objective."""

Script = Callable[[Assignment], Iterator[Step]]
"""A scripted trial: its validations one by one. It may raise, as a training may."""


class ScriptedExecutor:
    """Runs scripts in simulated time; see `sweeps.executors.Executor` for the contract.

    The events come in the order of their simulated times, ties in the order of submission, so that a
    sweep with a seed is the same each time.

    Args:
        script: What a trial does.
        slots: How many trials run at once.
        length: How many validations a script has, if known; then the last report is marked as the last.
        direction: Of the objective, for the value of the best validation.
    """

    def __init__(
        self, script: Script, *, slots: int = 1, length: int | None = None, direction: str = "minimize"
    ) -> None:
        self._script, self._slots, self._length = script, slots, length
        self._better = min if direction == "minimize" else max
        self._now = 0.0
        self._order = itertools.count()
        self._events: list[tuple[float, int, Event]] = []
        self._waiting: deque[Assignment] = deque()
        self._running: dict[int, _Run] = {}
        self._is_held = False

    def now(self) -> float:
        """The simulated time in seconds since the start."""
        return self._now

    @property
    def has_room(self) -> bool:
        """Whether `submit` may be called."""
        return len(self._running) + len(self._waiting) <= self._slots

    @property
    def has_free_slot(self) -> bool:
        """Whether a slot waits for a trial."""
        return len(self._running) + len(self._waiting) < self._slots

    @property
    def idle(self) -> bool:
        """Whether nothing is submitted, or nothing but what is held back."""
        return not self._running and (self._is_held or not self._waiting)

    def submit(self, assignment: Assignment) -> None:
        """Takes a trial."""
        self._waiting.append(assignment)
        self._fill()

    def next_event(self, timeout_seconds: float = math.inf) -> Event | None:
        """The next report or outcome in simulated time; None if nothing runs."""
        if not self._events:
            return None
        self._now, _, event = heapq.heappop(self._events)
        if isinstance(event, Outcome):
            del self._running[event.number]
            self._fill()
        return event

    def reply(self, number: int, *, stop: bool) -> None:
        """Answers the trial's last report."""
        self._go_on(self._running[number], stop=stop)

    def cancel(self, number: int, reason: str) -> None:
        """Ends a trial, which fails for this reason."""
        for assignment in [a for a in self._waiting if a.number == number]:
            self._waiting.remove(assignment)
            self._running[number] = _Run(number, iter(()), started=self._now)
        if number in self._running:
            self._events = [item for item in self._events if item[2].number != number]
            heapq.heapify(self._events)
            outcome = Outcome(number, State.FAILED, reason=reason, worker="scripted", fault="killed")
            self._push(0.0, outcome)

    def hold(self, *, held: bool) -> None:
        """Holds back the trials that have no slot yet, or lets them start."""
        self._is_held = held
        self._fill()

    def recall(self) -> list[Assignment]:
        """Gives back the trials that have no slot yet and never had one."""
        return taken_back(self._waiting)

    def resize(self, slots: int) -> None:
        """Changes the number of slots."""
        self._slots = slots
        self._fill()

    def close(self) -> None:
        """Forgets everything that runs."""
        self._events.clear()
        self._running.clear()
        self._waiting.clear()

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self._slots and not self._is_held:
            assignment = self._waiting.popleft()
            run = _Run(assignment.number, self._script(assignment), started=self._now)
            self._running[assignment.number] = run
            self._push(0.0, Started(assignment.number, self._now))
            self._go_on(run, stop=False)

    def _go_on(self, run: "_Run", *, stop: bool) -> None:
        seconds, event = self._next(run, stop=stop)
        self._push(seconds, event)

    def _push(self, seconds: float, event: Event) -> None:
        heapq.heappush(self._events, (self._now + seconds, next(self._order), event))

    def _next(self, run: "_Run", *, stop: bool) -> tuple[float, Event]:
        if run.values and run.values[-1] - run.values[-1] != 0:  # NaN or infinite
            return 0.0, self._outcome(run, State.DIVERGED)
        if stop:
            return 0.0, self._outcome(run, State.PRUNED)
        try:
            seconds, found = next(run.steps)
        except StopIteration:
            return 0.0, self._outcome(run, State.COMPLETE)
        except BaseException as error:  # noqa: BLE001 - as a worker does
            return 0.0, replace(failure(run.number, error), worker="scripted")
        value, *others = found if isinstance(found, tuple) else (found,)
        run.values.append(value)
        run.others.append(tuple(others))
        step = len(run.values)
        return seconds, Report(run.number, step, value, last=step == self._length)

    def _outcome(self, run: "_Run", state: State) -> Outcome:
        finite = [value for value in run.values if value - value == 0]
        value = None
        if finite:
            value = self._better(finite) if state is State.COMPLETE else finite[-1]
        others = run.others[run.values.index(value)] if value is not None and state is State.COMPLETE else ()
        seconds = self._now - run.started
        timing = Timing(started=run.started, slot_seconds=seconds, fit_seconds=seconds)
        return Outcome(run.number, state, value, reason="" if state is State.COMPLETE else state.value,
                       timing=timing, worker="scripted", others=others)  # fmt: skip


class _Run:
    def __init__(self, number: int, steps: Iterator[Step], *, started: float) -> None:
        self.number, self.steps, self.started = number, steps, started
        self.values: list[float] = []
        self.others: list[tuple[float, ...]] = []
