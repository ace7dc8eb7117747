"""A sweep's files on an object store, or wherever fsspec can write: `files: s3://bucket/sweeps`.

Checkpoints are written on the worker's own disk first and then sent. What is under a name was sent whole: it
comes under another name and is renamed, and until then the one before is there.
"""

import contextlib
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any

from search_spaces.wording import did_you_mean
from sweeps.errors import UserError
from sweeps.layout import BEST, LAST, LOG, PREVIOUS, folder_of
from sweeps.storages.uris import masked

EXTRAS = {"s3": "lightning-sweeps[s3]", "s3a": "lightning-sweeps[s3]", "gs": "gcsfs", "gcs": "gcsfs",
          "abfs": "adlfs", "az": "adlfs"}  # fmt: skip
"""The protocols of object stores, which have no folders, and the package that each needs."""

POLL_SECONDS = 2.0


def is_remote(files: str) -> bool:
    """Whether `files` is an address rather than a folder of this machine."""
    return "://" in files


class RemoteFolder:
    """A folder at an address; `RemoteFolder(uri) / "trial-7"` is one in it.

    Any error of the file system's own may be raised by what reads and writes.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")

    def __truediv__(self, name: str) -> "RemoteFolder":
        return RemoteFolder(f"{self.uri}/{name}")

    def __str__(self) -> str:
        return masked(self.uri)

    @cached_property
    def _place(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        system, path = url_to_fs(self.uri)
        return system, path

    def send(self, source: Path, name: str) -> None:
        """Writes a file whole or not at all."""
        self._put(source, f"{name}.new")
        self.rename(f"{name}.new", name)

    def send_checkpoint(self, source: Path, *, is_best: bool, replaces: bool = True) -> None:
        """Writes `last.ckpt`; the best also gets its name.

        Args:
            source: The file.
            is_best: It is the best.
            replaces: The one before is kept as `previous.ckpt`; else it was damaged, and that one stays.
        """
        self._put(source, "new.ckpt")
        if is_best:
            system, path = self._place
            system.cp_file(f"{path}/new.ckpt", f"{path}/{BEST}")
        if replaces and self.has(LAST):
            self.rename(LAST, PREVIOUS)
        self.rename("new.ckpt", LAST)
        if (source.parent / LOG).exists():
            self.send(source.parent / LOG, LOG)

    def fetch(self, name: str, folder: Path) -> bool:
        """Reads a file into a local folder; False if there is none."""
        if not self.has(name):
            return False
        system, path = self._place
        folder.mkdir(parents=True, exist_ok=True)
        system.get_file(f"{path}/{name}", str(folder / name))
        return True

    def read(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        """The content of a file, or what of it lies between two places."""
        system, path = self._place
        content: bytes = system.cat_file(f"{path}/{name}", start=start, end=end)
        return content

    def size(self, name: str) -> int:
        """How many bytes a file has."""
        system, path = self._place
        system.invalidate_cache()
        return int(system.size(f"{path}/{name}"))

    def has(self, name: str) -> bool:
        """Whether there is a file of that name."""
        system, path = self._place
        system.invalidate_cache()
        return bool(system.exists(f"{path}/{name}"))

    def rename(self, old: str, new: str) -> None:
        """Gives a file another name."""
        system, path = self._place
        system.mv(f"{path}/{old}", f"{path}/{new}")

    def remove(self, pattern: str) -> None:
        """Removes the files whose names match."""
        system, path = self._place
        system.invalidate_cache()
        for found in system.glob(f"{path}/{pattern}"):
            system.rm_file(found)

    def names(self, pattern: str) -> list[str]:
        """The files below it whose own names match, as `trial-7/best.ckpt`: with one listing."""
        system, path = self._place
        system.invalidate_cache()
        found = (name.removeprefix(path).lstrip("/") for name in system.find(path))
        return [name for name in found if fnmatch(name.rpartition("/")[2], pattern)]

    def is_empty(self) -> bool:
        """Whether there is nothing below it."""
        system, path = self._place
        system.invalidate_cache()
        return not system.exists(path) or not system.find(path)

    def _put(self, source: Path, name: str) -> None:
        system, path = self._place
        if self.uri.partition("://")[0] not in EXTRAS:  # there it would make a bucket that is not there
            system.makedirs(path, exist_ok=True)
        system.put_file(str(source), f"{path}/{name}")


def remote_folder(root: str, name: str) -> str:
    """The address of a sweep's folder, checked: a file was written there and removed.

    Raises:
        UserError: It holds something already, or cannot be written.
    """
    protocol, _, place = root.partition("://")
    if not place.strip("/"):
        raise UserError(f"files: {root}: names no place there, as s3://bucket/sweeps does")
    if protocol == "memory":
        raise UserError(f"files: {root}: is gone with the process that writes it; name a folder or a store")
    folder = RemoteFolder(root) / name
    if rule := unwritable(folder):
        raise UserError(f"files: {masked(root)}: {rule}")
    if not folder.is_empty():
        raise UserError(f"files: {folder}: holds the files of an earlier sweep; move them away or use --name")
    return folder.uri


def unwritable(folder: RemoteFolder) -> str:
    """Why this process cannot write to a folder, "" if it can: a file was written there and removed."""
    try:
        folder.is_empty()
        with tempfile.TemporaryDirectory() as scratch:
            probe = Path(scratch) / f"probe-{uuid.uuid4().hex}"
            probe.touch()
            folder.send(probe, probe.name)
            folder.remove(probe.name)
    except ImportError:
        protocol = folder.uri.partition("://")[0]
        package = EXTRAS.get(protocol, f"fsspec's for {protocol}://")
        return f"needs another package: pip install '{package}'"
    except Exception as error:  # noqa: BLE001 - each file system has errors of its own
        return f"cannot be written: {reason_of(folder.uri, error)}"
    return ""


def reason_of(root: str, error: Exception) -> str:
    """What a file system says, in one line without passwords; of an unknown protocol the nearest one."""
    text = masked(" ".join(str(error).split())) or type(error).__name__
    if not text.startswith("Protocol not known"):
        return text[:300]
    from fsspec import available_protocols

    protocol = root.partition("://")[0]
    return f"no file system {protocol!r}{did_you_mean(protocol, available_protocols(), cutoff=0.5)}"


def fetch_best(store: str, files: Path, numbers: Sequence[int]) -> None:
    """Brings the best trials' checkpoints to this machine, for MLflow; what cannot be read stays away."""
    for number in set(numbers):
        with contextlib.suppress(Exception):  # the store has it all the same
            (RemoteFolder(store) / folder_of(number)).fetch(BEST, files / folder_of(number))


def forget(files: Path) -> None:
    """Removes what `fetch_best` brought, and the folders that are empty then."""
    for path in files.glob(f"trial-*/{BEST}"):
        path.unlink()
    for folder in [*files.glob("trial-*"), files, files.parent]:
        with contextlib.suppress(OSError):  # events wait there for MLflow
            folder.rmdir()


def show_log(folder: RemoteFolder, is_whole: Callable[[], bool]) -> None:
    """Prints a trial's log, which is sent with each checkpoint and at the end.

    Args:
        folder: The trial's.
        is_whole: Whether what is there by now is all that there will be; until then it is followed.

    Raises:
        UserError: There is none, or it cannot be read.
    """
    shown = 0
    while True:
        is_last = is_whole()
        try:
            there = folder.size(LOG)
            if there != shown:
                shown = shown if there > shown else 0  # another attempt began, elsewhere
                sys.stdout.write(folder.read(LOG, shown, there).decode("utf-8", "replace"))
        except Exception as error:  # noqa: BLE001 - each file system has errors of its own
            raise UserError(f"{folder}/{LOG}: no log yet, or it cannot be read: {error}") from None
        sys.stdout.flush()
        shown = there
        if is_last:
            return
        time.sleep(POLL_SECONDS)
