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

from sweeps.errors import UserError
from sweeps.patience import StudyUnwritable, patient
from sweeps.records import Request
from sweeps.storage import database_lock

if TYPE_CHECKING:
    import optuna

BEAT_SECONDS = 2.0
LEASE_SECONDS = 15.0
"""A lease that was not renewed for so long is lost; also the clocks of two machines may differ by less."""

REQUEST = "request:"


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
        """What was asked since the last time."""
        found = []
        while not self._requests.empty():
            found.append(self._requests.get())
        return found

    def release(self) -> None:
        """Gives the lease back."""
        self._released.set()
        self._thread.join()
        self._study.set_user_attr("driver", self._driver() | {"beat": 0})

    def _driver(self) -> dict[str, Any]:
        return {"host": platform.node(), "pid": os.getpid(), "id": self._id, "beat": time.time()}

    def _beat(self) -> None:
        self._study.set_user_attr("driver", self._driver())

    def _work(self) -> None:
        with patient(0.0):
            while not self._released.wait(BEAT_SECONDS):
                with contextlib.suppress(StudyUnwritable):  # the driver meets it, too, and says so
                    self._beat()
                    self._read_requests()

    def _read_requests(self) -> None:
        for key, value in self._study.user_attrs.items():
            if key.startswith(REQUEST) and key not in self._seen:
                self._seen.add(key)
                self._requests.put(Request(value["command"], value["arguments"]))


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
    study.set_user_attr(f"{REQUEST}{uuid.uuid4().hex}", {"command": command, "arguments": arguments})
