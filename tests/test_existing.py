"""What a sweep file takes from an existing project, before any class is imported."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightning.pytorch.cli import LightningCLI

from sweeps.context import CliCall
from sweeps.errors import SpecError
from sweeps.study.persistence import stored_spec
from sweeps.sweep_file.existing import CLI_KEYWORDS, LONG_KEYWORDS, merged
from sweeps.sweep_file.loading import load_spec
from sweeps.sweep_file.spec import SweepSpec

CONFIG: dict[str, Any] = {
    "seed_everything": 5,
    "model": {"class_path": "my.Net", "init_args": {"width": 4, "lr": 0.1}},
    "data": {"class_path": "my.Data"},
    "trainer": {"max_epochs": 9, "callbacks": [{"class_path": "a.B", "init_args": {"x": 1}}]},
}


def loaded(folder: Path, base: Any = CONFIG, overrides: tuple[str, ...] = (), **changes: Any) -> SweepSpec:
    """A sweep file without a model, whose `config` is a file in a folder beside it."""
    (folder / "configs").mkdir(exist_ok=True)
    (folder / "configs" / "base.yaml").write_text(yaml.safe_dump(base))
    raw = {
        "objective": {"metric": "val/loss", "direction": "minimize"},
        "budget": {"trials": 2},
        "config": "configs/base.yaml",
        "search_space": {"model.init_args.width": [2, 4]},
    }
    (folder / "sweep.yaml").write_text(yaml.safe_dump(raw | changes))
    return load_spec(folder / "sweep.yaml", overrides=overrides)


def mistake(folder: Path, *arguments: Any, **changes: Any) -> SpecError:
    with pytest.raises(SpecError) as caught:
        loaded(folder, *arguments, **changes)
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_configuration_is_the_base_and_the_sweep_files_keys_win(tmp_path: Path) -> None:
    spec = loaded(tmp_path, model={"init_args": {"lr": 0.5}}, trainer={"devices": 1}, seed_everything=8)
    assert spec.base == {
        "seed_everything": 8,
        "trainer": CONFIG["trainer"] | {"devices": 1},
        "model": {"class_path": "my.Net", "init_args": {"width": 4, "lr": 0.5}},
        "data": {"class_path": "my.Data"},
    }


def test_overrides_reach_into_the_configuration_and_choose_another(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("model: my.Other\ntrainer: {callbacks: [{class_path: a.C}]}\n")
    spec = loaded(tmp_path, overrides=("trainer.callbacks.0.init_args.x=7",))
    assert spec.trainer["callbacks"][0]["init_args"] == {"x": 7}
    spec = loaded(tmp_path, overrides=("trainer.max_epochs=2", "config=other.yaml"))
    assert spec.model == {"class_path": "my.Other"}
    assert spec.trainer == {"callbacks": [{"class_path": "a.C"}], "max_epochs": 2}


def test_the_study_goes_on_without_the_file(tmp_path: Path) -> None:
    spec = loaded(tmp_path, CONFIG | {"experiment": "x"}, cli="my.CLI", extra={"a": 1})
    (tmp_path / "configs" / "base.yaml").unlink()
    again = load_spec(stored_spec(spec))
    assert again.base == spec.base
    assert again.base["experiment"] == "x"
    assert again.base["extra"] == {"a": 1}
    assert again.cli_call == CliCall("my.CLI")


def test_what_fit_saves_beside_the_configuration_is_ignored_with_a_note(tmp_path: Path) -> None:
    resting = {"enable_progress_bar": None, "num_sanity_val_steps": None, "devices": "auto", "logger": None}
    saved = CONFIG | {"ckpt_path": "a.ckpt", "weights_only": None, "optimizer": None, "trainer": resting}
    spec = loaded(tmp_path, {"config": ["other.yaml"], **CONFIG})
    assert spec.notes == ("configs/base.yaml: config is ignored, name one configuration only",)
    for config in (saved, {"fit": saved}, {"subcommand": "fit", "fit": saved}):
        spec = loaded(tmp_path, config)
        assert spec.notes == ("configs/base.yaml: ckpt_path is ignored, each trial starts afresh",)
        assert spec.base.keys() == CONFIG.keys()
        assert spec.trainer == {"logger": None}


@pytest.mark.parametrize(
    ("base", "over", "expected"),
    [
        pytest.param({"a": 1, "b": {"c": 2}}, {"b": {"d": 3}}, {"a": 1, "b": {"c": 2, "d": 3}}, id="deep"),
        pytest.param([1, 2], [3], [3], id="a list as a whole"),
        pytest.param({"a": 1}, None, None, id="null takes away"),
        pytest.param({"callbacks": [1]}, {"callbacks+": [2]}, {"callbacks": [1, 2]}, id="more of a list"),
        pytest.param({"callbacks": 1}, {"callbacks+": 2}, {"callbacks": [1, 2]}, id="one more than one"),
        pytest.param({"x": 1}, {"callbacks+": 2}, {"x": 1, "callbacks": [2]}, id="more than none"),
        pytest.param({"c": 1}, {"c+": 2}, {"c": 1, "c+": 2}, id="a name that ends like that"),
        pytest.param({"class_path": "A", "init_args": {"x": 1}}, {"class_path": "B"}, {"class_path": "B"},
                     id="another class drops the arguments"),
        pytest.param({"class_path": "A", "init_args": {"x": 1}}, {"class_path": "A", "init_args": {"y": 2}},
                     {"class_path": "A", "init_args": {"x": 1, "y": 2}}, id="the same class keeps them"),
    ],
)  # fmt: skip
def test_configurations_are_merged_key_by_key(base: Any, over: Any, expected: Any) -> None:
    before = repr((base, over))
    assert merged(base, over) == expected
    assert repr((base, over)) == before


def test_a_class_without_arguments_is_merged_as_if_written_out(tmp_path: Path) -> None:
    assert loaded(tmp_path, model="my.Net").model == CONFIG["model"]
    assert loaded(tmp_path, {"model": "my.Net"}, model={"init_args": {"lr": 1}}).model == {
        "class_path": "my.Net",
        "init_args": {"lr": 1},
    }


def test_callbacks_may_be_added_to_those_of_the_configuration_and_searched(tmp_path: Path) -> None:
    theirs, ours = {"class_path": "my.EMA"}, {"class_path": "EarlyStopping", "init_args": {"patience": 3}}
    path = "trainer.callbacks.1.init_args.patience"
    space = {path: {"type": "int", "low": 2, "high": 8}}
    spec = loaded(
        tmp_path,
        CONFIG | {"trainer": {"callbacks": [theirs]}},
        trainer={"callbacks+": [ours]},
        search_space=space,
    )
    assert spec.trainer["callbacks"] == [theirs, ours]
    for changes in ({"config": None}, {}):  # neither has any
        other = loaded(tmp_path, {"data": "my.Data"}, model="my.Net", trainer={"callbacks+": ours}, **changes)
        assert other.trainer["callbacks"] == [ours]
    assert spec.space.configure(spec.base, {path: 5})["trainer"]["callbacks"][1]["init_args"] == {
        "patience": 5
    }


def test_own_keys_may_be_called_like_a_sweeps_in_a_configuration(tmp_path: Path) -> None:
    spec = loaded(tmp_path, CONFIG | {"name": "theirs"}, cli="my.CLI")
    assert (spec.name, spec.base["name"]) == ("sweep", "theirs")


@pytest.mark.parametrize(
    ("changes", "call"),
    [
        pytest.param({}, CliCall(), id="LightningCLI itself"),
        pytest.param({"cli": "my.CLI"}, CliCall("my.CLI"), id="a class"),
        pytest.param({"cli": {"model": "a.B", "run": False}}, CliCall("", {"model": "a.B", "run": False}),
                     id="keywords"),
        pytest.param({"cli": {"model_class": "my.Net", "datamodule_class": "my.Data"}},
                     CliCall("", {"model": "my.Net", "data": "my.Data"}), id="their long names"),
        pytest.param({"cli": {"class_path": "my.CLI", "flavour": 3}}, CliCall("my.CLI", {"flavour": 3}),
                     id="a class with keywords of its own"),
    ],
)  # fmt: skip
def test_a_command_line_is_described_by_plain_data(
    tmp_path: Path, changes: dict[str, Any], call: CliCall
) -> None:
    assert loaded(tmp_path, **changes).cli_call == call


def test_the_seed_of_the_keywords_is_the_sweeps(tmp_path: Path) -> None:
    cli = {"model": "my.Net", "seed_everything_default": 11}
    assert loaded(tmp_path, {}, cli=cli).seed_everything == 11
    assert loaded(tmp_path, cli=cli).seed_everything == 5
    assert loaded(tmp_path, {}, cli="my.CLI").seed_everything == 0


def test_every_keyword_of_lightningcli_is_known() -> None:
    taken = inspect.signature(LightningCLI.__init__).parameters.keys() - {"self"}
    assert {LONG_KEYWORDS.get(name, name) for name in taken} == set(CLI_KEYWORDS)


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        pytest.param({"config": "configs/bse.yaml"}, "config",
                     "there is no file configs/bse.yaml, did you mean 'base.yaml'?", id="no such file"),
        pytest.param({"config": "configs"}, "config", "configs: cannot be read", id="a folder"),
        pytest.param({"config": ["a.yaml", "b.yaml"]}, "config",
                     "`fit --config a.yaml --config b.yaml --print_config > base.yaml`", id="several files"),
        pytest.param({"config": [1]}, "config", "the path of a LightningCLI configuration, but got [1]",
                     id="no path"),
        pytest.param({"config": {"fit": 3}}, "config", "`fit` must be a mapping", id="a subcommand"),
        pytest.param({"config": {"model": "a.B", "modl": 3}}, "config.modl",
                     "LightningCLI has no key 'modl', did you mean 'model'?", id="an unknown key"),
        pytest.param({"config": {"model": "a.B", "zz": 3}}, "config.zz", "`cli: my_project.cli.MyCLI`",
                     id="a key of a command line that is not named"),
        pytest.param({"config": {"model": 3}}, "model", "mapping", id="a model that is a number"),
        pytest.param({"cli": 3}, "cli", "the path of your LightningCLI class, or a mapping", id="a number"),
        pytest.param({"cli": {}}, "cli", "is empty", id="no keyword"),
        pytest.param({"cli": {"modle": "a.B"}}, "cli.modle", "did you mean 'model'?", id="a wrong keyword"),
        pytest.param({"cli": "MyCLI"}, "cli.class_path", "must be a class path", id="no module"),
        pytest.param({"cli": {"model": {"class_path": "a"}}}, "cli.model", "must be a class path",
                     id="a class that is a mapping"),
        pytest.param({"cli": {"model": "a.B", "subclass_mode_data": "maybe"}}, "cli.subclass_mode_data",
                     "must be true or false, but got 'maybe'", id="a switch"),
        pytest.param({"notes": ["a"]}, "notes", "unknown key", id="a key that only the program sets"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(tmp_path: Path, changes: dict[str, Any], key: str, words: str) -> None:
    error = mistake(tmp_path, **changes)
    assert error.key == key
    assert words in error.rule


def test_a_wrong_key_beside_a_command_line_is_offered_for_the_one_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec({"cli": "my.CLI", "name": "a", "objective": {"metric": "m", "direction": "minimize"},
                   "budget": {"trials": 1}, "serach_space": {}})  # fmt: skip
    assert str(caught.value) == "search_space: is missing; is 'serach_space' meant for it?"


def test_a_configuration_that_is_no_mapping_says_what_it_is(tmp_path: Path) -> None:
    assert "configs/base.yaml holds a list" in mistake(tmp_path, [1, 2]).rule
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    assert "broken.yaml: line " in mistake(tmp_path, config="broken.yaml").rule


SPACE = {"model.init_args.width": {"type": "int", "low": 2, "high": 8}}


def test_ready_made_spaces_come_first_and_the_sweep_files_keys_win(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("model.init_args.depth: [1, 2]\nmodel.init_args.width: [3, 4]\n")
    spec = loaded(tmp_path, include=["adamw", "sgd", "mine.yaml"], search_space=SPACE)
    assert spec.search_space["model.init_args.width"] == SPACE["model.init_args.width"]
    assert list(spec.search_space) == ["optimizer", "model.init_args.depth", "model.init_args.width"]
    assert list(spec.search_space["optimizer"]) == ["adamw", "sgd"]
    (tmp_path / "mine.yaml").unlink()
    assert load_spec(stored_spec(spec)).search_space == spec.search_space
    assert loaded(tmp_path, overrides=("include=[sgd]",)).space.names[0] == "optimizer"


def test_constraints_and_starting_points_are_checked_over_the_base(tmp_path: Path) -> None:
    spec = loaded(
        tmp_path,
        search_space=SPACE,
        constraints=["model.init_args.width * trainer.max_epochs < 60"],
        start_with=[{"model.init_args.width": 4}],
    )
    assert spec.start_with_params == [{"model.init_args.width": 4}]
    assert spec.violated({"model.init_args.width": 6}) is None
    assert spec.violated({"model.init_args.width": 7}) == spec.constraints[0]
    assert load_spec(stored_spec(spec)).start_with_params == spec.start_with_params


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        pytest.param({"include": ["adam"]}, "include.0", "did you mean 'adamw'?", id="no such space"),
        pytest.param({"include": ["a/b.yaml"]}, "include.0", "there is no file a/b.yaml", id="no such file"),
        pytest.param({"constraints": "a < b"}, "constraints", "list", id="no list"),
        pytest.param({"constraints": ["model.init_args.widht < 3"]}, "constraints.0", "did you mean",
                     id="an unknown name"),
        pytest.param({"start_with": {"a": 1}}, "start_with", "a list of mappings such as", id="one start"),
        pytest.param({"constraints": [3]}, "constraints.0", "string", id="a number"),
        pytest.param({"start_with": [{"model.init_args.width": 9}]}, "start_with.0.model.init_args.width",
                     "9 is not in the range int 2 .. 8", id="a start out of the range"),
        pytest.param({"start_with": [3]}, "start_with.0", "mapping", id="a start that is a number"),
        pytest.param({"start_with": [{"model.init_args.width": 8}],
                      "constraints": ["model.init_args.width < 8"]}, "start_with.0",
                     "the constraint 'model.init_args.width < 8' excludes it", id="a start that is excluded"),
        pytest.param({"search_space": SPACE | {"optimizer": {"sgd": {"lr": [0.1, 1.0]}, "none": None}},
                      "start_with": [{"model.init_args.width": 8, "optimizer": "none"}],
                      "constraints": ["model.init_args.width < 8"]}, "start_with.0",
                     "excludes it", id="a start that is excluded, with all that is active"),
    ],
)  # fmt: skip
def test_a_mistake_about_the_space_is_one_line(
    tmp_path: Path, changes: dict[str, Any], key: str, words: str
) -> None:
    error = mistake(tmp_path, **{"search_space": SPACE} | changes)
    assert error.key == key
    assert words in error.rule


def test_a_section_may_be_a_file_of_its_own_beside_the_one_that_names_it(tmp_path: Path) -> None:
    """As LightningCLI itself reads it, from whichever folder it is started."""
    (tmp_path / "configs").mkdir()
    net = {"class_path": "tests.modules.Line", "init_args": {"width": 7}}
    (tmp_path / "configs" / "model.yaml").write_text(yaml.safe_dump(net))
    (tmp_path / "trainer.yaml").write_text("{max_epochs: 3, accelerator: cpu}")
    base = {"model": "model.yaml", "data": {"class_path": "tests.modules.Data"}}
    spec = loaded(tmp_path, base, trainer="trainer.yaml")
    assert spec.model == net
    assert spec.trainer == {"max_epochs": 3, "accelerator": "cpu"}
    theirs = LightningCLI(run=False, args=["--config", str(tmp_path / "configs" / "base.yaml"),
                                           "--trainer", str(tmp_path / "trainer.yaml")])  # fmt: skip
    assert (theirs.model.hparams["width"], theirs.trainer.max_epochs) == (7, 3)
    # A section of the sweep file is one, too, and wins over the base; so is one of the command line.
    spec = loaded(tmp_path, base, model="configs/model.yaml", overrides=("trainer=trainer.yaml",))
    assert (spec.model, spec.trainer["max_epochs"]) == (net, 3)


def test_the_parts_of_a_trainer_may_be_files_too(tmp_path: Path) -> None:
    """As LightningCLI itself reads them: a list, and items of one, beside the file that names them."""
    stopping = {"class_path": "EarlyStopping", "init_args": {"monitor": "val_loss"}}
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "stopping.yaml").write_text(yaml.safe_dump(stopping))
    (tmp_path / "configs" / "callbacks.yaml").write_text(yaml.safe_dump([stopping]))
    (tmp_path / "configs" / "trainer.yaml").write_text("{callbacks: callbacks.yaml, accelerator: cpu}")
    space = {"trainer.callbacks.0.init_args.patience": [1, 2]}
    for trainer in ("trainer.yaml", {"callbacks": "callbacks.yaml"}, {"callbacks": ["stopping.yaml"]}):
        base = {"model": "tests.modules.Line", "data": "tests.modules.Data", "trainer": trainer}
        assert loaded(tmp_path, base, search_space=space).trainer["callbacks"] == [stopping]
        theirs = LightningCLI(run=False, args=["--config", str(tmp_path / "configs" / "base.yaml")])
        assert "EarlyStopping" in {type(callback).__name__ for callback in theirs.trainer.callbacks}
    assert loaded(tmp_path, {}, model="my.Net", trainer="configs/trainer.yaml").trainer["callbacks"] == [
        stopping
    ]
    error = mistake(tmp_path, base, trainer={"callbacks": ["configs/stoping.yaml"]}, config=None, model="a.B")
    assert (error.key, error.rule) == (
        "trainer.callbacks.0", "there is no file configs/stoping.yaml, did you mean 'stopping.yaml'?"
    )  # fmt: skip


def test_a_group_of_the_users_own_command_line_is_read_where_it_must_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere a path may be a plain string: only the user's parser knows."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    group = {"noise": 0.5, "kind": "a"}
    for place in (tmp_path, tmp_path / "configs"):
        (place / "options.yaml").write_text(yaml.safe_dump(group))
    base = CONFIG | {"options": "options.yaml"}
    assert loaded(tmp_path, base, cli="my.CLI").base["options"] == "options.yaml"
    spec = loaded(tmp_path, base, cli="my.CLI", search_space={"options.noise": [0.1, 0.2]})
    assert spec.base["options"] == group
    assert loaded(tmp_path, base, ("options.kind=b",), cli="my.CLI").base["options"] == group | {"kind": "b"}
    assert (
        loaded(tmp_path, cli="my.CLI", options="configs/options.yaml").base["options"]
        == "configs/options.yaml"
    )
    (tmp_path / "options.yaml").unlink()  # now only beside the configuration that names it
    assert loaded(tmp_path, base, cli="my.CLI").base["options"] == group
    (tmp_path / "configs" / "options.yaml").write_text("[1]")
    assert mistake(tmp_path, base, cli="my.CLI").rule == (
        "options.yaml must hold a mapping of keys, but holds a list"
    )


@pytest.mark.parametrize(
    ("content", "key", "rule"),
    [
        pytest.param(None, "model", "there is no file modle.yaml, did you mean 'model.yaml'?", id="none"),
        pytest.param(
            "[1, 2]", "model", "modle.yaml must hold a mapping of keys, but holds a list", id="a list"
        ),
        pytest.param("a: b: c", "model", "modle.yaml: ", id="not YAML"),
    ],
)
def test_a_file_that_is_no_section_is_one_line(
    tmp_path: Path, content: str | None, key: str, rule: str
) -> None:
    (tmp_path / "model.yaml").write_text("class_path: my.Net")
    if content is not None:
        (tmp_path / "modle.yaml").write_text(content)
    error = mistake(tmp_path, model="modle.yaml")
    assert error.key == key
    assert error.rule.startswith(rule)
