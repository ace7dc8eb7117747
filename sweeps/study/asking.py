"""Asks for trials while others train, so that no slot waits for the sampler.

A sampler takes milliseconds to seconds for a trial (TPE about 150 ms in a study of 10,000). Meanwhile the
driver must answer reports and hand out trials, so trials are drawn in a thread of their own and kept ready.
"""

from concurrent.futures import Future, ThreadPoolExecutor, wait

from sweeps.records import Assignment
from sweeps.storages.patience import current, share
from sweeps.study.study import Study


class Asker:
    """Gives the next trial, if it is ready, and sees to it that one is.

    One trial is kept ready, since a sampler knows more the later it is asked. It counts as running in the
    study.

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
        self._ready: Assignment | None = None

    @property
    def is_drawing(self) -> bool:
        """Whether a trial is on its way."""
        return self._drawing is not None

    def next(self) -> Assignment | None:
        """The next trial; None if the study wants none now, or none is ready yet.

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
        assignment = self._give() if may_begin else None
        if may_ask:
            self._prepare()
        return assignment

    def _take(self) -> None:
        if self._drawing and self._drawing.done():
            drawing, self._drawing = self._drawing, None
            self._ready = drawing.result()

    def _give(self) -> Assignment | None:
        given, self._ready = self._ready, None
        return given

    def _prepare(self) -> None:
        if self._thread and not self._drawing and not self._ready and self._study.may_draw:
            self._drawing = self._thread.submit(self._study.draw)

    def withdraw(self, number: int) -> Assignment | None:
        """The trial of this number, if it is still to be given; waits for one on its way."""
        if self._drawing:
            wait([self._drawing])
            self._take()
        if self._ready and self._ready.number == number:
            return self._give()
        return self._study.kept(number)

    def recall(self) -> list[Assignment]:
        """The trial that is ready and is not to be given any more, if there is one."""
        self._take()
        recalled = self._give()
        return [recalled] if recalled else []

    def close(self) -> None:
        """Waits for the trial on its way; it is the study's."""
        if self._thread:
            self._thread.shutdown()
