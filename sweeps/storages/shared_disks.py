"""Databases in a file on a disk that other machines share, which SQLite does not stand.

Its write-ahead log is for processes of one host (SQLite's documentation, "Write-Ahead Logging", section 1),
and its locks are those of the file system ("How To Corrupt An SQLite Database File", section 2.1).
"""

from collections.abc import Iterable
from pathlib import Path

from sweeps.storages.uris import masked, sqlite_path

SHARED = frozenset((
    "afs", "beegfs", "ceph", "cifs", "fuse.ceph", "fuse.glusterfs", "fuse.sshfs", "gfs2", "gpfs", "lustre",
    "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "smb3", "smbfs", "wekafs",
))  # fmt: skip
"""The types of file systems that several machines see at once, as Linux names them."""

MOUNTS = Path("/proc/self/mounts")


def notes(urls: Iterable[str]) -> list[str]:
    """A line for each SQLite database that other machines share; none where the system does not say."""
    found = []
    for url in dict.fromkeys(urls):
        path = sqlite_path(url)
        if path and (kind := file_system(path)) in SHARED:
            found.append(
                f"{masked(url)}: lies on {kind}, where SQLite is safe for one machine at a time: look at the "
                "sweep from the machine that runs it, or take a local disk or PostgreSQL"
            )
    return found


def file_system(path: Path) -> str:
    """The type of the file system on which a path lies, whether it exists or not; "" if nothing says so."""
    try:
        lines = [line.split() for line in MOUNTS.read_text(errors="surrogateescape").splitlines()]
    except OSError:
        return ""
    mounted = {_unescaped(point): kind for _, point, kind, *_ in lines}  # the last one lies above the others
    return next((mounted[str(folder)] for folder in path.resolve().parents if str(folder) in mounted), "")


def _unescaped(point: str) -> str:
    r"""A mount point without the escapes of getmntent(3), such as `\040` for a space."""
    for character in " \t\n\\":
        point = point.replace(f"\\{ord(character):03o}", character)
    return point
