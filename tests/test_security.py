"""What a hostile name or checkpoint must not do; pages are in `test_report`, the server in `test_server`."""

import ast
import os
from pathlib import Path

import pytest
import torch

from sweeps.checkpoints import BEST, LAST, PREVIOUS, usable
from sweeps.errors import SpecError
from tests import fakes

SOURCES = [path for package in ("sweeps", "dashboards") for path in Path(package).rglob("*.py")]


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, int, int]]:
        return os.open, (str(self.path), os.O_CREAT, 0o600)


def test_a_hostile_checkpoint_is_not_run_but_passed_over(tmp_path: Path) -> None:
    sign = tmp_path / "sign"
    torch.save({"epoch": 1, "state": Hostile(sign)}, tmp_path / LAST)
    torch.save({"epoch": 0}, tmp_path / PREVIOUS)
    assert usable(tmp_path) == tmp_path / PREVIOUS
    assert not sign.exists()
    torch.load(tmp_path / LAST, weights_only=False)  # it would have been
    assert sign.exists()


def calls(tree: ast.AST, *names: str) -> list[ast.Call]:
    """The calls of a function or method of one of these names."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in found if getattr(call.func, "attr", getattr(call.func, "id", "")) in names]


def test_nothing_is_unpickled_from_disk_and_weights_only_is_said_wherever_it_can_be() -> None:
    loaded = 0
    for path in SOURCES:
        text = path.read_text()
        tree = ast.parse(text)
        for name in ("cloudpickle", "joblib", "dill", "shelve", "marshal"):
            assert f"import {name}" not in text, path
        for call in [*calls(tree, "load", "loads"), *calls(tree, "fit")]:
            owner = ast.unparse(call.func)
            assert not owner.startswith(("pickle.", "joblib.", "np.", "numpy.")), path
            if owner == "torch.load" or owner.endswith("trainer.fit"):
                loaded += 1
                said = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
                probe = "ckpt_path" not in said and owner.endswith("trainer.fit")
                assert probe or said.get("weights_only") == "True", f"{path}: {ast.unparse(call)}"
    assert loaded >= 2


@pytest.mark.parametrize("name", ["../x", "a/b", "..", ".", "/etc/x", "a\\b", "x\x00y", "C:x", "a" * 201])
def test_a_name_cannot_leave_its_folder(name: str) -> None:
    with pytest.raises(SpecError):
        fakes.spec(name=name)


def test_checkpoints_are_looked_for_in_the_trials_folder_only() -> None:
    for name in (BEST, LAST, PREVIOUS):
        assert Path(name).name == name
