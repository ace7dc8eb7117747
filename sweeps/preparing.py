"""A sweep before it has a driver: what other terminals of this machine can know of it.

Workers are started, one batch is trained, a batch size and learning rates may be looked for: minutes in which
the study database has nothing of a launch, and nothing new of a sweep that is to go on. Meanwhile its process
holds a lock, which ends with it.
"""

import hashlib
import os
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from sweeps.errors import UserError
from sweeps.machine import process_space

LAUNCHED, RESUMED = "launched", "resumed"

WORKERS = threading.Event()
"""Set in the process of a worker, which runs no sweep."""

LOOK_SECONDS = 0.1
LOOKS = 10
"""Who looks whether the lock is held, holds it for a moment."""


@contextmanager
def preparing(name: str, url: str, what: str = LAUNCHED) -> Iterator[Callable[[], None]]:
    """Says that a sweep is being launched or resumed; gives what ends that before the block does.

    Args:
        name: The sweep's name.
        url: Of the study database that it is, or is going to be, in.
        what: `LAUNCHED` or `RESUMED`.

    Raises:
        UserError: Another process is doing so, or this one is a worker that imports the user's script.
    """
    if WORKERS.is_set():
        raise UserError(
            'put what runs the sweep under `if __name__ == "__main__":`: each worker imports this file'
        )
    with ExitStack() as stack:
        path = _path(name, url)
        for _ in range(LOOKS if path else 0):
            if path and (handle := _locked(path, what)) is not None:
                stack.callback(os.close, handle)
                stack.callback(path.unlink, missing_ok=True)
                break
            check_it_is_not(name, url)
            time.sleep(LOOK_SECONDS)
        yield stack.close


def _locked(path: Path, what: str) -> int | None:
    """The file, locked and with this process's number and what it does in it; None if it is not to be had."""
    import fcntl

    with suppress(OSError), ExitStack() as stack:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        stack.callback(os.close, handle)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), path.stat()):  # else who had the lock has removed the file
            # As long as what a process that was killed has left there.
            os.pwrite(handle, f"{os.getpid()} {what} {process_space()}".ljust(100).encode(), 0)
            stack.pop_all()
            return handle
    return None


def check_it_is_not(name: str, url: str) -> None:
    """Refuses to go on while a sweep is being launched or resumed.

    Raises:
        UserError: It is.
    """
    if said := preparation(name, url):
        raise UserError(said)


def preparation(name: str, url: str) -> str:
    """Says that a sweep is being launched or resumed, and by which process; "" if it is not."""
    pid, what, _ = _preparer(name, url)
    does = {
        LAUNCHED: "prepares it (workers, one batch, batch size, learning rates) and has no trial yet",
        RESUMED: "prepares it (workers, one batch) and trains nothing yet",
    }
    ends = f"`sweeps stop {shlex.quote(name)}` ends it"
    return pid and f"{name} is being {what} by process {pid}, which {does[what]}; {ends}"


def stopped(name: str, url: str) -> bool:
    """Ends the launch of a sweep that is being prepared, of which nothing is left, or its resumption.

    False if there is none.

    Raises:
        UserError: It is one of another container, where its process has another number.
    """
    pid, what, space = _preparer(name, url)
    if pid and space != process_space():
        raise UserError(f"{name} is being {what} in another container of this machine; stop it there")
    if pid:
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGTERM)
    return bool(pid)


def _preparer(name: str, url: str) -> tuple[str, str, str]:
    """Which process of this user launches or resumes a sweep, which of the two, and where; or empty."""
    try:
        import fcntl
    except ImportError:  # on Windows, where only the commands that read are of use
        return "", "", ""
    path = _path(name, url)
    if path is None or not path.exists():
        return "", "", ""
    with suppress(OSError, ValueError), path.open() as file:  # it may end meanwhile
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            pid, what, *space = file.read().split()
            return pid, what, " ".join(space)
    return "", "", ""


def _path(name: str, url: str) -> Path | None:
    from sweeps.executors.sharing import runtime_folder

    folder = runtime_folder()
    return folder and folder / f"launch-{hashlib.sha256(os.fsencode(f'{name} {url}')).hexdigest()[:16]}"
