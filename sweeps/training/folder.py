"""The folder that a trial writes into: the sweep's own, or with a store one that is sent there."""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sweeps.context import TrialContext
from sweeps.errors import StoreAway
from sweeps.layout import LAST, LOG, PREVIOUS, RATE, folder_of
from sweeps.remote import RemoteFolder, reason_of

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 10.0


@contextlib.contextmanager
def trial_folder(context: TrialContext, number: int, *, goes_on: bool) -> Iterator[Path]:
    """The local folder that a trial writes into; with a store one of its own, whose log is sent at the end.

    Args:
        context: What the trials of the sweep share.
        number: The trial's.
        goes_on: An earlier attempt may have left a log and checkpoints.

    Raises:
        StoreAway: The store could not be reached for as long as the context says.
    """
    if not context.store:
        yield context.files / folder_of(number)
        return
    there = RemoteFolder(context.store) / folder_of(number)
    with tempfile.TemporaryDirectory(prefix="sweeps-") as scratch:
        # Named as elsewhere: callbacks and loggers of the user's have names after it.
        folder = Path(scratch, context.store.rstrip("/").rpartition("/")[2], folder_of(number))
        folder.mkdir(parents=True)
        if goes_on:
            until = time.monotonic() + context.patience
            for name in (LOG, RATE, LAST, PREVIOUS):
                _fetch_patiently(there, name, folder, until)
        try:
            yield folder
        finally:
            with contextlib.suppress(Exception):  # a store that is away costs the log, not the trial
                there.send(folder / LOG, LOG)


def _fetch_patiently(there: RemoteFolder, name: str, folder: Path, until: float) -> None:
    """Fetches a file once the store can be reached, which is waited for as for a study database.

    Raises:
        StoreAway: It could not be reached until then, on the monotonic clock.
    """
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            there.fetch(name, folder)
        except Exception as error:  # each file system has errors of its own
            left = until - time.monotonic()
            if left <= 0 or isinstance(error, ImportError | PermissionError):
                raise StoreAway(f"{there}: {reason_of(there.uri, error)}") from error
            print(f"{there}/{name}: {reason_of(there.uri, error)}; waiting")  # noqa: T201 - the worker's log
            time.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        else:
            return
