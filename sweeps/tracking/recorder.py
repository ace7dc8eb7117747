"""Records a sweep in MLflow: one experiment, one parent run, one child run a trial.

`record()` puts the event into a queue and returns. A thread of this process turns events into runs
(`runs`) and runs into MLflow calls (`writer`), about one batch a run and second; what MLflow cannot take now
waits, in order, until it can. Until they are written, events are also in the journal (`journal`). Nothing
here raises into the sweep: what could not be written, `close()` says in one line each.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sweeps.errors import CutShort
from sweeps.records import Assignment, News, Request
from sweeps.storages.patience import seconds_of
from sweeps.tracking.journal import Journal
from sweeps.tracking.mlflow_setup import quiet_mlflow
from sweeps.tracking.refusals import mlflow_reason
from sweeps.tracking.runs import Ending, Status, SweepInfo
from sweeps.tracking.writer import Writer


@dataclass(frozen=True)
class Mark:
    """In the queue: all events of the journal's files up to this number come before it."""

    number: int


@dataclass(frozen=True)
class Replayed:
    """An event that an earlier driver left in the journal."""

    event: News


Item = News | Ending | Mark | Replayed

INTERVAL_SECONDS, LONGEST_INTERVAL_SECONDS, LONGEST_RETRY_SECONDS = 1.0, 10.0, 30.0
SYNC_SECONDS = 2.0
"""How long events wait for the disk while MLflow is slow or away; otherwise its writer sees to it."""

MOST_PROBLEMS = 20

WAIT_SECONDS = 60.0
WAIT_VARIABLE = "SWEEPS_MLFLOW_WAIT"
"""The environment variable with the seconds that the end of a sweep waits while MLflow takes nothing."""

QUIET_SECONDS = 5.0
"""How long the end of a sweep takes before it is said what it waits for."""


def pause_after(seconds: float) -> float:
    """How long to gather events after a flush that took so long, in seconds.

    A fifth of a core goes into writing; more where that would leave records waiting for more than ten
    seconds, and all of one if need be.
    """
    return max(INTERVAL_SECONDS, min(4 * seconds, LONGEST_INTERVAL_SECONDS - seconds))


class Recorder:
    """Writes one sweep to MLflow, from a thread of its own that starts at once.

    Args:
        info: What the parent run says about the sweep.
        journal: Where events are kept until they are written; what an earlier driver left there is written
            first.
        say: Told, from this thread, when MLflow takes nothing any more, when it does again, when its
            database was put back, and what it refuses for good, the first of each kind.
    """

    def __init__(
        self, info: SweepInfo, journal: Journal | None = None, say: Callable[[str], None] | None = None
    ) -> None:
        self._say, self._is_said = say, False
        self._queue: queue.SimpleQueue[tuple[float, Item]] = queue.SimpleQueue()
        self._journal, self._lock = journal, threading.Lock()
        self._journal_trouble = ""
        self._held: dict[int, Assignment] = {}  # drawn ahead, so not in MLflow until they start
        for event in journal.left() if journal else ():
            self._queue.put((time.time(), Replayed(event)))
        self._writer = Writer(info, self._tell)
        self._pause_seconds, self._trouble = INTERVAL_SECONDS, ""
        self._is_done = False
        self._marked, self._marked_at, self._has_news = 0, time.monotonic(), False
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow-recorder", daemon=True)
        self._thread.start()
        if journal:
            threading.Thread(target=self._keep_safe, args=[journal], name="journal", daemon=True).start()

    def record(self, event: News) -> None:
        """Takes one event of the sweep; does not wait for MLflow nor raise. After `close` it is forgotten."""
        with self._lock:  # a file of the journal holds exactly what is in the queue before its mark
            if self._journal:
                self._keep(self._journal, event)
                self._has_news = True
            if isinstance(event, Assignment) and event.attempt == 0:
                self._held[event.number] = event
            elif not isinstance(event, Request):
                self._held.pop(event.number, None)
            self._queue.put((time.time(), event))

    def _keep(self, journal: Journal, event: News) -> None:
        try:
            journal.append(event)
        except OSError as error:  # it is in memory all the same
            if not self._journal_trouble:
                self._tell(
                    f"the journal cannot be written ({mlflow_reason(error)}); a crash now would lose points"
                )
            self._journal_trouble = f"the journal cannot be written: {mlflow_reason(error)}"
        else:
            self._journal_trouble = ""

    def _tell(self, line: str) -> None:
        if self._say:
            self._say(line)

    def close(
        self,
        *,
        status: Status,
        best: int | None,
        front: Sequence[int] = (),
        timeout_seconds: float | None = None,
    ) -> list[str]:
        """Writes what is left and ends every run; trials that still run are marked as killed.

        Args:
            status: How the sweep ended.
            best: The best trial's number, if any: parameters, configuration and checkpoint go to the parent.
            front: The numbers of the Pareto set, if there are several objectives.
            timeout_seconds: How long to wait while MLflow takes nothing; None for `SWEEPS_MLFLOW_WAIT`, else
                a minute. As long as it takes something, the wait goes on.

        Returns:
            What could not be written, one line each; empty if everything was.
        """
        seconds = seconds_of(WAIT_VARIABLE, WAIT_SECONDS) if timeout_seconds is None else timeout_seconds
        if self._trouble:
            self._tell(f"waiting up to {seconds:g} s for MLflow")
        with self._lock:
            self._held.clear()  # they never started
        self._mark()
        self._queue.put((time.time(), Ending(status, best, tuple(front))))
        self._wait(seconds)
        self._writer.is_abandoned = True
        problems = self._writer.problems[:MOST_PROBLEMS]
        if more := len(self._writer.problems) - len(problems):
            problems.append(f"{more} more problems of this kind")
        if not self._is_done:
            count = len(self._writer.ledger.open) + 1
            why = self._trouble or "there was no time left"
            problems.append(f"{count} runs are not fully written: {why}")
        return problems

    def abandon(self) -> None:
        """Ends without a further word to MLflow; what is in the journal stays there for another driver."""
        self._writer.is_abandoned = True
        self._queue.put((time.time(), Ending("interrupted", None)))

    def _wait(self, seconds: float) -> None:
        """Waits for the thread, as long as not so many seconds pass without anything written."""
        began = last = time.monotonic()
        written, is_said = self._writer.written, False
        while self._thread.is_alive() and (left := last + seconds - time.monotonic()) > 0:
            self._thread.join(min(left, INTERVAL_SECONDS))
            if self._writer.written > written:
                written, last = self._writer.written, time.monotonic()
            if not is_said and not self._trouble and time.monotonic() - began > QUIET_SECONDS:
                runs = len(self._writer.ledger.open) + 1
                self._tell(f"writing the last records to MLflow, {runs} run{'s'[: runs > 1]} to go")
                is_said = True

    def _work(self) -> None:
        with quiet_mlflow():
            self._flush()
            while not self._is_done and not self._writer.is_abandoned:
                self._mark()
                self._gather()
                if not self._writer.is_abandoned:  # else it has no further word for MLflow
                    self._flush()
        self._writer.close()
        self._is_over.set()

    def _keep_safe(self, journal: Journal) -> None:
        """Sees to it that the disk has what is recorded, also while the writer waits for MLflow."""
        while not self._is_over.wait(SYNC_SECONDS):
            if self._has_news and time.monotonic() - self._marked_at > SYNC_SECONDS:
                journal.sync_beside()
                self._mark()

    def _mark(self) -> None:
        """Marks in the queue where the journal turns to a new file."""
        if self._journal:
            with self._lock:
                self._has_news, self._marked_at = False, time.monotonic()
                self._queue.put((0.0, Mark(self._journal.turn())))
                for event in self._held.values():  # the files before are dropped, and these are needed yet
                    self._keep(self._journal, event)
            self._journal.sync()  # beside the loop, which does not wait for the lock meanwhile

    def _gather(self) -> None:
        """Takes events for one interval, which starts with the first of them, or now if others wait."""
        if self._writer.ledger.ending:  # and something failed: nothing will come, but MLflow may
            time.sleep(min(self._pause_seconds, INTERVAL_SECONDS))
            return
        if not self._trouble:
            while isinstance(self._add(*self._queue.get()), Mark):
                pass  # a mark is no reason to write
        until = time.monotonic() + self._pause_seconds
        while not self._writer.ledger.ending and (left := until - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                self._add(*self._queue.get(timeout=left))

    def _add(self, at: float, event: Item) -> Item:
        if isinstance(event, Mark):
            self._marked = event.number
            return event
        try:
            if isinstance(event, Replayed):
                self._writer.ledger.add(event.event, at, is_replayed=True)
            else:
                self._writer.ledger.add(event, at)
        except Exception as error:  # noqa: BLE001 - an event that cannot be read must not end the thread
            self._writer.note(f"{type(event).__name__} of trial {getattr(event, 'number', '?')}", error)
        return event

    def _flush(self) -> None:
        try:
            self._writer.connect()
            if self._journal:
                self._journal.sync_study()
            began = time.monotonic()
            self._writer.flush()
        except Exception as error:  # noqa: BLE001 - whatever MLflow raises: events wait, the sweep goes on
            is_more_than_a_hiccup = bool(self._trouble)
            is_ours = not isinstance(error, CutShort) and not self._writer.is_abandoned
            if is_more_than_a_hiccup and not self._is_said and is_ours:
                self._tell(
                    f"MLflow takes nothing at the moment ({mlflow_reason(error)}); what waits is on disk"
                )
                self._is_said = True
            pause = 2 * self._pause_seconds if self._trouble else INTERVAL_SECONDS
            self._pause_seconds, self._trouble = min(pause, LONGEST_RETRY_SECONDS), mlflow_reason(error)
        else:
            self._pause_seconds, self._trouble = pause_after(time.monotonic() - began), ""
            if self._is_said:
                self._tell("MLflow takes records again")
                self._is_said = False
            self._is_done = self._writer.ledger.ending is not None
            if self._journal and self._is_done:  # MLflow has all, also what found no room in the journal
                self._journal.drop()
            elif self._journal and self._marked:
                self._journal.drop(self._marked)
