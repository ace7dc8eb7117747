"""A launch before there is a study: what other terminals of this machine can know of it.

Workers are started, one batch is trained, a batch size and learning rates may be looked for: minutes in which
the study database has nothing of the sweep. Meanwhile the launch holds a lock, which ends with its process.
"""

import hashlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from sweeps.errors import UserError

LOOK_SECONDS = 0.1
LOOKS = 10
"""Who looks whether the lock is held, holds it for a moment."""


@contextmanager
def preparing(name: str, url: str) -> Iterator[Callable[[], None]]:
    """Says that a sweep is being launched; gives what ends that before the block does.

    Args:
        name: The sweep's name.
        url: Of the study database that it is going to be in.

    Raises:
        UserError: Another process is launching it.
    """
    with ExitStack() as stack:
        path = _path(name, url)
        for _ in range(LOOKS if path else 0):
            if path and (handle := _locked(path)) is not None:
                stack.callback(os.close, handle)
                stack.callback(path.unlink, missing_ok=True)
                break
            check_it_is_not(name, url)
            time.sleep(LOOK_SECONDS)
        yield stack.close


def _locked(path: Path) -> int | None:
    """The file, locked and with this process's number in it; None if that is not to be had now."""
    import fcntl

    with suppress(OSError), ExitStack() as stack:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        stack.callback(os.close, handle)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), path.stat()):  # else who had the lock has removed the file
            os.pwrite(handle, f"{os.getpid():<10}".encode(), 0)
            stack.pop_all()
            return handle
    return None


def check_it_is_not(name: str, url: str) -> None:
    """Refuses to go on while a sweep is being launched.

    Raises:
        UserError: It is.
    """
    if pid := _launcher(name, url):
        raise UserError(
            f"{name} is being launched by process {pid}, which prepares it (workers, one batch, batch size, "
            f"learning rates) and has no trial yet; `sweeps stop {name}` ends it"
        )


def stopped(name: str, url: str) -> bool:
    """Ends the launch of a sweep that is being prepared, of which nothing is left; False if there is none."""
    pid = _launcher(name, url)
    if pid:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    return bool(pid)


def _launcher(name: str, url: str) -> int:
    """The process that launches a sweep; 0 if none of this machine and user does."""
    try:
        import fcntl
    except ImportError:  # on Windows, where only the commands that read are of use
        return 0
    path = _path(name, url)
    if path is None or not path.exists():
        return 0
    with suppress(OSError, ValueError), path.open() as file:  # it may end meanwhile
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(file.read())
    return 0


def _path(name: str, url: str) -> Path | None:
    from sweeps.executors.sharing import runtime_folder

    folder = runtime_folder()
    return folder and folder / f"launch-{hashlib.sha256(os.fsencode(f'{name} {url}')).hexdigest()[:16]}"
