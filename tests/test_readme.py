"""The README's blocks and every shipped YAML file are run as they stand."""

import re
from pathlib import Path

import pytest
import yaml

from sweeps.sweep_file.loading import load_spec

README = Path("README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
SHIPPED = sorted(Path("sweeps").rglob("*.yaml"))  # the catalogue has its own test


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language]


def test_the_make_targets_that_the_readme_names_are_there() -> None:
    targets = set(re.findall(r"^(\w+):", Path("Makefile").read_text(), re.MULTILINE))
    named = {match for text in blocks("bash") for match in re.findall(r"^make (\w+)", text, re.MULTILINE)}
    assert named == {"quickstart", "test"}
    assert named <= targets


def test_the_readmes_search_space_is_one() -> None:
    [text] = [text for text in blocks("yaml") if text.startswith("search_space:")]
    spec = load_spec({
        "name": "readme", "objective": {"metric": "x", "direction": "minimize"}, "budget": {"trials": 1},
        "model": "Model", **yaml.safe_load(text),
    })  # fmt: skip
    assert "lr_scheduler.cosine.init_args.T_max" in spec.space.names


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in SHIPPED])
def test_every_shipped_sweep_file_is_right(path: Path) -> None:
    assert load_spec(path).budget.trials
