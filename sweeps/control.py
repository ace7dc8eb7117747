"""One driver a study, and how other terminals speak to it.

The driver holds a lease: the study attribute `driver`, renewed every few seconds, so that a dead driver loses
it. Other terminals write small requests, each an attribute of its own (`request:ID`), and never anything
else; the driver reads them, and does what they ask between two events.
"""

import contextlib
import os
import platform
import queue
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

from sweeps.errors import SweepFailed, UserError
from sweeps.patience import StudyGone, StudyUnwritable, patient
from sweeps.records import Request
from sweeps.storage import database_lock

if TYPE_CHECKING:
    import optuna

BEAT_SECONDS = 2.0
LEASE_SECONDS = 15.0
"""A lease that was not renewed for so long is lost; also the clocks of two machines may differ by less."""

REQUEST = "request:"


class LeaseLost(SweepFailed):
    """Another driver has taken the study over, since this one was held up for too long."""


class Lease:
    """The right to drive a study, held from `claim` to `release`.

    Args:
        study: The study; the lease's thread uses it beside the driver's.
        url: Its storage's URL.
    """

    def __init__(self, study: "optuna.Study", url: str) -> None:
        self._study, self._url = study, url
        self._id = uuid.uuid4().hex
        self._requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._seen: set[str] = set()
        self._beaten = (0.0, 0.0)
        self._taken_by: dict[str, Any] | None = None
        self._gone: StudyGone | None = None
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._work, name="lease", daemon=True)

    def claim(self) -> None:
        """Takes the lease.

        Raises:
            UserError: Another driver has it.
        """
        with database_lock(self._url):
            attributes = self._study.user_attrs
            if holder := living_driver(attributes):
                raise UserError(
                    f"{self._study.study_name} is being run by process {holder['pid']} on {holder['host']}; "
                    f"`sweeps status {self._study.study_name}` shows it, `sweeps stop` ends it"
                )
            self._beat()
        # Requests to an earlier driver are not for this one.
        self._seen = {key for key in attributes if key.startswith(REQUEST)}
        self._thread.start()

    def requests(self) -> list[Request]:
        """What was asked since the last time.

        Raises:
            LeaseLost: Another driver has the lease.
            StudyGone: Somebody deleted the study.
        """
        if self._gone:
            raise self._gone
        if self._taken_by:
            raise LeaseLost(
                f"{self._study.study_name} is being run by process {self._taken_by['pid']} on "
                f"{self._taken_by['host']} now, since this one was held up for more than {LEASE_SECONDS:g} s"
            )
        found = []
        while not self._requests.empty():
            found.append(self._requests.get())
        return found

    def release(self) -> None:
        """Gives the lease back; one that another driver has is left to it."""
        self._released.set()
        self._thread.join()
        if self.is_lost:
            return
        self._study.set_user_attr("driver", self._driver() | {"beat": 0})

    @property
    def is_lost(self) -> bool:
        """Whether another driver has it, as far as was seen."""
        return self._taken_by is not None

    def _driver(self) -> dict[str, Any]:
        return {"host": platform.node(), "pid": os.getpid(), "id": self._id, "beat": time.time()}

    def _beat(self) -> None:
        self._study.set_user_attr("driver", self._driver())
        self._beaten = _clocks()

    def _work(self) -> None:
        with patient(0.0):
            while not self.is_lost and not self._released.wait(BEAT_SECONDS):
                try:
                    self._renew()
                except StudyGone as error:  # the driver may have no word with it for hours
                    self._gone = error
                    return
                except (StudyUnwritable, UserError, OSError):
                    pass  # the driver meets it, too, and says so

    def _renew(self) -> None:
        """Renews the lease if it is still ours: a driver that was held up may find another in its place."""
        # Either clock: one stands still while the machine sleeps, and the other may be set.
        is_late = any(
            now - then > LEASE_SECONDS / 2 for now, then in zip(_clocks(), self._beaten, strict=True)
        )
        with database_lock(self._url) if is_late else contextlib.nullcontext():
            attributes = self._study.user_attrs
            holder = attributes.get("driver")
            if holder and holder["id"] != self._id:
                self._taken_by = holder
                return
            self._beat()
        self._read_requests(attributes)

    def _read_requests(self, attributes: dict[str, Any]) -> None:
        found = {key: value for key, value in attributes.items() if key.startswith(REQUEST)}
        for key in sorted(found.keys() - self._seen, key=lambda key: found[key]["sent_ns"]):
            self._seen.add(key)
            self._requests.put(Request(found[key]["command"], found[key]["arguments"]))


def _clocks() -> tuple[float, float]:
    """Seconds of the clock that nobody sets, and of the one that others judge a lease by."""
    return time.monotonic(), time.time()


def living_driver(attributes: dict[str, Any]) -> dict[str, Any] | None:
    """The driver that holds the study's lease, or None: it released it, lost it, or its process is gone."""
    driver: dict[str, Any] = attributes.get("driver") or {}
    if not driver or time.time() - driver.get("beat", 0) > LEASE_SECONDS:
        return None
    if driver["host"] == platform.node() and not _lives(driver["pid"]):
        return None
    return driver


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def send(study: "optuna.Study", command: str, **arguments: Any) -> None:
    """Writes a request to the driver of a study.

    Raises:
        UserError: No driver is running it.
    """
    name = study.study_name
    if living_driver(study.user_attrs) is None:
        raise UserError(f"{name} is not running; `sweeps resume {name}` goes on with it")
    # A storage gives attributes in any order, and `pause` and `resume` may come within one beat.
    request = {"command": command, "arguments": arguments, "sent_ns": time.time_ns()}
    study.set_user_attr(f"{REQUEST}{uuid.uuid4().hex}", request)
