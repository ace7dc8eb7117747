"""Databases on disks that other machines share."""

from pathlib import Path

import pytest

from sweeps.planning.places import Places
from sweeps.storages import shared_disks
from sweeps.storages.shared_disks import file_system, notes

TABLE = """\
/dev/sda1 / ext4 rw,relatime 0 0
tmpfs /tmp tmpfs rw 0 0
filer:/home /home nfs4 rw,vers=4.2 0 0
mds@o2ib:/work /scratch/my\\040group lustre rw,flock 0 0
/dev/sdb1 /home/me/fast xfs rw 0 0
"""


@pytest.fixture(autouse=True)
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mounts").write_text(TABLE)
    monkeypatch.setattr(shared_disks, "MOUNTS", tmp_path / "mounts")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        pytest.param("/home/me/sweeps.db", "nfs4", id="a home"),
        pytest.param("/home/me/fast/new/sweeps.db", "xfs", id="a disk in it"),
        pytest.param("/scratch/my group/sweeps.db", "lustre", id="a name with a space"),
        pytest.param("/homework/sweeps.db", "ext4", id="a name that begins alike"),
    ],
)
def test_the_disk_of_a_path_is_the_one_mounted_nearest_above_it(path: str, kind: str) -> None:
    assert file_system(Path(path)) == kind


def test_each_database_on_a_shared_disk_is_noted_once() -> None:
    shared = "sqlite:////home/me/sweeps.db"
    assert notes(["sqlite:////srv/sweeps.db", "postgresql://home/sweeps"]) == []
    [line] = Places(shared, shared, "", Path("files")).notes
    assert line.startswith(f"{shared}: lies on nfs4, where SQLite is safe for one machine at a time")


def test_nothing_is_said_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_disks, "MOUNTS", Path("/nowhere"))
    assert notes(["sqlite:////home/me/sweeps.db"]) == []
