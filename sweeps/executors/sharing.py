"""One local cluster a machine and user: the first sweep starts it, those that come while it runs join it.

Who owns it and who uses it is said by locks of the kernel's, which end with their process, however it ends:

    start   held while a sweep looks for the cluster, starts it or ends it
    owner   held by the sweep that started it, as long as the cluster runs
    users   shared by the sweeps that joined; the owner stays until the last of them has gone

`cluster.json` says where the cluster is and holds its token. The folder and the files are the user's alone;
each batch job and each choice of GPUs has its own in it.
"""

import contextlib
import fcntl
import hashlib
import json
import math
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

POLL_SECONDS = 0.5
KEEP_SECONDS = 3600.0
"""How often the files are touched: systemd-tmpfiles removes what nobody did that to for ten days."""
LOST_SECONDS = 20.0
"""How long the owner of a cluster that has gone waits for those who had joined it."""
OWN_SECONDS = 1.0
"""How long the next owner waits for those who wait for the end of the one before: they lock for a moment."""

ALL, NONE = "all", "none"

BATCH_JOBS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID")
"""How batch systems name a job: two on one machine have CPUs and GPUs of their own, and each its end."""


@dataclass(frozen=True)
class Shared:
    """A running cluster of this user's on this machine.

    Attributes:
        address: Where it is.
        token: Opens it; "" if it is open.
        pid: The process of the sweep that started it.
        devices: The GPUs that it has: what CUDA_VISIBLE_DEVICES says, or `ALL`, or `NONE`.
        python: The interpreter of its workers.
    """

    address: str
    token: str
    pid: int
    devices: str
    python: str


def have_gpu_in_common(one: str, other: str) -> bool:
    """Whether two clusters, of which each has these devices (see `Shared`), could train on the same GPU."""
    if NONE in (one, other):
        return False
    ones, others = one.split(","), other.split(",")
    if ALL in (one, other) or ones[0].isdecimal() != others[0].isdecimal():  # a number may be any UUID's
        return True
    return not set(ones).isdisjoint(others)


def runtime_folder() -> Path | None:
    """The folder of the locks: the user's alone, made if need be; None if there is no such place.

    It is not in XDG_RUNTIME_DIR: that is removed when the user logs out, whatever runs on (XDG Base Directory
    Specification 0.8), and the next sweep would train on the GPUs of one that it cannot find.
    """
    given = os.environ.get("SWEEPS_RUNTIME_DIR")
    folder = Path(given or Path(tempfile.gettempdir(), f"lightning-sweeps-{os.getuid()}"))
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = folder.lstat()
    except OSError:
        return None
    is_ours = about.st_uid == os.getuid() and not about.st_mode & 0o077 and not folder.is_symlink()
    return folder if is_ours else None


class Place:
    """Where a sweep finds the machine's cluster, or makes it known.

    Args:
        folder: See `runtime_folder`.
        devices: The GPUs that the cluster has; see `Shared`.
    """

    def __init__(self, folder: Path, devices: str = NONE) -> None:
        job = next((os.environ[name] for name in BATCH_JOBS if os.environ.get(name)), "")
        self._root = folder / f"job-{_digest(job)}" if job else folder
        self._folder = self._root if devices == NONE else self._root / f"gpus-{_digest(devices)}"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._handles: list[int] = []
        self._has_left = threading.Event()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else starts, joins or ends a cluster while the block runs."""
        handle = os.open(self._root / "start.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def running(self) -> Shared | None:
        """The cluster that runs; None if there is none, whatever a dead process left behind."""
        return self._running(self._folder)

    def others(self) -> list[Shared]:
        """The clusters of the same batch job, or of none, that have other GPUs."""
        folders = [self._root, *self._root.glob("gpus-*")]
        return [found for folder in folders if folder != self._folder and (found := self._running(folder))]

    def _running(self, folder: Path) -> Shared | None:
        handle = os.open(folder / "owner.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)  # which who waits for its end may have, too
        except BlockingIOError:
            with contextlib.suppress(OSError, ValueError, TypeError):
                return Shared(**json.loads((folder / "cluster.json").read_text()))
            return None
        finally:
            os.close(handle)
        return None

    def own(self, cluster: Shared) -> bool:
        """Makes a cluster known that this process has started; False if another owner lives."""
        handle = self._open("owner.lock")
        until = time.monotonic() + OWN_SECONDS
        while not _is_locked(handle):
            if time.monotonic() > until:
                os.close(handle)
                return False
            time.sleep(POLL_SECONDS / 10)
        self._handles += handle, self._open("users.lock")
        threading.Thread(target=self._keep, name="keeps-files", daemon=True).start()
        path = self._folder / "cluster.json"
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123
            json.dump(asdict(cluster), file)
        return True

    def use(self) -> None:
        """Notes that this process uses the cluster, until `leave` or its end."""
        handle = self._open("users.lock")
        fcntl.flock(handle, fcntl.LOCK_SH)
        self._handles.append(handle)

    def wait_for_its_end(self) -> None:
        """Waits until the owner has gone, however it went, and forgets its cluster.

        Only then does the kernel give the lock; nobody can own another cluster while it is held here.
        """
        handle = self._open("owner.lock")
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)
            self._forget(handle)
        finally:
            os.close(handle)

    def _keep(self) -> None:
        """Lets the files look new as long as this process owns the cluster."""
        while not self._has_left.wait(KEEP_SECONDS):
            for path in (*self._folder.glob("*.lock"), *self._folder.glob("*.json"), self._folder):
                with contextlib.suppress(OSError):
                    os.utime(path)

    def leave(self) -> None:
        """Lets go of everything that this process holds."""
        self._has_left.set()
        while self._handles:
            os.close(self._handles.pop())

    def wait_for_users(self, say: Callable[[str], None], lives: Callable[[], bool] = lambda: True) -> None:
        """Waits until no other sweep uses the cluster, then withdraws it; the caller ends it.

        Args:
            say: Takes a line for the person who waits.
            lives: Whether the cluster is there; if not, the others are about to see it, too.
        """
        has_said, until = False, math.inf
        while not self._withdraw() and time.monotonic() < until:
            if math.isinf(until) and not lives():
                until = time.monotonic() + LOST_SECONDS
            if math.isinf(until) and not has_said:
                say("this sweep is done; its process stays while other sweeps use the cluster it started")
                has_said = True
            time.sleep(POLL_SECONDS)

    def _withdraw(self) -> bool:
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # somebody has removed the folder: then nobody joins any more
                stack.enter_context(self.locked())
            owner, users = self._handles  # not by their names, which may be others' by now
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            self._forget(owner)
            self.leave()
            return True

    def _forget(self, owner: int) -> None:
        """Removes what is said of the cluster whose owner had this lock, unless another one has its place."""
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(owner), (self._folder / "owner.lock").stat()):
                (self._folder / "cluster.json").unlink(missing_ok=True)

    def _open(self, name: str) -> int:
        return os.open(self._folder / name, os.O_RDWR | os.O_CREAT, 0o600)


def _is_locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _digest(text: str) -> str:
    """A name for a folder that stands for a text."""
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:16]
