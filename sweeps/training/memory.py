"""A slot's share of memory: of a GPU, to which torch holds a process, or without one of the machine."""

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path

CONTEXT_BYTES = 2**29
"""What a process holds of a GPU beside what torch allocates there: CUDA's context, with its kernels."""

CGROUP = Path("/sys/fs/cgroup/memory.max")


def share_of_machine(cpus: float) -> int:
    """The part of this machine's memory that belongs to so many of its CPUs, in bytes."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # a container's limit, or "max"
        total = min(total, int(CGROUP.read_text()))
    return int(total * min(1.0, cpus / (os.cpu_count() or 1)))


def share_of_gpu(part: float, total_bytes: int) -> float:
    """The part of a GPU's memory that torch may allocate in a process that has so large a part of the GPU.

    Torch does not count the context that each process has there. Were the shares to make up the whole, the
    last one would run out of memory though it keeps to its share.
    """
    return max(part / 2, part - CONTEXT_BYTES / total_bytes)


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
