"""A slot's share of a machine's memory, for trainings without a GPU; of a GPU, torch keeps the share."""

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup/memory.max")


def share_of_machine(cpus: float) -> int:
    """The part of this machine's memory that belongs to so many of its CPUs, in bytes."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # a container's limit, or "max"
        total = min(total, int(CGROUP.read_text()))
    return int(total * min(1.0, cpus / (os.cpu_count() or 1)))


@contextlib.contextmanager
def held_to(more_bytes: int) -> Iterator[None]:
    """Lets this process take at most so much more memory: what asks for more is told that there is none.

    Args:
        more_bytes: Beyond what it has now; 0 for no limit, as where the system cannot say what it has.
    """
    status = Path("/proc/self/status")
    if not more_bytes or not status.exists():
        yield
        return
    lines = [line for line in status.read_text().splitlines() if line.startswith("VmData:")]
    has = int(lines[0].split()[1]) * 1024
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = has + more_bytes
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
