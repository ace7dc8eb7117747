"""The JSON Schema of a sweep file accepts every file that is shipped, and finds common mistakes."""

import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from search_spaces import read_yaml
from sweeps.study.persistence import stored_spec
from sweeps.sweep_file.schema import schema
from sweeps.sweep_file.spec import INTERNAL, SweepSpec
from tests import fakes

SWEEPS = [*Path("sweeps/examples").glob("*.yaml"), *Path("tests/projects").rglob("sweep.yaml")]
SPACES = list(Path("search_spaces/catalog").glob("*.yaml"))
BLOCKS = re.findall(r"```yaml\n(.*?)```", Path("README.md").read_text(), re.DOTALL)


def problems(raw: Any) -> list[str]:
    return [error.message for error in Draft202012Validator(schema()).iter_errors(raw)]


def good(**changes: Any) -> dict[str, Any]:
    return {
        "objective": {"metric": "val_loss", "direction": "minimize"},
        "budget": {"trials": 3},
        "model": "my.Net",
        "search_space": {"model.init_args.x": [1, 2]},
    } | changes


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(schema())
    assert schema()["properties"].keys() == SweepSpec.model_fields.keys() - set(INTERNAL)


@pytest.mark.parametrize("path", [pytest.param(path, id=path.parent.name) for path in SWEEPS])
def test_every_sweep_that_is_shipped_fits(path: Path) -> None:
    assert problems(read_yaml(path.read_text(), "")) == []


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in SPACES])
def test_every_space_of_the_catalogue_fits(path: Path) -> None:
    assert problems(good(search_space=read_yaml(path.read_text(), ""))) == []
    assert problems(good(include=[path.stem])) == problems(good(include=path.stem)) == []


@pytest.mark.parametrize("text", BLOCKS)
def test_every_yaml_block_of_the_readme_fits(text: str) -> None:
    raw = read_yaml(text, "")
    assert isinstance(raw, dict)
    assert problems(good(**raw)) == []


def test_a_stored_specification_fits() -> None:
    assert problems(stored_spec(fakes.spec())) == []


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"serach_space": {}}, id="an unknown key"),
        pytest.param({"objective": {"metric": "m", "direction": "min"}}, id="a direction"),
        pytest.param({"budget": {"trails": 3}}, id="an unknown key of a section"),
        pytest.param({"sampler": "tep"}, id="a sampler"),
        pytest.param({"pruner": {"init_args": {}}}, id="a pruner without a class"),
        pytest.param({"search_space": {"a": {"type": "float", "low": 1}}}, id="a range without an end"),
        pytest.param({"search_space": {"a": {"type": "int", "low": 1, "high": 2, "min": 3}}}, id="a habit"),
        pytest.param({"search_space": {"a": {"type": "int", "low": 1.5, "high": 3}}}, id="half an integer"),
        pytest.param({"search_space": {"a": [1]}}, id="a list of one"),
        pytest.param({"search_space": {"a": 3}}, id="a number that does not vary"),
        pytest.param({"search_space": {"o": {"x": {"i": {"k": {"type": "int", "low": "a", "high": 2}}}}}},
                     id="a parameter within a branch"),
        pytest.param({"include": ["adam"]}, id="a name that the catalogue does not have"),
        pytest.param({"cli": {"modle": "a.B"}}, id="a keyword of LightningCLI"),
        pytest.param({"constraints": "a < b"}, id="constraints that are no list"),
        pytest.param({"start_with": [3]}, id="a start that is none"),
    ],
)  # fmt: skip
def test_a_mistake_is_found(changes: dict[str, Any]) -> None:
    assert problems(good()) == []
    assert problems(good(**changes)) != []


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"cli": "my.CLI", "experiment": "x"}, id="own keys beside a command line"),
        pytest.param({"config": "base.yaml"}, id="a configuration"),
        pytest.param({"model": {"init_args": {"a": 1}}}, id="arguments alone"),
        pytest.param({"optimizer": None}, id="null"),
        pytest.param({"include": ["mine/a.yaml", {"mlp": {"a": "b", "c": None}}]}, id="files and names"),
        pytest.param({"search_space": {"a": {"type": "int", "low": 1e3, "high": 1e4, "when": {"b": 1}}}},
                     id="a condition"),
        pytest.param({"sampler": {"class_path": "TPESampler", "init_args": {}}}, id="a sampler's class"),
    ],
)  # fmt: skip
def test_what_may_be_written_fits(changes: dict[str, Any]) -> None:
    assert problems(good(**changes)) == []
