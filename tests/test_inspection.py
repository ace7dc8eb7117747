"""What only the user's classes can tell, found before a sweep begins."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from search_spaces import load_space
from sweeps.context import CliCall, Inspection, TrialContext
from sweeps.training.inspection import inspect

SPACE = {"model.init_args.lr": {"type": "float", "low": 1e-3, "high": 0.1, "log": True}}


def base(**changes: Any) -> dict[str, Any]:
    config: dict[str, Any] = {
        "seed_everything": 0,
        "model": {"class_path": "tests.modules.Line"},
        "data": {"class_path": "tests.modules.Data"},
        "trainer": {"max_epochs": 3, "accelerator": "cpu"},
    }
    return config | changes


def look(
    config: dict[str, Any] | None = None, space: dict[str, Any] | None = None, *, metric: str = "val_loss",
    probe: bool = True, count: bool = False,
) -> Inspection:  # fmt: skip
    context = TrialContext(metric, True, "best", Path("unused"), (str(Path.cwd()),))
    return inspect(context, config or base(), load_space(space or SPACE), probe=probe, count=count)


def test_a_right_sweep_has_no_problem_and_shows_what_the_module_logs() -> None:
    found = look()
    assert found.problem is None
    assert found.logged == ("loss", "val/mae", "val_loss")
    assert found.batches == 8
    assert "lr: 0.01" in found.resolved
    assert "width: 4" in found.resolved  # a default of the class


def test_without_a_probe_nothing_is_trained_and_batches_are_counted_only_on_demand() -> None:
    assert look(probe=False).logged == ()
    assert look(probe=False).batches is None
    assert look(probe=False, count=True).batches == 8


def test_a_schedule_that_fits_the_length_of_the_training_only_is_no_problem() -> None:
    found = look(base(model={"class_path": "tests.habits.WarmsUp"}))
    assert found.problem is None
    assert found.batches == 8


def test_it_is_noted_where_torch_cannot_use_the_gpu_that_a_trial_has() -> None:
    assert not torch.accelerator.is_available()  # as the tests are installed
    context = TrialContext("val_loss", True, "best", Path("unused"), (str(Path.cwd()),))
    without, has_one = (inspect(replace(context, gpus=gpus), base(), load_space(SPACE)) for gpus in (0, 0.5))
    assert without.notes == ()
    [note] = has_one.notes
    assert note.startswith(f"resources.gpus: a trial has a GPU, but torch {torch.__version__} cannot use it")


def test_a_progress_bar_of_the_configuration_is_no_problem() -> None:
    bar = {"class_path": "lightning.pytorch.callbacks.RichProgressBar"}
    assert look(base(trainer={"max_epochs": 3, "callbacks": [bar], "accelerator": "cpu"})).problem is None


@pytest.mark.parametrize("probe", [True, False])
def test_batches_of_several_loaders_are_those_of_the_longest(probe: bool) -> None:
    config = base(model={"class_path": "tests.habits.OfSeveral"}, data={"class_path": "tests.habits.Several"})
    found = look(config, probe=probe, count=True)
    assert found.problem is None
    assert found.batches == 16


def optimizer(**branches: Any) -> dict[str, Any]:
    return {
        "optimizer": {
            name: {"class_path": path, "init_args": args} for name, (path, args) in branches.items()
        }
    }


LR = {"type": "float", "low": 0.1, "high": 1.0}


@pytest.mark.parametrize(
    ("config", "space", "key", "rule"),
    [
        pytest.param(
            {}, {"model.init_args.lrr": LR},
            "search_space.model.init_args.lrr",
            "Line does not accept 'lrr', did you mean 'lr'?; it accepts lr, width, name",
            id="a path that the class does not accept",
        ),
        pytest.param(
            {"model": {"class_path": "tests.modules.Line", "init_args": {"zoom": 3}}}, SPACE,
            "model.init_args.zoom", "Line does not accept 'zoom'; it accepts lr, width, name",
            id="the same in the base configuration",
        ),
        pytest.param(
            {"model": {"class_path": "tests.modules.Linee"}}, SPACE,
            "model.class_path", "module 'tests.modules' has no 'Linee', did you mean 'Line'?",
            id="a class that is not there",
        ),
        pytest.param(
            {"model": {"class_path": "tests.modules.__doc__"}}, SPACE,
            "model.class_path", "'tests.modules.__doc__' is neither a class nor a function",
            id="neither a class nor a function",
        ),
        pytest.param(
            {"model": {"class_path": "testz.modules.Line"}}, SPACE,
            "model.class_path", "'testz.modules.Line' cannot be imported: no module 'testz'",
            id="a module that is not there",
        ),
        pytest.param(
            {}, {"model.lr": LR}, "search_space.model.lr",
            "a class takes class_path and init_args: write model.init_args.lr", id="init_args left out",
        ),
        pytest.param(
            {"trainer": {"max_epoch": 3}}, SPACE, "trainer.max_epoch",
            "Trainer does not accept 'max_epoch', did you mean 'max_epochs'?; it accepts accelerator",
            id="a trainer key that is not there",
        ),
        pytest.param(
            {}, {"model.init_args.width": {"type": "float", "low": 1.5, "high": 3.5}},
            "search_space.model.init_args.width", "Expected a <class 'int'>", id="a float for an int",
        ),
        pytest.param(
            {}, {"model.init_args.width": [2, "many"]},
            "search_space.model.init_args.width", "many", id="one wrong value of a list",
        ),
        pytest.param(
            {}, optimizer(sgd=("torch.optim.SGD", {"lr": LR}), adam=("torch.optim.Adam", {"lrate": LR})),
            "search_space.optimizer.adam.init_args.lrate", "Adam does not accept 'lrate'",
            id="in the second branch of a choice",
        ),
        pytest.param(
            {}, optimizer(sgd=("torch.optim.SDG", {"lr": LR})),
            "search_space.optimizer.sgd.class_path", "has no 'SDG', did you mean 'SGD'?",
            id="a class of a branch",
        ),
        pytest.param(
            {"model": {"class_path": "tests.modules.WrongShape"}}, SPACE, "", "mat1 and mat2 shapes",
            id="shapes that do not fit",
        ),
        pytest.param(
            {"data": {"class_path": "tests.modules.MissingFile"}}, SPACE, "", "data/points.csv",
            id="a file that is missing",
        ),
        pytest.param(
            {"trainer": {"callbacks": {"class_path": "ModelCheckpoint", "init_args": {"monitor": "typo"}}}},
            SPACE, "", "`ModelCheckpoint(monitor='typo')` could not find the monitored key",
            id="a checkpoint by what is not logged",
        ),
        pytest.param(
            {"trainer": {"callbacks": [{"class_path": "Timer", "init_args": {"duration": "00:01:00:00"}}]}},
            SPACE, "", "cannot be written to a file, which LightningCLI does to each: RepresenterError: ("
            "'cannot represent an object', <Interval.step: 'step'>)",
            id="a default of Lightning's own that YAML cannot hold",
        ),
        pytest.param(
            {"model": {"class_path": "tests.modules.WithoutValidation"}},
            {"trainer.max_epochs": {"type": "int", "low": 1, "high": 3}}, "", "without a validation",
            id="no validation",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_found_with_its_key_and_rule_in_one_line(
    config: dict[str, Any], space: dict[str, Any], key: str, rule: str
) -> None:
    found = look(base(**config), space)
    assert found.problem is not None
    assert found.problem[0] == key
    assert rule in found.problem[1]
    assert "\n" not in found.problem[1]


def test_a_class_may_be_named_by_the_command_lines_own_default_file(tmp_path: Path) -> None:
    defaults = tmp_path / "defaults.yaml"
    defaults.write_text("model: {class_path: tests.modules.Line, init_args: {width: 7}}")
    call = CliCall(keywords={"parser_kwargs": {"default_config_files": [str(defaults)]}})
    context = TrialContext("val_loss", True, "best", Path("unused"), (str(Path.cwd()),), cli=call)
    config = base()
    del config["model"]
    found = inspect(context, config, load_space(SPACE), probe=True)
    assert found.problem is None
    assert "width: 7" in found.resolved


def test_an_unknown_metric_lists_what_was_logged() -> None:
    found = look(metric="val_los")
    assert found.problem == (
        "objective.metric",
        "the module did not log 'val_los' by the end of a validation; "
        "it logged loss, val/mae, val_loss, did you mean 'val_loss'?",
    )


def test_an_error_in_the_users_code_names_the_place() -> None:
    found = look(base(data={"class_path": "tests.modules.MissingFile"}))
    assert found.problem is not None
    assert "FileNotFoundError" in found.problem[1]
    assert "(modules.py, line " in found.problem[1]


def test_a_users_module_that_fails_at_import_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_module.py").write_text("import not_installed_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = look(base(model={"class_path": "broken_module.Model"}))
    assert found.problem == (
        "model.class_path",
        "'broken_module.Model' cannot be imported: broken_module imports 'not_installed_anywhere', "
        "which is not installed",
    )


def test_it_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.chdir(tmp_path)
    state = torch.get_rng_state().tolist()
    own = {
        "class_path": "ModelCheckpoint",
        "init_args": {"dirpath": str(tmp_path / "mine"), "save_last": "link"},
    }
    found = look(base(trainer={"max_epochs": 3, "callbacks": [own], "accelerator": "cpu"}))
    assert found.problem is None
    assert list(tmp_path.iterdir()) == []
    assert torch.get_rng_state().tolist() == state
