"""One driver a study, and how other terminals speak to it.

The driver holds a lease: the study attribute `driver`, renewed every few seconds, so that a dead driver loses
it. Whether it is renewed is seen by looking twice, since clocks are set, and those of two machines differ.
Other terminals write small requests, each an attribute of its own (`request:ID`), and never anything else;
the driver reads them, and does what they ask between two events.
"""

import contextlib
import os
import platform
import queue
import shlex
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeps.errors import CutShort, UserError
from sweeps.machine import process_space
from sweeps.records import Again, News, Outcome, Request, Started
from sweeps.storages.patience import StudyGone, StudyUnwritable, hurry, patient
from sweeps.storages.storage import database_lock
from sweeps.study.hours import ran_seconds

if TYPE_CHECKING:
    import optuna

BEAT_SECONDS = 2.0
LEASE_SECONDS = 15.0
"""A lease that was not renewed for so long is lost."""

LOOK_SECONDS = 0.5
"""How often it is looked whether it is renewed."""

REQUEST = "request:"


class LeaseLost(CutShort):
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
        _ours.add(self._id)
        self._requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._seen: set[str] = set()
        self._beaten, self._earlier, self._since = (0.0, 0.0), 0.0, time.monotonic()
        self._training: set[int] = set()
        self._taken_by: dict[str, Any] | None = None
        self._gone: StudyGone | None = None
        self._is_ending, self._held_by = False, ""
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._work, name="lease", daemon=True)

    def claim(self) -> None:
        """Takes the lease.

        Raises:
            UserError: Another driver has it.
        """
        find_driver(self._study)  # without the lock, which a driver that is late takes to renew it
        with database_lock(self._url):
            attributes = self._study.user_attrs
            if holder := living_driver(attributes):
                raise UserError(
                    f"{self._study.study_name} is being run by process {holder['pid']} on {holder['host']}; "
                    f"`sweeps status {shlex.quote(self._study.study_name)}` shows it, `sweeps stop` ends it"
                )
            self._earlier, self._since = ran_seconds(attributes), time.monotonic()
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

    def record(self, event: News) -> None:
        """Counts what trains: what is only drawn runs, too, for the study."""
        if isinstance(event, Started):
            self._training.add(event.number)
        elif isinstance(event, Outcome | Again):
            self._training.discard(event.number)

    def take_no_more(self) -> None:
        """Lets other terminals know that the sweep is ending: nobody would do what they ask for."""
        self._is_ending = True
        missed = contextlib.suppress(StudyUnwritable, UserError, OSError)  # then the next beat says it
        with patient(0.0), missed, self._if_ours() as attributes:
            if attributes:
                self._beat()

    def release(self) -> None:
        """Gives the lease back; one that another driver has is left to it."""
        self._released.set()
        self._thread.join()
        with self._if_ours() as attributes:
            if attributes:
                self._study.set_user_attr("driver", self._driver() | {"beat": 0})

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Has it while the block runs, however that ends: the process may live on, and would renew it.

        Raises:
            UserError: Another driver has it.
        """
        self.claim()
        try:
            yield
        finally:
            hurry()
            with contextlib.suppress(StudyUnwritable, UserError, OSError):  # then it is lost by itself
                self.release()

    @property
    def is_lost(self) -> bool:
        """Whether another driver has it, as far as was seen."""
        return self._taken_by is not None

    def _driver(self) -> dict[str, Any]:
        return {"host": platform.node(), "space": process_space(), "pid": os.getpid(), "id": self._id,
                "beat": time.time(), "is_ending": self._is_ending, "held_by": self._held_by,
                "training": len(self._training), "earlier_seconds": self._earlier,
                "ran_seconds": self._earlier + time.monotonic() - self._since}  # fmt: skip

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
                except Exception:  # noqa: BLE001, S110 - the driver meets it, too; the next beat tries again
                    pass

    def _renew(self) -> None:
        with self._if_ours() as attributes:
            try:
                self._read_requests(attributes)  # first: the beat says what they ask for
            finally:  # one that cannot be read must not cost the lease
                if attributes:
                    self._beat()

    @contextlib.contextmanager
    def _if_ours(self) -> Iterator[dict[str, Any]]:
        """Gives the study's attributes; none if a driver that was held up finds another in its place."""
        # Either clock: one stands still while the machine sleeps, and the other may be set.
        is_late = any(
            now - then > LEASE_SECONDS / 2 for now, then in zip(_clocks(), self._beaten, strict=True)
        )
        with database_lock(self._url) if is_late else contextlib.nullcontext():
            attributes = self._study.user_attrs
            holder = attributes.get("driver")
            if holder and holder["id"] != self._id:
                self._taken_by = holder
            yield {} if self._taken_by else attributes

    def _read_requests(self, attributes: dict[str, Any]) -> None:
        found = {key: value for key, value in attributes.items() if key.startswith(REQUEST)}
        for key in sorted(found.keys() - self._seen, key=lambda key: found[key]["sent_ns"]):
            self._seen.add(key)
            command = found[key]["command"]
            self._requests.put(Request(command, found[key]["arguments"]))
            if command == "resume":
                self._held_by = ""
            elif command in ("pause", "stop") and self._held_by != "stop":
                self._held_by = command


def _clocks() -> tuple[float, float]:
    """Seconds of the clock that nobody sets, and of the one that others judge a lease by."""
    return time.monotonic(), time.time()


@dataclass
class _Watched:
    """A beat that this process saw, since when (monotonic seconds), and whether it saw one before."""

    beat: float
    since: float
    is_renewed: bool = False


_watched: dict[str, _Watched] = {}

_ours: set[str] = set()
"""The leases of this process; a driver before it may have had its number, as in a container that restarts."""


def find_driver(
    study: "optuna.Study", *, surely: bool = False, say: Callable[[str], None] | None = None
) -> dict[str, Any] | None:
    """The driver that holds the study's lease, or None; watches for `LEASE_SECONDS` at most where it must.

    Args:
        study: The study.
        surely: One on another machine has to be seen to renew it: it may have died within `LEASE_SECONDS`.
        say: Told once that one watches.
    """
    while _is_driven(driver := study.user_attrs.get("driver") or {}, surely=surely) is None:
        if say:
            say(f"{study.study_name} was run by process {driver['pid']} on {driver['host']}; "
                f"looking for up to {LEASE_SECONDS:g} s whether it lives")  # fmt: skip
            say = None
        time.sleep(LOOK_SECONDS)
    return driver if _is_driven(driver, surely=surely) else None


def living_driver(attributes: dict[str, Any]) -> dict[str, Any] | None:
    """The driver that holds the study's lease, as far as the looks so far tell.

    None if it released it, if its process is gone, or if nobody renewed it while this process watched.
    """
    driver: dict[str, Any] = attributes.get("driver") or {}
    return None if _is_driven(driver) is False else driver


def _is_driven(driver: dict[str, Any], *, surely: bool = False) -> bool | None:
    """Whether it has the lease; None if that needs another look."""
    if not driver.get("beat"):
        return False
    has_our_name = driver["host"] == platform.node()
    is_near = has_our_name and driver.get("space", process_space()) == process_space()
    if is_near and not _lives(driver):
        return False
    now, beat = time.monotonic(), driver["beat"]
    watched = _watched.setdefault(driver["id"], _Watched(beat, now))
    if watched.beat != beat:
        watched.beat, watched.since, watched.is_renewed = beat, now, True
    if now - watched.since > LEASE_SECONDS:
        return False
    # One of our name is in another container, or in this one before it was started again.
    if not is_near and (has_our_name or surely):
        return watched.is_renewed or None
    # One that is new by the clocks is taken for that: should they be wrong, the next looks show it.
    return watched.is_renewed or abs(time.time() - beat) <= LEASE_SECONDS or None


def _lives(driver: dict[str, Any]) -> bool:
    if driver["pid"] == os.getpid():
        return driver["id"] in _ours
    try:
        os.kill(driver["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def send(study: "optuna.Study", command: str, **arguments: Any) -> None:
    """Writes a request to the driver of a study.

    Raises:
        UserError: No driver is running it, or the one that does is ending it.
    """
    name = study.study_name
    if (driver := find_driver(study)) and driver.get("is_ending"):
        again = f"once it has, `sweeps resume {shlex.quote(name)}` goes on with it"
        raise UserError(f"{name} is ending, and takes no further request; {again}")
    if driver is None:
        raise UserError(f"{name} is not running; `sweeps resume {shlex.quote(name)}` goes on with it")
    # A storage gives attributes in any order, and `pause` and `resume` may come within one beat.
    request = {"command": command, "arguments": arguments, "sent_ns": time.time_ns()}
    study.set_user_attr(f"{REQUEST}{uuid.uuid4().hex}", request)
