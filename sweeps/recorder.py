"""Records a sweep in MLflow: one experiment, one parent run, one child run a trial.

`record()` puts the event into a queue and returns. A thread of this process turns events into runs
(`sweeps.runs`) and runs into MLflow calls (`sweeps.tracking`), about one batch a run and second; what MLflow
cannot take now waits, in order, until it can. Nothing here raises into the sweep: what could not be written,
`close()` says in one line each.
"""

import contextlib
import queue
import threading
import time

from sweeps.records import Assignment, Outcome, Report
from sweeps.runs import Ending, Status, SweepInfo
from sweeps.tracking import Writer, one_line, quiet_mlflow

__all__ = ["NullRecorder", "Recorder", "SweepInfo"]

INTERVAL_SECONDS, LONGEST_INTERVAL_SECONDS, LONGEST_RETRY_SECONDS = 1.0, 10.0, 30.0
MOST_PROBLEMS = 20


class NullRecorder:
    """Records nothing: for tests and simulated sweeps."""

    trouble = ""

    def record(self, event: Assignment | Report | Outcome) -> None:
        """Forgets the event."""

    def close(self, *, status: Status, best: int | None, timeout_seconds: float = 60) -> list[str]:
        """Has nothing to write and nothing to say."""
        return []


class Recorder:
    """Writes one sweep to MLflow, from a thread of its own that starts at once.

    Args:
        info: What the parent run says about the sweep.
    """

    def __init__(self, info: SweepInfo) -> None:
        self._queue: queue.SimpleQueue[tuple[float, Assignment | Report | Outcome | Ending]] = (
            queue.SimpleQueue()
        )
        self._writer = Writer(info)
        self._pause_seconds, self._trouble = INTERVAL_SECONDS, ""
        self._deadline: float | None = None  # of the monotonic clock, once `close` was called
        self._is_done = False
        self._thread = threading.Thread(target=self._work, name="mlflow-recorder", daemon=True)
        self._thread.start()

    def record(self, event: Assignment | Report | Outcome) -> None:
        """Takes one event of the sweep; neither waits nor raises. After `close` it is forgotten."""
        self._queue.put((time.time(), event))

    @property
    def trouble(self) -> str:
        """Why MLflow takes nothing at the moment, or what it refused last, in one line; "" if all is well."""
        return self._trouble or next(reversed(self._writer.problems), "")

    def close(self, *, status: Status, best: int | None, timeout_seconds: float = 60) -> list[str]:
        """Writes what is left and ends every run; trials that still run are marked as killed.

        Args:
            status: How the sweep ended.
            best: The best trial's number, if any: parameters, configuration and checkpoint go to the parent.
            timeout_seconds: How long to wait for MLflow.

        Returns:
            What could not be written, one line each; empty if everything was.
        """
        self._deadline = time.monotonic() + timeout_seconds
        self._queue.put((time.time(), Ending(status, best)))
        self._thread.join(timeout_seconds)
        problems = self._writer.problems[:MOST_PROBLEMS]
        if more := len(self._writer.problems) - len(problems):
            problems.append(f"{more} more problems of this kind")
        if not self._is_done:
            count = len(self._writer.ledger.open) + 1
            problems.append(
                f"{count} runs are not fully written: {self._trouble or 'there was no time left'}"
            )
        return problems

    def _work(self) -> None:
        with quiet_mlflow():
            self._flush()
            while not self._is_done and (self._deadline is None or time.monotonic() < self._deadline):
                self._gather()
                self._flush()

    def _gather(self) -> None:
        """Takes events for one interval, which starts with the first of them, or now if others wait."""
        if self._writer.ledger.ending:  # and something failed: nothing will come, but MLflow may
            time.sleep(min(self._pause_seconds, INTERVAL_SECONDS))
            return
        if not self._trouble:
            self._add(*self._queue.get())
        until = time.monotonic() + self._pause_seconds
        while not self._writer.ledger.ending and (left := until - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                self._add(*self._queue.get(timeout=left))

    def _add(self, at: float, event: Assignment | Report | Outcome | Ending) -> None:
        try:
            self._writer.ledger.add(event, at)
        except Exception as error:  # noqa: BLE001 - an event that cannot be read must not end the thread
            self._writer.note(f"{type(event).__name__} of trial {getattr(event, 'number', '?')}", error)

    def _flush(self) -> None:
        try:
            self._writer.connect()
            began = time.monotonic()
            self._writer.flush()
        except Exception as error:  # noqa: BLE001 - whatever MLflow raises: events wait, the sweep goes on
            pause = 2 * self._pause_seconds if self._trouble else INTERVAL_SECONDS
            self._pause_seconds, self._trouble = min(pause, LONGEST_RETRY_SECONDS), one_line(error)
        else:
            # At most a fifth of a core goes into writing, however many trials report.
            pause = max(INTERVAL_SECONDS, 4 * (time.monotonic() - began))
            self._pause_seconds, self._trouble = min(pause, LONGEST_INTERVAL_SECONDS), ""
            self._is_done = self._writer.ledger.ending is not None
