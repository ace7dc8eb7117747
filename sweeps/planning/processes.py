"""A process of its own for what may not come back: it is made when it is needed, and again after it died."""

import contextlib
import math
import multiprocessing
from collections.abc import Callable, Sequence
from typing import Any

from sweeps.context import TrialContext
from sweeps.executors.orphans import end_with_parent

END_SECONDS = 5.0


class Died(Exception):
    """The process ended before it answered."""


class FreshProcess:
    """Runs functions in a child process that is prepared as a worker is; ends with its `with` block.

    Args:
        context: What the trials of the sweep share.
        timeout_seconds: How long a call may take.
    """

    def __init__(self, context: TrialContext, timeout_seconds: float = math.inf) -> None:
        self._context, self._timeout_seconds = context, timeout_seconds
        self._system = multiprocessing.get_context("spawn")
        self._process: Any = None
        self._end: Any = None

    def __enter__(self) -> "FreshProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def map(
        self,
        function: Callable[..., Any],
        arguments: Sequence[tuple[Any, ...]],
        timeout_seconds: float = math.inf,
    ) -> list[Any]:
        """See `sweeps.executors.Crew`; the exception is `Died` where the process did not survive a call."""
        seconds = min(timeout_seconds, self._timeout_seconds)
        return [self._call(function, given, seconds) for given in arguments]

    def _call(self, function: Callable[..., Any], arguments: tuple[Any, ...], seconds: float) -> Any:
        if self._process is None:
            self._end, theirs = self._system.Pipe()
            self._process = self._system.Process(target=_serve, args=(theirs, self._context))
            self._process.start()
            theirs.close()
        try:
            self._end.send((function, arguments))
            if not self._end.poll(None if math.isinf(seconds) else seconds):
                self._stop()
                return TimeoutError(f"it ran longer than trial_timeout={seconds:g} seconds")
            return self._end.recv()
        except (EOFError, OSError):
            self._stop()
            return Died("the process died")

    def _stop(self) -> None:
        if self._process is not None:
            self._end.close()
            self._process.kill()
            self._process.join(END_SECONDS)
            self._process = None


def _serve(end: Any, context: TrialContext) -> None:
    """The child's side."""
    from sweeps.start_up import make_trial_function

    end_with_parent()
    # A DataLoader's processes are to be started as anywhere, not as this one was.
    multiprocessing.set_start_method(None, force=True)
    make_trial_function(context, {})
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            function, arguments = end.recv()
            try:
                result = function(*arguments)
            except Exception as error:  # noqa: BLE001 - the caller's to judge
                result = RuntimeError(f"{type(error).__name__}: {error}")
            end.send(result)
