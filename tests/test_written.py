"""A resumption says what of the sweep file was edited since the launch, and nothing else."""

from pathlib import Path

import pytest

from sweeps.planning.resumption import notes_of
from sweeps.storages.storage import open_storage
from sweeps.study.persistence import create_study, load_study, loaded_spec
from sweeps.study.study import Study
from sweeps.sweep_file.loading import load_spec
from tests import fakes
from tests.live_sweeps import places_in

FILE = """
objective: {metric: loss, direction: minimize}
budget: {trials: 9}
model: {class_path: Model, init_args: {depth: 2}}
trainer: {max_epochs: 4}
tracking_uri: http://me:secret@host:5000
include: space.yaml
search_space:
  model.init_args.x: {type: float, low: 0.0, high: 1.0}
"""
SPACE = "model.init_args.y: {type: int, low: 1, high: 3}\n"


KEYS, _, SEARCHED = FILE.partition("include:")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.yaml").write_text(SPACE)
    path = tmp_path / "moons.yaml"
    path.write_text(FILE)
    return path


def launched(file: Path, *overrides: str) -> Study:
    """The study of a sweep that was launched in the file's folder."""
    where = places_in(file.parent)
    spec = load_spec(file.name, overrides=overrides, **{"name": "another", "budget.trials": 5})
    notes = {"spool": str(where.files)}
    return Study(create_study(spec, open_storage(where.storage), validations=4, notes=notes), spec)


def notes(folder: Path) -> list[str]:
    study = load_study("another", places_in(folder).storage)
    return notes_of(study, loaded_spec(study), places_in(folder))


def test_what_was_edited_is_said_with_its_keys(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launched(file)
    edited = FILE.replace("max_epochs: 4", "max_epochs: 400").replace("high: 1.0", "high: 2.0")
    file.write_text(edited.replace("depth: 2", "width: 3") + "trial_timeout: 60\n")
    monkeypatch.chdir("/")
    [note] = notes(file.parent)
    assert note == (
        "moons.yaml has changed since the launch (model.init_args.depth, model.init_args.width, "
        "trainer.max_epochs, search_space.model.init_args.x, trial_timeout): the stored one holds; "
        "launch it under another `--name`"
    )


def test_so_is_a_file_that_it_names(file: Path) -> None:
    launched(file)
    (file.parent / "space.yaml").write_text(SPACE.replace("3", "30"))
    [note] = notes(file.parent)
    assert note.startswith("moons.yaml has changed since the launch (search_space.model.init_args.y): ")


def test_of_many_keys_the_first_are_named(file: Path) -> None:
    launched(file)
    more = "".join(f"  model.init_args.z{number}: [1, 2]\n" for number in range(9))
    file.write_text(FILE + more)
    assert "model.init_args.z4 and 4 more): " in notes(file.parent)[0]


@pytest.mark.parametrize(
    ("edited", "overrides"),
    [
        pytest.param(FILE, [], id="nothing"),
        pytest.param(FILE, ["trainer.max_epochs=7", "search_space.model.init_args.x.high=3"], id="overrides"),
        pytest.param("\n".join(["# why", *reversed(KEYS.splitlines()), f"include:{SEARCHED}"]), [],
                     id="comments and order"),
        pytest.param(FILE.replace("secret", "other"), [], id="a secret"),
        pytest.param(FILE + "keep_checkpoints: 1\nretries: {exceptions: 0}\n", [], id="defaults"),
    ],
)  # fmt: skip
def test_nothing_else_is_said(file: Path, edited: str, overrides: list[str]) -> None:
    study = launched(file, *overrides)
    study.change(budget=study.budget.model_copy(update={"trials": 100, "hours": 3.0}), concurrency=2)
    file.write_text(edited)
    assert notes(file.parent) == []


def test_a_file_that_is_gone_says_nothing_and_one_that_is_broken_its_mistake(file: Path) -> None:
    launched(file)
    file.write_text(FILE.replace("trials: 9", "trails: 9"))
    [note] = notes(file.parent)
    assert note.startswith(f"{file}: budget.trails: unknown key, did you mean 'trials'?")
    assert note.endswith("; the file has changed since the launch: the stored one holds")
    file.unlink()
    assert notes(file.parent) == []


def test_what_another_version_kept_of_the_file_is_not_compared(file: Path) -> None:
    study = fakes.optuna_study(launched(file))
    study.set_user_attr("written", study.user_attrs["written"] | {"pruning": "median"})
    assert notes(file.parent) == []


def test_a_file_that_is_whole_only_with_its_command_is_not_compared(file: Path) -> None:
    file.write_text(FILE.replace("objective: {metric: loss, direction: minimize}\n", ""))
    launched(file, "objective={metric: loss, direction: minimize}")
    file.write_text(FILE)
    assert notes(file.parent) == []
