"""Choices of a search space that cannot be built: told before the first trial, and they block nothing."""

import functools
import json
import os
import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from sweeps.context import Inspection
from sweeps.executors.ray import RayExecutor
from sweeps.planning.choices import choice_notes, choice_notes_of
from sweeps.planning.plan import context_of, inspect
from sweeps.start_up import make_trial_function
from sweeps.sweep_file.loading import load_spec
from sweeps.sweep_file.spec import SweepSpec
from sweeps.training.choices import SLOW_SECONDS, unbuildable
from tests import choosy
from tests.conftest import typed

DOES = "model.init_args.does"


def raw(space: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "name": "choosy", "objective": {"metric": "val_loss", "direction": "minimize"},
        "budget": {"trials": 2}, "trainer": {"max_epochs": 1, "accelerator": "cpu"},
        "model": {"class_path": "tests.choosy.Choosy"}, "data": {"class_path": "tests.modules.Data"},
        "search_space": space, "sampler": "random", "pruner": "none", "resources": {"gpus": 0},
    } | changes  # fmt: skip


def found(space: dict[str, Any], *, probe: bool = False, **changes: Any) -> list[str]:
    """What an inspection and the building of the choices say, in this process."""
    choosy.made_with.clear()
    choosy.crowded.clear()
    spec = load_spec(raw(space, **changes))
    context = context_of(spec, Path("unused"), 0.0)
    inspection = inspect(context, spec, probe)
    assert inspection.problem is None
    notes = choice_notes(context, spec, inspection, seconds=600)
    assert choosy.crowded == [], "one model at a time"
    return notes


def of(*does: str) -> dict[str, Any]:
    return {DOES: list(does)}


@pytest.mark.parametrize(
    ("does", "why"),
    [
        pytest.param("unknown", r"ValueError: unknown activation 'tan' \(choosy.py, line \d+\)", id="raises"),
        pytest.param("lines", r"ValueError: first; second\sone \(choosy.py, line \d+\)", id="many lines"),
        pytest.param("empty", r"ValueError \(choosy.py, line \d+\)", id="no text"),
        pytest.param("leave", r"SystemExit: no such thing \(choosy.py, line \d+\)", id="exits"),
        pytest.param("odd", r"Odd \(choosy.py, line \d+\)", id="has no text to give"),
        pytest.param("endless", r"ValueError: (very ){90,}.{0,5}\.\.\.", id="a very long text"),
    ],
)
def test_a_choice_that_cannot_be_built_is_named_with_the_reason_in_one_line(does: str, why: str) -> None:
    [note] = found(of("nothing", does, "other"))
    head = f"search_space.{DOES}: '{does}' cannot be built with all else at the centre: "
    assert note.startswith(head)
    assert re.fullmatch(why, note.removeprefix(head))
    assert choosy.made_with == ["nothing", does, "other"]


@pytest.mark.parametrize("does", ["invalid", "chained", "nothing at all"])
def test_what_the_code_declares_invalid_is_no_fault(does: str) -> None:
    assert found(of("nothing", does)) == []
    assert does in choosy.made_with


def test_the_centre_is_built_once_and_no_number_at_its_bounds() -> None:
    space = of("nothing", "unknown") | {"model.init_args.width": {"type": "int", "low": 2, "high": 8}}
    assert len(found(space, probe=True)) == 1
    assert choosy.made_with == ["nothing", "unknown"]
    assert len(found(space, probe=False)) == 1
    assert choosy.made_with == ["nothing", "unknown"]


BAD = [
    pytest.param(
        {"optimizer": {
            "adam": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.1}},
            "sgd": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "momentum": -1.0}},
        }},
        "search_space.optimizer: 'sgd' cannot be built with all else at the centre: "
        "ValueError: Invalid momentum value: -1.0",
        id="an optimizer",
    ),
    pytest.param(
        {"lr_scheduler": {
            "none": None,
            "once": {"class_path": "torch.optim.lr_scheduler.OneCycleLR", "init_args": {"max_lr": 0.1}},
        }},
        "search_space.lr_scheduler: 'once' cannot be built with all else at the centre: "
        "ValueError: You must define either total_steps OR (epochs AND steps_per_epoch)",
        id="a scheduler",
    ),
    pytest.param(
        {"optimizer.init_args.betas": [[0.9, 0.999], [1.5, 0.9]]},
        "search_space.optimizer.init_args.betas: [1.5, 0.9] cannot be built with all else at the centre: "
        "ValueError: Invalid beta parameter at index 0: 1.5",
        id="a list",
    ),
    pytest.param(
        {"trainer.gradient_clip_algorithm": ["norm", "nrom"]},
        "search_space.trainer.gradient_clip_algorithm: 'nrom' cannot be built with all else at the centre: "
        "MisconfigurationException: `gradient_clip_algorithm` nrom is invalid. ",
        id="the Trainer's",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("space", "note"), BAD)
def test_optimizers_schedulers_and_the_trainer_are_built_too(space: dict[str, Any], note: str) -> None:
    adam = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.1}}
    [line] = found(space, optimizer=adam)
    assert line.startswith(note)


def test_what_depends_on_a_choice_that_was_told_is_not_told_again() -> None:
    sgd = {"lr": 0.1, "momentum": -1.0, "nesterov": [True, False]}
    adam = {"lr": 0.1, "eps": [1e-8, -1.0]}
    space = {"optimizer": {
        "plain": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}},
        "sgd": {"class_path": "torch.optim.SGD", "init_args": sgd},
        "adam": {"class_path": "torch.optim.Adam", "init_args": adam},
    }}  # fmt: skip
    first, second = found(space)
    assert first.startswith("search_space.optimizer: 'sgd' cannot be built")
    assert second.startswith("search_space.optimizer.adam.init_args.eps: -1.0 cannot be built")


def test_what_a_constraint_excludes_is_not_built() -> None:
    space = of("nothing", "shallow", "unknown") | {"model.init_args.depth": [4, 1]}
    assert len(found(space)) == 2
    constraints = [f"{DOES} != 'shallow' or model.init_args.depth == 1"]
    [note] = found(space, constraints=constraints)
    assert "'unknown'" in note
    assert "shallow" not in choosy.made_with


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"constraints": [f"{DOES} != 'invalid'"]}, id="by a constraint"),
        pytest.param({}, id="by its code"),
    ],
)
def test_where_the_centre_is_excluded_the_first_valid_configuration_stands_for_it(
    changes: dict[str, Any],
) -> None:
    for probe in (False, True):
        [note] = found(of("invalid", "unknown", "nothing", "other"), probe=probe, **changes)
        assert "'unknown' cannot be built with all else as in the first valid configuration: " in note


def test_a_centre_that_cannot_be_built_is_told_alone() -> None:
    [note] = found(of("empty", "nothing", "unknown"))
    assert note.startswith("the configuration at the centre of the space cannot be built here: ValueError")
    assert choosy.made_with == ["empty"]
    [note] = found(of("invalid", "unknown", "empty", "endless"))
    assert note.startswith("the first valid configuration cannot be built here: ")


def test_no_choice_is_begun_once_the_time_is_used_and_none_beside_a_slow_centre() -> None:
    spec = load_spec(raw(of("nothing", "unknown", "empty")))
    context, points = context_of(spec, Path("unused"), 0.0), [spec.space.centre()]
    choosy.made_with.clear()
    [note] = unbuildable(context, spec, points, 0.1, seconds=0.0)
    assert "'unknown'" in note
    assert unbuildable(context, spec, points, SLOW_SECONDS + 1, seconds=600) == []
    assert choosy.made_with == ["unknown"]


def test_it_leaves_nothing_behind_and_no_choice_meets_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.chdir(tmp_path)
    before = torch.get_rng_state().tolist(), random.getstate(), dict(os.environ), torch.is_grad_enabled()
    assert found(of("nothing", "messy", "fussy", "leave", "other"))[0].count("SystemExit") == 1
    after = torch.get_rng_state().tolist(), random.getstate(), dict(os.environ), torch.is_grad_enabled()
    assert after == before
    assert torch.get_default_dtype() == torch.float32
    assert list(tmp_path.iterdir()) == []
    assert Path.cwd() == tmp_path
    assert len(choosy.Choosy.there) == 0


NOTE = (
    f"note: search_space.{DOES}: 'unknown' cannot be built with all else at the centre: "
    "ValueError: unknown activation 'tan' (choosy.py, line "
)


def written(folder: Path, space: dict[str, Any], **changes: Any) -> None:
    (folder / "choosy.yaml").write_text(yaml.safe_dump(raw(space, **changes)))
    (folder / "tests").symlink_to(Path("tests").absolute())  # modules are found beside the sweep file


def one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.usefixtures("ray_cluster")
def test_check_and_launch_say_it_alike_and_resume_not_again(tmp_path: Path) -> None:
    written(
        tmp_path, of("nothing", "unknown"), resources={"gpus": 0, "cpus": 16}, start_with=[{DOES: "nothing"}]
    )
    here = "--set", "resources.cpus=1"  # not the test's cluster
    checked = typed("check", "choosy.yaml", *here, folder=tmp_path)
    assert NOTE in one_line(checked.stdout)
    [note] = json.loads(typed("check", "choosy.yaml", *here, "--json", folder=tmp_path).stdout)["notes"]
    assert f"note: {note}".startswith(NOTE)
    launched = one_line(typed("launch", "choosy.yaml", folder=tmp_path).stdout)
    assert launched.count(NOTE) == 1
    assert launched.index(NOTE) < launched.index("[1/2]")
    resumed = typed("resume", "choosy", "--trials", "+1", folder=tmp_path)
    assert "cannot be built" not in resumed.stdout + resumed.stderr


@pytest.mark.usefixtures("ray_cluster")
def test_a_constructor_that_hangs_does_not_hold_up_a_launch_for_ever() -> None:
    spec: SweepSpec = load_spec(raw(of("nothing", "hang")))
    context = context_of(spec, Path("unused"), 0.0)
    executor = RayExecutor(functools.partial(make_trial_function, context, {}), slots=1, timeout_seconds=5.0)
    try:
        inspection = Inspection(built=spec.space.centre())
        [note] = choice_notes_of(executor, context, spec, inspection)
    finally:
        executor.close()
    assert note.startswith("search_space: building one of its choices takes too long, so ")
