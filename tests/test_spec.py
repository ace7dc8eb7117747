"""The sweep file: what is read, what overrides it, and the one line that each mistake gets."""

from pathlib import Path
from typing import Any

import pytest

from sweeps.errors import SpecError, UserError
from sweeps.study.persistence import stored_spec
from sweeps.sweep_file.loading import load_spec
from sweeps.sweep_file.spec import SweepSpec
from tests import fakes

GOOD = """
name: test
objective: {metric: val_loss, direction: minimize}
budget: {trials: 8}
model: {class_path: my.Model, init_args: {hidden: 4}}
trainer: {max_epochs: 2, callbacks: [{class_path: a.B, init_args: {patience: 3}}, {class_path: c.D}]}
search_space:
  optimizer.init_args.lr: {type: float, low: 1e-4, high: 1e-1, log: true}
"""


def written(folder: Path, text: str = GOOD, name: str = "sweep.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def mistake(**changes: Any) -> SpecError:
    """What `fakes.spec` with these top-level keys is refused with."""
    with pytest.raises(SpecError) as caught:
        fakes.spec(**changes)
    return caught.value


def test_a_file_is_read_and_every_other_key_has_its_default(tmp_path: Path) -> None:
    spec = load_spec(written(tmp_path))
    assert spec.objective.metric == "val_loss"
    assert spec.budget.trials == 8
    assert (spec.sampler, spec.pruner) == ("auto", "forecast")
    assert (spec.keep_checkpoints, spec.seed_everything) == (1, 0)
    assert spec.file == str(tmp_path / "sweep.yaml")


def test_a_sweep_without_a_name_has_its_files(tmp_path: Path) -> None:
    assert load_spec(written(tmp_path, GOOD.replace("name: test", ""), "digits.yaml")).name == "digits"


def test_numbers_in_scientific_notation_are_numbers(tmp_path: Path) -> None:
    spec = load_spec(written(tmp_path, GOOD.replace("hidden: 4", "decay: 1e-4")))
    assert spec.model["init_args"]["decay"] == 1e-4
    assert spec.search_space["optimizer.init_args.lr"]["low"] == 1e-4


def test_a_mapping_is_read_as_a_file_is_and_is_not_changed() -> None:
    raw = fakes.spec().model_dump(exclude_none=True)
    before = repr(raw)
    spec = load_spec(raw, overrides=["trainer.max_epochs=9"])
    assert spec.trainer == {"max_epochs": 9}
    assert repr(raw) == before


@pytest.mark.parametrize("key", ["model", "data", "optimizer", "lr_scheduler"])
def test_a_class_without_arguments_may_be_written_as_its_name(key: str) -> None:
    assert getattr(fakes.spec(**{key: "some.Class"}), key) == {"class_path": "some.Class"}


def test_the_base_configuration_holds_lightnings_keys_only() -> None:
    base = fakes.spec(seed_everything=7, optimizer="SGD").base
    assert base == {
        "seed_everything": 7,
        "trainer": {"max_epochs": 4},
        "model": {"class_path": "Model"},
        "optimizer": {"class_path": "SGD"},
    }


def test_modules_are_looked_for_beside_the_file_and_then_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    assert load_spec(written(there)).folders == [str(there), str(here)]
    assert load_spec(written(here)).folders == [str(here)]
    assert fakes.spec().folders == [str(here)]


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        pytest.param({"serach_space": {}}, "serach_space", ["unknown key", "did you mean 'search_space'?"],
                     id="an unknown key and the nearest one"),
        pytest.param({"qqq": 1}, "qqq", ["unknown key", "objective", "budget", "storage"],
                     id="an unknown key with none near lists them all"),
        pytest.param({"file": "x"}, "file", ["unknown key", "did you mean 'files'?"],
                     id="a key that only the program sets"),
        pytest.param({"method": "bayes"}, "method", ["did you mean 'sampler'?"], id="W&B's method"),
        pytest.param({"metric": {"name": "l", "goal": "minimize"}}, "metric", ["did you mean 'objective'?"],
                     id="W&B's metric"),
        pytest.param({"objective": {"metric": "l", "goal": "minimize"}}, "objective.goal",
                     ["did you mean 'direction'?"], id="W&B's goal"),
        pytest.param({"n_trials": 3}, "n_trials", ["did you mean 'budget.trials'?"], id="Optuna's trials"),
        pytest.param({"n_jobs": 3}, "n_jobs", ["did you mean 'concurrency'?"], id="Optuna's jobs"),
        pytest.param({"concurrency": 0}, "concurrency", ["greater than or equal to 1"], id="nothing at once"),
        pytest.param({"pruner": {"type": "hyperband"}}, "pruner.type", ["did you mean 'class_path'?"],
                     id="W&B's early_terminate"),
        pytest.param({"int": 1}, "int", ["unknown key"], id="a key that is called like a type"),
        pytest.param({"resources": {"gpu": 1}}, "resources.gpu",
                     ["unknown key", "did you mean 'gpus'?", "cpus"], id="an unknown key in a section"),
        pytest.param({"sampler": {"class_path": "a", "init_arg": {}}}, "sampler.init_arg",
                     ["unknown key", "did you mean 'init_args'?"], id="an unknown key of a sampler"),
        pytest.param({"pruner": {"init_args": {}}}, "pruner.class_path", ["is missing"],
                     id="a pruner without its class"),
        pytest.param({"budget": {}}, "budget", ["`trials`, `hours` or both"], id="no budget"),
        pytest.param({"budget": {"trials": 0}}, "budget.trials", ["greater than 0", "but got 0"],
                     id="a budget of nothing"),
        pytest.param({"budget": {"hours": float("inf")}}, "budget.hours", ["finite", "inf"],
                     id="a budget without an end"),
        pytest.param({"objective": "val_loss"}, "objective", ["metric, direction, value", "'val_loss'"],
                     id="an objective that is only a metric"),
        pytest.param({"objective": {"direction": "minimize"}}, "objective.metric", ["is missing"],
                     id="no metric"),
        pytest.param({"objective": {"metric": "l", "direction": "min"}}, "objective.direction",
                     ["'minimize' or 'maximize'", "'min'"], id="a direction that is none"),
        pytest.param({"resources": {"gpus": 2}}, "resources.gpus", ["one GPU or a fraction", "2"],
                     id="several GPUs"),
        pytest.param({"resources": {"gpus": -1}}, "resources.gpus", ["greater than or equal to 0", "-1"],
                     id="negative GPUs"),
        pytest.param({"resources": {"autoscaling": True}}, "resources", ["needs gpus, such as 0 or 1"],
                     id="nodes are added, with GPUs or without"),
        pytest.param({"resources": {"cpus": 0}}, "resources.cpus", ["greater than 0", "but got 0"],
                     id="no CPU"),
        pytest.param({"keep_checkpoints": -1}, "keep_checkpoints", ["-1"], id="fewer checkpoints than none"),
        pytest.param({"price_per_hour": -2}, "price_per_hour", ["-2"], id="a price below nothing"),
        pytest.param({"model": 3}, "model", ["mapping", "3"], id="a model that is a number"),
        pytest.param({"trainer": None}, "trainer", ["mapping", "None"], id="an empty trainer"),
        pytest.param({"sampler": 3}, "sampler", ["a name or {class_path, init_args}", "3"],
                     id="a sampler that is a number"),
        pytest.param({"seed_everything": "x"}, "seed_everything", ["whole number, true or false", "'x'"],
                     id="a seed that is none"),
        pytest.param({"search_space": {}}, "search_space", ["empty"], id="an empty search space"),
        pytest.param({"search_space": {"lr": {"type": "float", "low": 0.1, "high": 0.001}}},
                     "search_space.lr", ["`low < high`", "low=0.1", "high=0.001"], id="low above high"),
        pytest.param({"search_space": {"lr": {"type": "float", "low": 2, "high": 2}}}, "search_space.lr",
                     ["low and high are both 2"], id="low equals high"),
        pytest.param({"search_space": {"lr": {"type": "float", "low": 0, "high": 1, "log": True}}},
                     "search_space.lr", ["`low > 0`", "log", "low=0"], id="the logarithm of zero"),
        pytest.param({"search_space": {"lr": {"type": "float", "low": -1, "high": 1, "log": True}}},
                     "search_space.lr", ["`low > 0`", "log", "low=-1"], id="the logarithm of less"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_its_key_its_rule_and_its_value(
    changes: dict[str, Any], key: str, words: list[str]
) -> None:
    error = mistake(**changes)
    assert isinstance(error, UserError)
    assert error.key == key
    assert [word for word in words if word not in error.rule] == []
    assert str(error) == f"{key}: {error.rule}"
    assert "\n" not in str(error)


@pytest.mark.parametrize("key", ["name", "objective", "budget", "model", "search_space"])
def test_a_missing_key_is_named(key: str) -> None:
    raw = fakes.spec().model_dump(exclude_none=True)
    del raw[key]
    with pytest.raises(SpecError, match=f"^{key}: is missing$"):
        load_spec(raw)


@pytest.mark.parametrize(
    "name", ["", " a", "a ", ".hidden", "-n", "a/b", "a\\b", "a:b", "what?", "a\nb", "a\0b", "ü" * 101]
)
def test_a_name_that_cannot_be_a_file_name_is_refused(name: str) -> None:
    error = mistake(name=name)
    assert error.key == "name"
    assert repr(name) in error.rule or "202" in error.rule
    assert "\n" not in str(error)


@pytest.mark.parametrize("name", ["a", "lr sweep", "größe", "v1.2", "a_b-c", "7", "ü" * 100])
def test_a_name_that_can_be_a_file_name_is_taken(name: str, tmp_path: Path) -> None:
    (tmp_path / fakes.spec(name=name).name).mkdir()
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("", ["is empty", "`sweeps init my_project.Net my_project.Data`"], id="empty"),
        pytest.param("# nothing yet\n", ["is empty"], id="only a comment"),
        pytest.param("- a\n- b\n", ["mapping", "list"], id="a list"),
        pytest.param("trials", ["mapping", "str"], id="a word"),
        pytest.param("a: [1\nb: 2\n", ["line 2"], id="not YAML"),
        pytest.param("a: 1\na: 2\n", ["line 2", "'a'", "twice"], id="a key twice"),
    ],
)
def test_a_file_that_holds_no_sweep_is_named_in_one_line(tmp_path: Path, text: str, words: list[str]) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert [word for word in words if word not in str(caught.value)] == []
    assert "\n" not in str(caught.value)


def test_a_mistake_in_a_file_starts_with_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD.replace("high: 1e-1", "high: 1e-5"))
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    rule = "`low < high` must hold, but got low=0.0001, high=1e-05."
    assert str(caught.value) == f"{path}: search_space.optimizer.init_args.lr: {rule}"


def test_a_file_that_is_not_there_has_the_nearest_one_named(tmp_path: Path) -> None:
    written(tmp_path, name="digits.yaml")
    with pytest.raises(SpecError, match=r"digit\.yml: no such file, did you mean 'digits\.yaml'\?$"):
        load_spec(tmp_path / "digit.yml")


def test_a_folder_cannot_be_read_as_a_sweep_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read: Is a directory"):
        load_spec(tmp_path)


def test_a_binary_file_cannot_be_read_as_a_sweep_file(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="cannot be read: it is not UTF-8 text"):
        load_spec(path)


def changed(override: str) -> SweepSpec:
    return load_spec(fakes.spec(
        trainer={"max_epochs": 2, "callbacks": [{"class_path": "a.B", "init_args": {"patience": 3}}, 5]},
        data=None,
    ).model_dump(), overrides=[override])  # fmt: skip


@pytest.mark.parametrize(
    ("override", "attribute", "expected"),
    [
        pytest.param("budget.trials=3", "budget.trials", 3, id="a number"),
        pytest.param("budget={hours: 0.5}", "budget.hours", 0.5, id="a mapping"),
        pytest.param("keep_checkpoints= 2", "keep_checkpoints", 2, id="a space before the value"),
        pytest.param("seed_everything=true", "seed_everything", True, id="a truth value"),
        pytest.param("name=a=b", "name", "a=b", id="a value with an equals sign"),
        pytest.param("objective.metric='1'", "objective.metric", "1", id="a string in quotes"),
        pytest.param("resources.gpus=", "resources.gpus", None, id="nothing"),
        pytest.param("resources.gpus=null", "resources.gpus", None, id="null"),
    ],
)
def test_an_override_wins_over_the_file(override: str, attribute: str, expected: object) -> None:
    value: Any = changed(override)
    for part in attribute.split("."):
        value = getattr(value, part)
    assert value == expected


def test_an_override_reaches_into_what_is_lightnings() -> None:
    assert changed("trainer.precision=16-mixed").trainer["precision"] == "16-mixed"
    assert changed("model.init_args.decay=1e-4").model["init_args"] == {"decay": 1e-4}
    assert changed("data.class_path=my.Data").data == {"class_path": "my.Data"}
    assert changed("trainer.callbacks.0.init_args.patience=9").trainer["callbacks"][0] == {
        "class_path": "a.B",
        "init_args": {"patience": 9},
    }
    assert changed("trainer.callbacks.1=7").trainer["callbacks"][1] == 7


def test_an_override_adds_to_the_search_space_by_its_whole_key() -> None:
    spec = changed("search_space.model.init_args.hidden={type: int, low: 1, high: 4}")
    assert spec.space.names == ("model.init_args.x", "model.init_args.hidden")


def test_an_override_reaches_into_a_parameter_of_the_search_space() -> None:
    spec = changed("search_space.model.init_args.x.high=0.25")
    assert spec.search_space == {"model.init_args.x": {"type": "float", "low": 0.0, "high": 0.25}}


def test_the_later_of_two_overrides_wins() -> None:
    raw = fakes.spec().model_dump()
    assert load_spec(raw, overrides=["budget.trials=3", "budget.trials=4"]).budget.trials == 4


@pytest.mark.parametrize(
    ("override", "words"),
    [
        pytest.param("budget.trials", ["--set budget.trials", "key=value"], id="no value"),
        pytest.param("=3", ["--set =3", "key=value"], id="no key"),
        pytest.param("model={", ["--set model={", "line 1"], id="not YAML"),
        pytest.param("budget.trial=3", ["budget.trial", "did you mean 'trials'?"], id="an unknown key"),
        pytest.param("name.first=3", ["name.first", "'test'", "not a mapping"], id="below a string"),
        pytest.param("trainer.callbacks.2=3", ["2 items, counted from 0", "'2'"], id="behind a list's end"),
        pytest.param("trainer.callbacks.x=3", ["2 items", "'x'"], id="a list's item by name"),
        pytest.param("search_space.model.init_args.x.high=-1", ["search_space.model.init_args.x", "high=-1"],
                     id="a wrong range"),
    ],
)  # fmt: skip
def test_an_override_that_is_wrong_is_one_line(override: str, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        changed(override)
    assert [word for word in words if word not in str(caught.value)] == []
    assert "\n" not in str(caught.value)


def test_fields_win_over_the_file_and_none_leaves_it() -> None:
    raw = fakes.spec().model_dump()
    spec = load_spec(raw, name="other", **{"budget.trials": 3, "budget.hours": None})
    assert (spec.name, spec.budget.trials, spec.budget.hours) == ("other", 3, None)


def test_a_specification_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        fakes.spec().name = "other"  # type: ignore[misc]


def test_the_stored_specification_can_be_loaded_again_and_is_the_same() -> None:
    spec = fakes.spec(sampler={"class_path": "tpe", "init_args": {"seed": 3}}, data="my.Data")
    assert load_spec(stored_spec(spec)) == spec


def test_the_stored_specification_holds_the_defaults_and_no_file(tmp_path: Path) -> None:
    stored = stored_spec(load_spec(written(tmp_path)))
    assert stored["sampler"] == "auto"
    assert stored["objective"] == {"metric": "val_loss", "direction": "minimize", "value": "best"}
    assert "file" not in stored


def test_the_stored_specification_hides_passwords_and_keeps_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PG_PASSWORD", "hunter2")
    stored = stored_spec(
        fakes.spec(
            storage="postgresql://me:secret@host/db", tracking_uri="https://me:${PG_PASSWORD}@mlflow.example"
        )
    )
    assert stored["storage"] == "postgresql://me:***@host/db"
    assert stored["tracking_uri"] == "https://me:${PG_PASSWORD}@mlflow.example"
