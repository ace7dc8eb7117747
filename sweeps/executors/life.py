"""Whether the Ray cluster is still there, seen from outside: what one that has gone is asked waits.

Ray waits a minute for the head of a cluster, and then ends this process with lines of its own. So we look
whether somebody listens at the head's address before anything is asked, and ask in a thread of its own:
should the cluster go meanwhile, the thread is left behind.
"""

import concurrent.futures
import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import ray

from sweeps.errors import TRY_AGAIN, ClusterLost
from sweeps.executors.sharing import Place, Shared

Answer = TypeVar("Answer")

LOOK_SECONDS = 0.5
CONNECT_SECONDS = 1.0

AWAY_SECONDS = 40.0
"""How long the head of a cluster that others started may be away: where it keeps its state in Redis, a new
one comes in its place (Ray's documentation, "GCS fault tolerance")."""

OWNER_SECONDS = 3.0
"""How much later than the head the owner of a cluster may be seen to have gone, if it was killed."""

LEAVING_SECONDS = 40.0
"""How long a call of Ray's may hold this process after its cluster has ended; then Ray's own end is near."""


class Life:
    """The cluster that this process is connected to.

    Attributes:
        lost: Why it has gone, in one line; "" while it is there.
        is_left: This process is not connected to it any more.

    Args:
        address: Of its head.
        away_seconds: How long nobody may listen there.
    """

    def __init__(self, address: str, away_seconds: float = 0.0) -> None:
        self.lost, self.is_left = "", False
        self._address, self._away_seconds = address, away_seconds
        self._away_since: float | None = None
        self._ended: threading.Event | None = None

    def look(self) -> None:
        """Notes it if it has gone."""
        if self.lost:
            return
        if not _refuses(self._address):
            self._away_since = None
            return
        now = time.monotonic()
        self._away_since = now if self._away_since is None else self._away_since
        if now - self._away_since < self._away_seconds:
            return
        if self._ended:  # the system may end the head a little before it says that the owner has gone
            self._ended.wait(OWNER_SECONDS)
        if not self.lost:
            self.lost = f"the head of the Ray cluster ({self._address}) is gone; `sweeps resume` goes on"

    def ends_with(self, place: Place, owner: Shared) -> None:
        """Notes it when the sweep that had started the cluster was killed; see `Place`."""
        self._ended = threading.Event()
        arguments = (place, owner.pid, self._ended)
        threading.Thread(target=self._wait, args=arguments, name="cluster-watch", daemon=True).start()

    def _wait(self, place: Place, owner: int, ended: threading.Event) -> None:
        place.wait_for_its_end()
        self.lost = self.lost or (
            f"the sweep that had started the cluster (process {owner}) was killed, and the cluster "
            "has ended with it; `sweeps resume` goes on"
        )
        ended.set()
        time.sleep(LEAVING_SECONDS)
        if not self.is_left:
            with contextlib.suppress(OSError):
                sys.stderr.write(f"sweeps: {self.lost}\n")
                sys.stderr.flush()
            os._exit(TRY_AGAIN)


_life: Life | None = None


@contextlib.contextmanager
def watched(life: Life) -> Iterator[None]:
    """Looks after this cluster while the block runs."""
    global _life
    _life = life
    try:
        yield
    finally:
        life.is_left = True
        _life = None


def lives() -> bool:
    """Whether the cluster is still there; looks, without asking it."""
    if _life:
        _life.look()
    return not (_life and _life.lost)


def ensure_it_lives() -> None:
    """Goes on if the cluster was there when it was last looked at.

    Raises:
        ClusterLost: It has gone.
    """
    if _life and _life.lost:
        raise ClusterLost(_life.lost)


def asked(function: Callable[[], Answer]) -> Answer:
    """What a function gives that asks the cluster and may wait for it.

    Raises:
        ClusterLost: It has gone, before or meanwhile.
    """
    _look()
    answer: concurrent.futures.Future[Answer] = concurrent.futures.Future()

    def ask() -> None:
        try:
            answer.set_result(function())
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised where it was asked
            answer.set_exception(error)

    threading.Thread(target=ask, name="asks-ray", daemon=True).start()
    while not concurrent.futures.wait([answer], LOOK_SECONDS).done:
        _look()
    return answer.result()


def _look() -> None:
    lives()
    ensure_it_lives()


def leave_if_lost() -> None:
    """Leaves a cluster that has gone, before Ray ends this process for that."""
    if _life and _life.lost:
        ray.shutdown()
        _life.is_left = True


def _refuses(address: str) -> bool:
    """Whether nobody listens there; a network that fails is Ray's to see to."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False
