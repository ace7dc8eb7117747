"""Whether a sweep runs, is paused or was interrupted, from its study's attributes alone.

A driver renews its lease, the study attribute `driver`, every 2 s. Where the clocks of its machine and of
this one differ, only a second look shows whether it does.
"""

import os
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.study import Study

# The study attribute that says "ours".
MARK = "lightning_sweeps"
# A lease that was not renewed for so long is lost; for so long a driver is watched, at these times.
LEASE_SECONDS = 15.0
WATCH_SECONDS, LOOK_SECONDS = 3.0, 0.5
# No clock is so far ahead of another.
OLD_SECONDS = 86400.0

_lost: set[tuple[str, float]] = set()


def looked_at(studies: "Sequence[Study]") -> list[dict[str, Any]]:
    """Return the attributes of studies, as the driver of another machine renews them if it lives.

    One whose lease looks old by this machine's clock is watched for three seconds at most, all at once. It
    is noted with the lease if it was renewed.
    """
    attributes = [study.user_attrs for study in studies]
    doubtful = [index for index, attrs in enumerate(attributes) if _is_doubtful(attrs)]
    until = time.monotonic() + WATCH_SECONDS
    while doubtful and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
        for index in list(doubtful):
            now, before = attributes[index], attributes[index]["driver"]
            with suppress(KeyError):  # somebody has deleted it
                now = studies[index].user_attrs
            if (driver := now.get("driver") or {}) != before:
                attributes[index] = now | {"driver": driver | {"is_renewed": bool(driver.get("beat"))}}
                doubtful.remove(index)
    _lost.update(_lease(attributes[index]["driver"]) for index in doubtful)
    return attributes


def _is_doubtful(attrs: dict[str, Any]) -> bool:
    driver = attrs.get("driver") or {}
    is_running = attrs.get("sweep_state") == "running" and bool(driver.get("beat"))
    is_old = time.time() - driver.get("beat", 0.0) > OLD_SECONDS
    return is_running and not (_is_near(driver) or _is_new(driver) or is_old or _lease(driver) in _lost)


def _lease(driver: dict[str, Any]) -> tuple[str, float]:
    return str(driver.get("id")), driver["beat"]


def sweep_state(attrs: dict[str, Any]) -> str:
    """Return `running`, `paused`, `finished`, `failed` or `interrupted`, from what `looked_at` gave."""
    state = str(attrs.get("sweep_state") or "interrupted")
    if state != "running":
        return state
    driver = attrs.get("driver") or {}
    if not _is_driven(driver):
        return "interrupted"
    return "paused" if driver.get("held_by") == "pause" else "running"


def _is_driven(driver: dict[str, Any]) -> bool:
    """Whether the driver's process lives, as far as its lease and this machine can say."""
    if _is_near(driver):
        return _is_new(driver) and _is_alive(driver.get("pid"))
    return _is_new(driver) or bool(driver.get("is_renewed"))


def _is_near(driver: dict[str, Any]) -> bool:
    """Whether its process has its number here."""
    return driver.get("host") == socket.gethostname() and driver.get("space", here := _space()) == here


def _is_new(driver: dict[str, Any]) -> bool:
    age = time.time() - driver.get("beat", 0.0)
    return bool(-LEASE_SECONDS <= age <= LEASE_SECONDS or (age < 0 and _is_near(driver)))


def _space() -> str:
    """Return where a process has its number: this start of the machine and, on Linux, this container."""
    with suppress(OSError):
        start = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{start} {Path('/proc/self/ns/pid').readlink()}"
    return ""


def _is_alive(pid: int | None) -> bool:
    if not pid or os.name != "posix":  # elsewhere signal 0 would end the process
        return pid is not None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
