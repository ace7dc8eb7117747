"""Ctrl-C and SIGTERM end a sweep, wherever its driver is when they come."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

ENDING = b"\nsweeps: ending; trials that run can go on from their checkpoints; again ends at once\n"

AT_ONCE = dict.fromkeys(SIGNALS, signal.SIG_DFL) | {signal.SIGINT: signal.default_int_handler}
"""What a second signal does. Ctrl-C raises once more: the process may be a notebook's."""

_came: list[int] = []


def own_process() -> None:
    """Says that there is nothing but a sweep in this process, so that a second Ctrl-C ends it at once."""
    AT_ONCE[signal.SIGINT] = signal.SIG_DFL


class Interrupted(KeyboardInterrupt):
    """The sweep was asked to end, by a signal or a request.

    Attributes:
        signal: The signal's number; 0 for a request.
    """

    def __init__(self, number: int = 0) -> None:
        super().__init__(number)
        self.signal = number


@contextmanager
def signals_raise() -> Iterator[None]:
    """Turns SIGINT and SIGTERM into `Interrupted` while the block runs; only the main thread may do so.

    The second signal is not held up; see `AT_ONCE`. Who started the process with `nohup` wants the end of the
    terminal to be none of the sweep.
    """
    if not _is_main_thread():
        yield
        return

    def interrupt(number: int, _frame: object) -> None:
        signal.signal(number, AT_ONCE[signal.Signals(number)])
        _came.append(number)
        with suppress(OSError):  # not `print`, within which the signal may have come
            os.write(2, ENDING)
        raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in SIGNALS if not _means_nohup(number)}
    try:
        yield
    except KeyboardInterrupt as error:
        if _came and not isinstance(error, Interrupted):  # Ray raises one of its own in the place of ours
            raise Interrupted(_came[0]) from None
        raise
    finally:
        _came.clear()
        for number, handler in before.items():
            signal.signal(number, handler)


def raise_again() -> None:
    """Raises for a signal that came already: the loop goes on, so the exception for it was lost.

    Python drops what is raised in a destructor or in a callback of a weak reference, and a signal may come
    there.

    Raises:
        Interrupted: One came.
    """
    if _came and _is_main_thread():
        raise Interrupted(_came[0])


def _means_nohup(number: int) -> bool:
    return number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
