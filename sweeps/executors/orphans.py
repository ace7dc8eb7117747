"""No process outlives its sweep, however that ends: a worker must not train on for nobody.

Ray ends its workers with their driver, but not all: one that is asked to leave while a thread of it still
trains leaves Ray first and then waits for that thread, known to nobody; and Ray's own agents stay for a
minute after a cluster whose driver was killed. So a worker watches over itself (`guarded`), and a process of
its own watches over a cluster (`Reaper`): it is this file, run as a script, and imports nothing large.
"""

import calendar
import contextlib
import os
import select
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

LOOK_SECONDS = 1.0
GRACE_SECONDS, END_SECONDS = 3.0, 20.0
"""How long a cluster's processes may take to end by themselves, and until when they are looked for."""

FIRST_CALL_SECONDS = 20.0
"""How long a worker may be there and not be called; its sweep does so at once."""

NAME = "session_%Y-%m-%d_%H-%M-%S"
"""How the name begins that Ray gives to the folder of a cluster, in local time."""

NAMED = b"\0"
"""What follows the name of a folder that is to be removed."""

KILL_WITH_PARENT = 1
"""Linux's PR_SET_PDEATHSIG, in <sys/prctl.h>."""


_is_called = threading.Event()


def guarded(make: Callable[[], Any]) -> Any:
    """Makes something in a process that from now on ends with its parent, and with its own main thread.

    It also ends if nobody calls it then. Ray takes one that it was asked to kill while it came for dead, but
    the order to leave may reach the process before its actor is there; then it stays, known to nobody, with
    its CPUs and GPUs, until its driver ends.
    """
    end_with_parent()
    made = make()
    threading.Thread(target=_wait_for_a_call, name="first-call", daemon=True).start()
    return made


def called() -> None:
    """Notes in a worker's process that it has been called."""
    _is_called.set()


def _wait_for_a_call() -> None:
    if not _is_called.wait(FIRST_CALL_SECONDS):
        os._exit(1)


def end_with_parent() -> None:
    """Has this process killed when its parent dies, and end when its main thread has come to its end.

    The system kills it whatever it does: a thread of Python's would wait for C code that keeps the
    interpreter's lock. The thread is for systems other than Linux, and for a main thread that is through:
    Python then waits for all other threads, such as one that trains.
    """
    parent = os.getppid()
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(KILL_WITH_PARENT, signal.SIGKILL)
    threading.Thread(target=_watch, args=(parent,), name="orphan-watch", daemon=True).start()


def _watch(parent: int) -> None:
    main = threading.main_thread()
    while os.getppid() == parent and main.is_alive():
        main.join(LOOK_SECONDS)
    os._exit(1)


class Reaper:
    """A process that kills what is left of this process's cluster when it is told to, or when this one ends.

    Ray names the folder of a cluster's logs after the time and the process that started it; what belongs to
    the cluster, and what that forked, writes files there. The environment would not do: who sets a title
    loses it. Only Linux tells who writes where; elsewhere nothing is killed. Once all have ended, the folder
    that `remove` named goes, too.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(os.getpid()), _now()],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,  # a closed terminal must not end it
        )  # fmt: skip

    def remove(self, folder: str) -> None:
        """Names the cluster's own folder, which nobody needs any more when its processes have ended."""
        if self._process.stdin:
            with contextlib.suppress(OSError):  # somebody has killed it
                self._process.stdin.write(os.fsencode(folder) + NAMED)
                self._process.stdin.flush()

    def close(self) -> None:
        """Ends what is left of the cluster; waits for it."""
        self._process.communicate(b"x")


def wait_for(driver: int) -> str:
    """Waits for the driver's word, or its end: a process that it forked may hold the pipe open.

    Returns:
        The folder that it named before; "" if it did not come so far.
    """
    said = b""
    while os.getppid() == driver:
        if select.select([sys.stdin], [], [], LOOK_SECONDS)[0]:
            got = os.read(sys.stdin.fileno(), 4096)
            said += got
            if not got or not said.endswith(NAMED):
                break
    return os.fsdecode(said.partition(NAMED)[0]) if NAMED in said else ""


def remove(folder: str, driver: int) -> None:
    """Removes the folder of a cluster that this driver had, and the link of Ray's that says it is the latest.

    Ray puts no other link in the place of one whose folder is gone.
    """
    import shutil

    path = Path(folder)
    if sys.platform != "linux" or not path.match(f"session_*_{driver}"):
        return  # its processes may live
    latest = path.with_name("session_latest")
    with contextlib.suppress(OSError):  # there is none
        if latest.readlink().name == path.name:
            latest.unlink()
    shutil.rmtree(path, ignore_errors=True)


def reap(driver: int, since: str, until: str) -> bool:
    """Kills what is left of a cluster, if it does not end by itself in a short while; whether it has ended.

    Args:
        driver: The process that started it.
        since: The first possible name of its folder, without the end; other clusters had, or will get, a
            driver of the same number.
        until: The last one.
    """
    began = time.monotonic()
    while left := [process for process in _processes() if _belongs(process, driver, since, until)]:
        elapsed = time.monotonic() - began
        if elapsed > END_SECONDS:
            return False
        for process in left if elapsed > GRACE_SECONDS else ():
            with contextlib.suppress(OSError):
                os.kill(int(process.name), signal.SIGKILL)
        time.sleep(0.1)
    return True


def _processes() -> list[Path]:
    there = Path("/proc").iterdir() if sys.platform == "linux" else ()
    return [path for path in there if path.name.isdecimal()]


def _belongs(process: Path, driver: int, since: str, until: str) -> bool:
    """Whether a process is of the cluster that a driver started; other drivers write there, too."""
    if int(process.name) == driver:
        return False
    files = list(_written_files(process))
    names = (part for file in files for part in Path(file).parts if part.endswith(f"_{driver}"))
    is_there = any(since <= name[: len(since)] <= until for name in names)
    return is_there and not any("/python-core-driver-" in file for file in files)


def _written_files(process: Path) -> Iterator[str]:
    with contextlib.suppress(OSError):  # it has ended, or is another user's
        for path in (process / "fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                if path.lstat().st_mode & stat.S_IWUSR:
                    yield str(path.readlink())


def _now() -> str:
    """The beginning of the name that Ray would give to the folder of a cluster now."""
    return time.strftime(NAME)


def _last(since: str, seconds: float) -> str:
    """The last name that a folder can have got in so many seconds, though clocks are set, also back."""
    began = calendar.timegm(time.strptime(since, NAME))
    return max(_now(), time.strftime(NAME, time.gmtime(began + seconds)))


if __name__ == "__main__":
    began = time.monotonic()
    named = wait_for(driver := int(sys.argv[1]))
    if reap(driver, sys.argv[2], _last(sys.argv[2], time.monotonic() - began)) and named:
        remove(named, driver)
