"""A sweep that is resumed in another folder, or whose folder was moved since, is the same sweep."""

from pathlib import Path
from typing import Any

import optuna
import pytest

from sweeps.driver import drive
from sweeps.errors import NothingLeft, UserError
from sweeps.executors.scripted import ScriptedExecutor
from sweeps.planning.places import ensure_files, places_of_study
from sweeps.planning.plan import context_of
from sweeps.planning.resumption import continued, notes_of
from sweeps.provenance import run_with
from sweeps.storages.storage import open_storage
from sweeps.study.persistence import create_study, load_study, loaded_spec
from sweeps.sweep_file.spec import SweepSpec
from tests import fakes


def launched(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> SweepSpec:
    """Makes the study of a sweep that was launched there, with its folder; MLflow's database is elsewhere."""
    uri = f"sqlite:///{folder.parent}/mlflow.db"
    spec = fakes.spec(budget={"trials": 3}, tracking_uri=uri, **changes)
    files = folder / "sweep-files" / "test"
    files.mkdir(parents=True)
    monkeypatch.chdir(folder)
    mlflow = {"tracking_uri": uri, "experiment": "test", "key": "key", "artifacts": str(folder.parent / "a")}
    notes = {"files": str(files), "spool": str(files), "mlflow": mlflow}
    create_study(spec, open_storage(f"sqlite:///{folder}/sweeps.db"), validations=4, notes=notes)
    return spec


def found(folder: Path) -> tuple[optuna.Study, str]:
    url = f"sqlite:///{folder}/sweeps.db"
    return load_study("test", url), url


@pytest.fixture
def was(tmp_path: Path) -> Path:
    return tmp_path / "p"


@pytest.fixture
def now(tmp_path: Path) -> Path:
    return tmp_path / "q"


def test_the_files_of_a_folder_that_was_moved_are_found_beside_the_database_and_stay_found(
    was: Path, now: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = launched(was, monkeypatch)
    was.rename(now)
    (now / "sweep-files" / "test" / "trial-0").mkdir()  # what a driver before had begun
    monkeypatch.chdir(now)
    study, url = found(now)
    study.ask().report(0.5, 1)
    url = url.replace("/q/", "/q/../q/")  # as one may type it
    where, there = places_of_study(study, spec, url), now / "sweep-files" / "test"
    assert where.files == there
    gone = f"{was}, where it was launched, is not there any more"
    assert notes_of(study, loaded_spec(study), where) == [
        f"{was}/sweep-files/test is not there any more; its files are in {there}",
        f"{gone}, so relative paths of its configuration start in {now}",
    ]
    drive(study, spec, where, ScriptedExecutor(fakes.falling), [], resumed_with=run_with("."))
    assert not was.exists()
    assert (study.user_attrs["files"], study.user_attrs["spool"]) == (str(there), str(there))
    assert study.get_trials()[0].user_attrs["attempt"] == 1


@pytest.mark.parametrize("ended", [False, True], ids=["a trial that is to go on", "the best"])
def test_a_sweep_without_the_checkpoints_that_it_needs_says_so(
    was: Path, now: Path, monkeypatch: pytest.MonkeyPatch, *, ended: bool
) -> None:
    spec = launched(was, monkeypatch)
    was.rename(now)
    (now / "sweep-files").rename(now / "others")
    monkeypatch.chdir(now)
    study, url = found(now)
    files = was / "sweep-files" / "test"
    where = places_of_study(study, spec, url)
    assert where.files == files
    ensure_files(study, spec, where)  # nothing of it is needed yet
    trial = study.ask()
    trial.report(0.5, 1)
    if ended:
        study.tell(trial, 0.5)
    held = "the checkpoint of the best trial" if ended else "the checkpoint of trial 0, which is to go on"
    with pytest.raises(UserError) as caught:
        continued(study, url, None, None, print)
    assert str(caught.value) == (
        f"test: {files}, which held {held}, is not there any more; put it back, or a link to what it is now, "
        f"such as: ln -s {now} {was}; without it the sweep goes on after: mkdir -p {files}"
    )
    files.mkdir(parents=True)
    assert continued(study, url, None, None, print)[1].files == files


def test_what_keeps_no_checkpoint_of_the_best_lacks_none(
    was: Path, now: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = launched(was, monkeypatch, keep_checkpoints=0)
    was.rename(now)
    (now / "sweep-files").rename(now / "others")
    study, url = found(now)
    study.tell(study.ask(), 0.5)
    assert continued(study, url, None, None, print)[1].files == was / "sweep-files" / "test"
    assert spec.keep_checkpoints == 0


def test_a_sweep_at_its_end_needs_no_checkpoints_to_say_so(
    was: Path, now: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched(was, monkeypatch)
    (was / "sweep-files").rename(now)
    study, url = found(was)
    for _ in range(3):
        study.tell(study.ask(), 0.5)
    study.set_user_attr("sweep_state", "finished")
    with pytest.raises(NothingLeft, match="its budget of 3 trials is used"):
        continued(study, url, None, None, print)
    with pytest.raises(UserError, match=f"such as: ln -s WHAT-IT-IS-NOW {was}/sweep-files; without it"):
        continued(study, url, "+1", None, print)


def test_relative_paths_start_where_it_was_launched_while_that_is_there(
    was: Path, now: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched(was, monkeypatch)
    now.mkdir()
    monkeypatch.chdir(now)
    study, _ = found(was)
    spec = loaded_spec(study)
    assert context_of(spec, now, 0.0).start == str(was)
    assert spec.folders == [str(was)]
    was.rename(was.parent / "r")
    study, _ = found(was.parent / "r")
    spec = loaded_spec(study)
    assert context_of(spec, now, 0.0).start == str(now)
    assert spec.folders == [str(now)]


def test_modules_are_looked_for_beside_the_file_and_then_where_it_was_launched(
    was: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    was.mkdir()
    spec = fakes.spec().model_copy(update={"file": str(was / "a" / "moons.yaml"), "start": str(was)})
    monkeypatch.chdir(was.parent)
    assert spec.folders == [str(was / "a"), str(was)]
