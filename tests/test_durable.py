"""What must be on the disk before it replaces something, and what is left of what was damaged."""

import os
from pathlib import Path

import pytest

from sweeps.checkpoints import BEST, LAST, PREVIOUS, Saver
from sweeps.journal import Journal
from sweeps.records import Started
from sweeps.remote import RemoteFolder
from sweeps.storage import write_ahead_log
from tests.test_resume import curve, train


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What is synced and renamed from now on, in order."""
    seen: list[tuple[str, ...]] = []
    fsync, replace, unlink = os.fsync, Path.replace, Path.unlink

    def synced(handle: int) -> None:
        seen.append(("sync", Path(f"/proc/self/fd/{handle}").readlink().name))
        fsync(handle)

    def renamed(path: Path, target: Path) -> Path:
        seen.append(("rename", path.name, target.name))
        return replace(path, target)

    def removed(path: Path, missing_ok: bool = False) -> None:
        seen.append(("remove", path.name))
        unlink(path, missing_ok)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    monkeypatch.setattr(Path, "unlink", removed)
    return seen


def test_a_checkpoint_is_on_the_disk_before_it_gets_its_names_and_the_names_afterwards(
    tmp_path: Path, steps: list[tuple[str, ...]]
) -> None:
    saver = Saver(tmp_path)
    for validation in (1, 2):
        saver._write(b"%d" % validation, validation, is_best=True)
    saver.close()
    new = steps[0][1]
    second = [step for step in steps[steps.index(("sync", tmp_path.name)) + 1 :] if step[0] != "remove"]
    assert second == [
        ("sync", new), ("rename", f"{new}-best", BEST), ("rename", LAST, PREVIOUS), ("rename", new, LAST),
        ("sync", tmp_path.name),
    ]  # fmt: skip
    assert [(tmp_path / name).read_text() for name in (BEST, LAST, PREVIOUS)] == ["2", "2", "1"]


def test_events_leave_the_journal_when_the_study_has_them_on_its_disk(
    tmp_path: Path, steps: list[tuple[str, ...]]
) -> None:
    beside = write_ahead_log(f"sqlite:///{tmp_path}/sweeps.db")
    assert beside is not None
    beside.touch()
    written = Journal(tmp_path / "journal", beside)
    written.append(Started(0, 1.0))
    number = written.turn()
    written.append(Started(1, 2.0))
    written.sync()
    written.drop(number)
    file = f"{number:08}.jsonl"
    assert steps == [("sync", file), ("sync", "journal"), ("sync", "sweeps.db-wal"), ("remove", file)]
    assert [event.number for event in Journal(tmp_path / "journal").left()] == [1]
    assert write_ahead_log("postgresql://host/database") is None


def test_two_checkpoints_that_are_damaged_in_a_row_leave_a_third(tmp_path: Path) -> None:
    """The first is found out when the trial goes on, the second after it has saved once."""
    expected, _ = train(tmp_path / "whole")
    train(tmp_path, at_answer=3)
    last = tmp_path / "trial-0" / LAST
    damage(last)
    again, _ = train(tmp_path, attempt=1, known_step=3, at_answer=3)
    damage(last)
    reports, outcome = train(tmp_path, attempt=2, known_step=3)
    assert outcome is not None
    # From the checkpoint of validation 2 both times; what is known is left to those who know it.
    assert [curve(found)[0][0] for found in (again, reports)] == [3, 3]
    assert curve(reports) == curve(expected)[2:]


def damage(path: Path) -> None:
    """Cuts a file short."""
    os.truncate(path, path.stat().st_size // 2)


def test_a_damaged_checkpoint_in_a_store_takes_no_other_ones_place(tmp_path: Path) -> None:
    store = RemoteFolder(f"file://{tmp_path}/store")
    source = tmp_path / LAST
    for content in ("first", "second"):
        source.write_text(content)
        store.send_checkpoint(source, is_best=False)
    source.write_text("third")
    store.send_checkpoint(source, is_best=False, replaces=False)
    assert [store.read(name) for name in (LAST, PREVIOUS)] == [b"third", b"first"]
