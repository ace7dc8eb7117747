"""Where a process has its number."""

import contextlib
from pathlib import Path


def process_space() -> str:
    """This start of the machine and, on Linux, this container: elsewhere a number is another process's."""
    with contextlib.suppress(OSError):
        start = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{start} {Path('/proc/self/ns/pid').readlink()}"
    return ""
