"""Do the nodes of a cluster that others started share the folder of a sweep's files?

Where one does not, logs and checkpoints would stay there, found by nobody.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sweeps.executors import TrialFunction

SHOWN_SECONDS = 5.0
"""A shared folder may show late what is new in it."""


@contextmanager
def marked(files: Path) -> Iterator[Path | None]:
    """A file in the nearest folder above the sweep's while the block runs; None where it cannot be made."""
    there = next(folder for folder in files.parents if folder.is_dir())
    try:
        handle, name = tempfile.mkstemp(prefix=".sweeps-", dir=there)
    except OSError:
        yield None
        return
    os.close(handle)  # some file systems show a file only then
    try:
        yield Path(name)
    finally:
        with suppress(OSError):
            Path(name).unlink()


def make_there(mark: Path | None, files: Path, make: Callable[[], TrialFunction]) -> TrialFunction:
    """Makes what trains, in a worker that sees the mark, or else, should somebody have tidied up, the files.

    Raises:
        FileNotFoundError: It does not.
    """
    until = time.monotonic() + SHOWN_SECONDS
    while mark is not None and not (mark.exists() or files.is_dir()):
        if time.monotonic() > until:
            what = "name a folder that all nodes share, or an address such as s3://bucket/sweeps"
            raise FileNotFoundError(f"files: {files} is not shared with this node; {what}")
        time.sleep(SHOWN_SECONDS / 10)
    return make()
