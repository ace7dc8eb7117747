"""Asks for trials while others train, so that no slot waits for the sampler.

A sampler takes milliseconds to seconds for a trial (TPE about 150 ms in a study of 10,000). Meanwhile the
driver must answer reports and hand out trials, so trials are drawn in a thread of their own and kept ready.
"""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait

from sweeps.records import Assignment
from sweeps.storages.patience import current, share
from sweeps.study.study import Study

MOST_AHEAD = 16
EASE_AFTER = 50
"""So many trials in a row handed out at once, and one less is kept ready."""


class Asker:
    """Gives the next trial, if it is ready, and sees to it that one is.

    One trial is kept ready, since a sampler knows more the later it is asked; one more each time a slot was
    free and none was there. A trial that is ready counts as running in the study.

    Args:
        study: The study; only its `draw` is called from the thread.
        in_background: Draw in a thread. Otherwise each call draws and waits, so that a seed gives the same
            trials in the same order every time.
    """

    def __init__(self, study: Study, *, in_background: bool) -> None:
        self._study = study
        self._thread = None
        if in_background:
            self._thread = ThreadPoolExecutor(1, "asker", initializer=share, initargs=(current(),))
        self._drawing: Future[Assignment] | None = None
        self._ready: deque[Assignment] = deque()
        self._ahead, self._in_time = 1, 0

    @property
    def is_drawing(self) -> bool:
        """Whether a trial is on its way."""
        return self._drawing is not None

    def next(self, *, starves: bool = False) -> Assignment | None:
        """The next trial; None if the study wants none now, or none is ready yet.

        Args:
            starves: A slot is free.

        Raises:
            SweepFailed: The study gives up; see `Study.ask`.
        """
        if self._thread is None:
            return self._study.ask()
        self._take()
        may_ask = self._study.may_ask()  # raises what is to be raised, also if there is one ready
        if may_ask and (kept := self._study.kept()):
            return kept
        may_begin = not self._study.is_paused and not self._study.is_over
        assignment = self._ready.popleft() if self._ready and may_begin else None
        self._adapt(found=assignment is not None, starves=starves)
        self._prepare()
        return assignment

    def _take(self) -> None:
        if self._drawing and self._drawing.done():
            drawing, self._drawing = self._drawing, None
            self._ready.append(drawing.result())

    def _prepare(self) -> None:
        if self._thread is None or self._drawing or len(self._ready) >= self._ahead:
            return
        if self._study.may_ask() and self._study.may_draw:
            self._drawing = self._thread.submit(self._study.draw)

    def _adapt(self, *, found: bool, starves: bool) -> None:
        if found:
            self._in_time += 1
            if self._in_time >= EASE_AFTER:
                self._ahead, self._in_time = max(1, self._ahead - 1), 0
        elif starves and self._in_time and self._drawing:
            self._ahead, self._in_time = min(MOST_AHEAD, self._ahead + 1), 0

    def withdraw(self, number: int) -> Assignment | None:
        """The trial of this number, if it is still to be given; waits for one on its way."""
        if self._drawing:
            wait([self._drawing])
            self._take()
        found = next((assignment for assignment in self._ready if assignment.number == number), None)
        if found:
            self._ready.remove(found)
        return found or self._study.kept(number)

    def recall(self) -> list[Assignment]:
        """The trials that are ready and are not to be given any more."""
        self._take()
        recalled = list(self._ready)
        self._ready.clear()
        return recalled

    def close(self) -> None:
        """Waits for the trial on its way; it is the study's."""
        if self._thread:
            self._thread.shutdown()
