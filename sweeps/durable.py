"""What survives a power cut: files that the disk has, not only the system's memory.

A rename is no promise: of a file that is renamed before its content is on the disk, a power cut may leave the
name and nothing in it. So what replaces a good file is synced first, and its folder afterwards.
"""

import contextlib
import errno
import os
from pathlib import Path


def sync(path: Path) -> None:
    """Waits until the disk has a file.

    Raises:
        OSError: It has not, or there is no such file.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # the file system has no such call
            raise
    finally:
        os.close(handle)


def sync_names(folder: Path) -> None:
    """Waits until the disk has the names in a folder, where the file system can tell."""
    with contextlib.suppress(OSError):
        sync(folder)
