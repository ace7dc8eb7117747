"""Writes that nobody waits for: a driver's, to a study database that is far away.

Those of a trial are written one after the other, in their order, those of several trials at once. What fails
is raised with the next write, or by whoever waits until all is written.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from optuna.exceptions import UpdateFinishedTrialError

from sweeps.errors import CutShort
from sweeps.storages.patience import StudyGone, current, share

THREADS = 4
"""Each has a connection of its own."""

MOST = 64
"""Of so many writes that wait, of a database that is away or slow, the driver takes no further event."""

Write = Callable[[], object]


class Behind:
    """Writes in threads of its own, which have the patience of the one that makes it.

    Attributes:
        ended: The trials that somebody else has ended: they took a write no more.
    """

    def __init__(self) -> None:
        self.ended: set[int] = set()
        self._threads = ThreadPoolExecutor(THREADS, "study", initializer=share, initargs=(current(),))
        self._queues: dict[int, deque[tuple[int, Write]]] = {}  # by trial, those that have any
        self._calls: deque[tuple[int, Write]] = deque()  # see `then`
        self._count, self._waiting = 0, set[int]()  # how many there were; which of them are not done yet
        self._failure: Exception | None = None
        self._change = threading.Condition()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop(CutShort("the sweep has ended"))  # what is not written by now is another driver's
        self._threads.shutdown(wait=False)

    def put(self, trial_id: int, write: Write) -> None:
        """Takes a write to a trial.

        Raises:
            Exception: That of an earlier write; nothing is written any more.
        """
        with self._change:
            self.check()
            if (
                trial_id not in self._queues
            ):  # first: an interruption after it leaves nothing that nobody does
                self._threads.submit(self._work, trial_id)
            self._count += 1
            self._queues.setdefault(trial_id, deque()).append((self._count, write))
            self._waiting.add(self._count)

    def then(self, call: Write) -> None:
        """Calls it once all that was put before is written; never, if that fails."""
        with self._change:
            if not self._waiting:  # else whoever ends the last write before it sees to it
                self._threads.submit(self._finish, 0)
            self._count += 1
            self._calls.append((self._count, call))
            self._waiting.add(self._count)

    def wait_for_room(self) -> None:
        """Waits until few enough writes wait for a driver to take the next event.

        Raises:
            Exception: That of a write that failed.
        """
        self._wait_until(lambda: len(self._waiting) < MOST)

    def settle(self) -> None:
        """Waits until all that was put before is written.

        Raises:
            Exception: That of the write that failed.
        """
        last = self._count
        self._wait_until(lambda: min(self._waiting, default=last + 1) > last)

    def _wait_until(self, holds: Callable[[], bool]) -> None:
        with self._change:
            self._change.wait_for(lambda: self._failure is not None or holds())
            self.check()

    @property
    def has_failed(self) -> bool:
        """Whether the study lacks what was put, and gets no more; one that was deleted lacks nothing."""
        return self._failure is not None and not isinstance(self._failure, StudyGone)

    def drop(self, why: Exception) -> None:
        """Writes no more: the study is another driver's now."""
        self._fail(why)

    def check(self) -> None:
        """Does nothing as long as all that was put could be written.

        Raises:
            Exception: That of the write that failed.
        """
        if self._failure is not None:
            raise self._failure

    def _work(self, trial_id: int) -> None:
        while True:
            with self._change:
                if not self._queues.get(trial_id):
                    self._queues.pop(trial_id, None)
                    return
                number, write = self._queues[trial_id].popleft()
            try:
                self._do(write)
            except UpdateFinishedTrialError:
                self.ended.add(trial_id)
            self._finish(number)

    def _finish(self, number: int) -> None:
        """Notes that a write is done, and makes the calls that waited for it."""
        while True:
            with self._change:
                self._waiting.discard(number)
                self._change.notify_all()
                if not self._calls or self._calls[0][0] != min(self._waiting):
                    return
                number, call = self._calls.popleft()
            self._do(call)

    def _do(self, write: Write) -> None:
        if self._failure is not None:
            return
        try:
            write()
        except UpdateFinishedTrialError:
            raise
        except Exception as error:  # noqa: BLE001 - whoever writes next gets it
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        with self._change:
            self._failure = self._failure or error
            self._change.notify_all()
