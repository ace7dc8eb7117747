"""The sweep's folder: which trials keep their checkpoints, and which folder a sweep may have."""

import os
from pathlib import Path

import pytest

from sweeps.errors import UserError
from sweeps.files import TrialFiles, sweep_folder
from sweeps.records import Again, Outcome, Report, State
from sweeps.remote import RemoteFolder
from tests import fakes

CHECKPOINTS = ("best.ckpt", "last.ckpt", "previous.ckpt", "new.ckpt")


def written(folder: Path, number: int) -> None:
    """What a trial writes."""
    (folder / f"trial-{number}").mkdir()
    for name in (*CHECKPOINTS, "log.txt"):
        (folder / f"trial-{number}" / name).touch()


def ended(files: TrialFiles, number: int, value: float | None, state: State = State.COMPLETE) -> None:
    """A trial that wrote its log and checkpoints, and ends."""
    written(files.folder, number)
    files.record(Outcome(number, state, value))


def kept(folder: Path) -> list[int]:
    """The trials that have all their checkpoints; a trial has all or none, and its log in any case."""
    numbers = []
    for trial in folder.iterdir():
        names = {path.name for path in trial.iterdir()}
        assert names in ({"log.txt"}, {"log.txt", *CHECKPOINTS})
        if len(names) > 1:
            numbers.append(int(trial.name.removeprefix("trial-")))
    return sorted(numbers)


VALUES = [3.0, 1.0, 2.0, 5.0, 1.0, 4.0]


@pytest.mark.parametrize(
    ("keep", "minimize", "expected"),
    [
        pytest.param(1, True, [1], id="the smallest, the earlier of two"),
        pytest.param(2, True, [1, 4], id="the two smallest"),
        pytest.param(3, True, [1, 2, 4], id="the three smallest"),
        pytest.param(1, False, [3], id="the largest"),
        pytest.param(2, False, [3, 5], id="the two largest"),
        pytest.param(9, True, [0, 1, 2, 3, 4, 5], id="more than there are"),
        pytest.param(0, True, [], id="none"),
    ],
)
def test_only_the_best_trials_keep_their_checkpoints(
    tmp_path: Path, keep: int, minimize: bool, expected: list[int]
) -> None:
    objective = {"metric": "loss", "direction": "minimize" if minimize else "maximize"}
    files = TrialFiles(tmp_path, fakes.spec(objective=objective).objectives, keep=keep)
    for number, value in enumerate(VALUES):
        ended(files, number, value)
    assert kept(tmp_path) == expected


def test_of_equal_trials_the_lower_number_is_kept_whichever_ends_first(tmp_path: Path) -> None:
    files = TrialFiles(tmp_path, fakes.spec().objectives)
    ended(files, 5, 1.0)
    ended(files, 2, 1.0)
    ended(files, 7, 1.0)
    assert kept(tmp_path) == [2]


@pytest.mark.parametrize("state", [State.PRUNED, State.DIVERGED])
def test_a_trial_that_is_not_complete_loses_its_checkpoints_however_good_it_was(
    tmp_path: Path, state: State
) -> None:
    files = TrialFiles(tmp_path, fakes.spec().objectives, keep=5)
    ended(files, 0, 2.0)
    ended(files, 1, 0.1, state)
    assert kept(tmp_path) == [0]


def test_reports_and_assignments_remove_nothing_and_missing_files_are_no_error(tmp_path: Path) -> None:
    files = TrialFiles(tmp_path, fakes.spec().objectives)
    ended(files, 0, 2.0)
    files.record(Report(1, 1, 0.5))
    files.record(fakes.assignment(1))
    files.record(Outcome(1, State.FAILED))
    assert kept(tmp_path) == [0]


def test_what_cannot_be_removed_does_not_end_the_sweep(tmp_path: Path) -> None:
    (tmp_path / "trial-0" / "best.ckpt").mkdir(parents=True)
    TrialFiles(tmp_path, fakes.spec().objectives).record(Outcome(0, State.PRUNED))
    assert (tmp_path / "trial-0" / "best.ckpt").is_dir()


def test_a_sweeps_folder_is_absolute_and_not_yet_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sweep_folder("a/b", "test") == tmp_path / "a" / "b" / "test"
    assert list(tmp_path.iterdir()) == []


def test_a_trial_has_begun_once_a_worker_has_written_something_of_it(tmp_path: Path, bucket: str) -> None:
    objectives = fakes.spec().objectives
    here, there = TrialFiles(tmp_path, objectives), TrialFiles(tmp_path, objectives, store=bucket)
    (tmp_path / "log.txt").touch()
    (tmp_path / "trial-0").mkdir()
    RemoteFolder(f"{bucket}/trial-1").send(tmp_path / "log.txt", "log.txt")
    assert [here.has_begun(number) for number in range(2)] == [True, False]
    assert [there.has_begun(number) for number in range(2)] == [False, True]
    away = TrialFiles(tmp_path, objectives, store="no-such-protocol://bucket")
    assert away.has_begun(0)  # nobody can tell, and there may be a checkpoint


def test_an_empty_folder_may_be_there(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    assert sweep_folder(str(tmp_path), "test") == tmp_path / "test"


def test_a_folder_with_an_earlier_sweep_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test" / "trial-0").mkdir(parents=True)
    with pytest.raises(UserError, match=r"holds the files of an earlier sweep; .* --name$"):
        sweep_folder(str(tmp_path), "test")


@pytest.mark.parametrize("in_the_way", ["files", "files/test"])
def test_a_file_in_the_way_is_named(tmp_path: Path, in_the_way: str) -> None:
    file = tmp_path / in_the_way
    file.parent.mkdir(exist_ok=True)
    file.touch()
    with pytest.raises(UserError, match="is a file, not a folder; `files:` names another"):
        sweep_folder(str(tmp_path / "files"), "test")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere: permissions are not enforced")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="no permission to write there; `files:` names another"):
        sweep_folder(str(tmp_path), "test")


def test_a_failed_trials_checkpoints_go_at_once_and_those_of_one_tried_again_stay(tmp_path: Path) -> None:
    files = TrialFiles(tmp_path, fakes.spec().objectives, keep=5)
    written(tmp_path, 1)
    files.record(Again(1, 1, "", "gone"))
    ended(files, 0, None, State.FAILED)
    assert kept(tmp_path) == [1]


OUTCOMES = [
    Outcome(0, State.COMPLETE, 3.0),
    Outcome(1, State.COMPLETE, 1.0),
    Outcome(2, State.PRUNED, 0.5),
    Outcome(3, State.FAILED),
]


def test_what_an_earlier_driver_left_of_trials_that_ended_is_removed(tmp_path: Path) -> None:
    for number in range(5):
        written(tmp_path, number)
    files = TrialFiles(tmp_path, fakes.spec().objectives)
    files.adopt(OUTCOMES)
    assert kept(tmp_path) == [1, 4]  # the last one goes on
    files.record(Outcome(4, State.COMPLETE, 0.7))
    assert kept(tmp_path) == [4]


def test_a_store_is_listed_once_for_all_trials_that_ended(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for number in (1, 2, 4):
        for name in ("best.ckpt", "log.txt"):
            (RemoteFolder(bucket) / f"trial-{number}").send(tmp_path / "file", name)
    removed: list[str] = []
    remove = RemoteFolder.remove
    monkeypatch.setattr(RemoteFolder, "remove", lambda s, p: (removed.append(s.uri), remove(s, p))[1])
    TrialFiles(tmp_path, fakes.spec().objectives, store=bucket).adopt(OUTCOMES)
    assert removed == [f"{bucket}/trial-2"]
    left = ["trial-1/best.ckpt", "trial-4/best.ckpt"]
    assert sorted(RemoteFolder(bucket).names("*.ckpt*")) == left
