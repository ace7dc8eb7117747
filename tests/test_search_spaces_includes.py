"""Ready-made spaces: each is read and sampled, and several are put together."""

import random
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch

from search_spaces import SpaceError, catalog, included, load_space
from search_spaces.draws import Draws
from search_spaces.includes import CATALOG

NAMES = ("adamw", "cnn", "mlp", "regularisation", "sgd", "transformer_finetuning")


def test_the_catalogue_has_its_spaces() -> None:
    assert catalog() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_ready_made_space_is_sampled(name: str) -> None:
    space = load_space(included([name], Path()))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        params = space.suggest(study.ask())
        config: dict[str, Any] = space.configure({}, params)
        if optimizer := config.get("optimizer"):
            cls = getattr(torch.optim, optimizer["class_path"].removeprefix("torch.optim."))
            assert cls([torch.nn.Parameter(torch.zeros(1))], **optimizer["init_args"])
    assert space.configure({}, space.centre())


@pytest.mark.parametrize("name", NAMES)
def test_a_ready_made_space_says_where_its_ranges_come_from(name: str) -> None:
    text = (CATALOG / f"{name}.yaml").read_text()
    assert text.startswith("#")
    assert "arXiv:" in text
    assert max(len(line) for line in text.splitlines()) <= 110


def test_named_choices_of_one_key_are_put_together() -> None:
    both = load_space(included(["adamw", "sgd"], Path()))
    assert both.names[0] == "optimizer"
    assert {"optimizer.adamw.init_args.lr", "optimizer.sgd.init_args.momentum"} <= set(both.names)
    assert [row.text for row in both.rows() if row.name == "optimizer"] == ["adamw | sgd"]


def test_all_of_them_make_one_space() -> None:
    space = load_space(included(list(NAMES), Path()))
    random.seed(0)
    draws = Draws()
    assert len({repr(space.suggest(draws)) for _ in range(50)}) == 50


def test_keys_are_renamed_or_left_out() -> None:
    found = included([{"mlp": {"model.init_args.width": "model.hidden", "data.init_args.batch_size": None}}],
                     Path())  # fmt: skip
    assert list(found) == ["model.hidden", "model.init_args.depth", "model.init_args.dropout"]


def test_a_path_is_relative_to_the_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("model.x: [1, 2]\n")
    assert included(["mine.yaml", "mlp"], tmp_path)["model.x"] == [1, 2]
    assert included("mine.yaml", tmp_path) == {"model.x": [1, 2]}


@pytest.mark.parametrize(
    ("items", "message"),
    [
        pytest.param(["adam"], "0: the catalogue has no 'adam', did you mean 'adamw'?", id="unknown"),
        pytest.param(
            ["mlp", "zzz"],
            "1: the catalogue has no 'zzz'; there is adamw, cnn, mlp, regularisation, "
            "sgd, transformer_finetuning.",
            id="nothing near",
        ),
        pytest.param(["a/b.yaml"], "0: there is no file a/b.yaml.", id="no file"),
        pytest.param(
            ["list.yaml"],
            "0: list.yaml must hold a mapping as `search_space` does, but holds [1].",
            id="a list",
        ),
        pytest.param(
            ["deep.yaml"],
            "0: deep.yaml cannot include others: name them all in the sweep file's `include`",
            id="includes others",
        ),
        pytest.param(
            ["bad.yaml"],
            "0: bad.yaml: line 1: the key 'a' appears twice in one mapping.",
            id="not to be read",
        ),
        pytest.param(
            [3], "0: must be a name, a path or {name: {path: other path}}, but is 3.", id="a number"
        ),
        pytest.param(
            [{"mlp": {}, "cnn": {}}],
            '0: must be a name, a path or {name: {path: other path}}, but is {"mlp": {}, "cnn": {}}.',
            id="two names in one",
        ),
        pytest.param(
            [{"mlp": "x"}],
            '0: must be a name, a path or {name: {path: other path}}, but is {"mlp": "x"}.',
            id="no renames",
        ),
        pytest.param(
            [{"mlp": {"model.init_args.widht": "x"}}],
            "0.model.init_args.widht: mlp has no such key, did you mean 'model.init_args.width'?",
            id="a key to rename that is not there",
        ),
        pytest.param(
            [{"mlp": {"model.init_args.width": 3}}],
            "0.model.init_args.width: must be another path or null, but is 3.",
            id="no path",
        ),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, items: list[Any], message: str) -> None:
    (tmp_path / "list.yaml").write_text("[1]")
    (tmp_path / "deep.yaml").write_text("include: [mlp]")
    (tmp_path / "bad.yaml").write_text("{a: 1, a: 2}")
    with pytest.raises(SpaceError) as caught:
        included(items, tmp_path)
    assert str(caught.value) == message
