"""What a hostile name or checkpoint must not do; pages are in `test_report`, the server in `test_server`."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from sweeps.errors import SpecError
from sweeps.layout import LAST, PREVIOUS
from sweeps.sweep_file.loading import load_spec
from sweeps.training.checkpoints import DAMAGED, usable
from tests import fakes
from tests.chaos.instants import sweep_file
from tests.conftest import typed

SOURCES = [path for package in ("sweeps", "dashboards") for path in Path(package).rglob("*.py")]


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, int, int]]:
        return os.open, (str(self.path), os.O_CREAT, 0o600)


def test_a_hostile_checkpoint_is_not_run_but_passed_over(tmp_path: Path) -> None:
    sign = tmp_path / "sign"
    ours = {"callbacks": {"TrialCallback": {"is_between_epochs": True}}}
    torch.save(ours | {"state": Hostile(sign)}, tmp_path / LAST)
    torch.save(ours, tmp_path / PREVIOUS)
    assert usable(tmp_path) == tmp_path / PREVIOUS
    assert not sign.exists()
    torch.load(tmp_path / DAMAGED, weights_only=False)  # it would have been
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
            assert not owner.startswith(("pickle.", "joblib.")), path
            said = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            if owner in ("np.load", "numpy.load"):
                assert said.get("allow_pickle") in (None, "False"), path  # NumPy's default since 1.16.3
            if owner == "torch.load" or owner.endswith("trainer.fit"):
                loaded += 1
                probe = "ckpt_path" not in said and owner.endswith("trainer.fit")
                assert probe or said.get("weights_only") == "True", f"{path}: {ast.unparse(call)}"
    assert loaded >= 2


@pytest.mark.parametrize("name", ["../x", "a/b", "..", ".", "/etc/x", "a\\b", "x\x00y", "C:x", "a" * 201])
def test_a_name_cannot_leave_its_folder(name: str) -> None:
    with pytest.raises(SpecError):
        fakes.spec(name=name)


def test_no_checkpoint_of_elsewhere_is_loaded(tmp_path: Path) -> None:
    url = "http://127.0.0.1:1/x.ckpt"
    with pytest.raises(SpecError, match="ckpt_path: unknown key"):
        fakes.spec(ckpt_path=url)
    (tmp_path / "base.yaml").write_text(
        f"model: {{class_path: Model}}\nckpt_path: {url}\nweights_only: false\n"
    )
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({
        "name": "s", "objective": {"metric": "loss", "direction": "minimize"}, "budget": {"trials": 1},
        "config": "base.yaml", "search_space": {"model.init_args.x": [1, 2]},
    }))  # fmt: skip
    spec = load_spec(tmp_path / "sweep.yaml")
    assert not {"ckpt_path", "weights_only"} & spec.base.keys()
    assert any("ckpt_path is ignored" in note for note in spec.notes)


def test_what_a_training_starts_from_cannot_be_varied(tmp_path: Path) -> None:
    sweep_file(tmp_path)
    varied = yaml.safe_dump(
        {"model.init_args.lr": [0.1, 0.2], "ckpt_path": ["http://127.0.0.1:1/x.ckpt", None]}
    )
    refused = typed("check", "chaos.yaml", "--set", f"search_space={varied}", folder=tmp_path, code=2)
    assert "search_space.ckpt_path: unknown key" in refused.stderr


START = """
import sys
from sweeps.executors.cluster import cluster
with cluster(num_cpus=1):
    pass
"""


@pytest.mark.parametrize("there", [False, True])
def test_rays_token_is_not_readable_for_others(there: bool, tmp_path: Path) -> None:
    token = tmp_path / ".ray" / "auth_token"
    if there:
        token.parent.mkdir()
        token.write_text("a" * 64)
        token.chmod(0o644)
    clean = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    subprocess.run(
        [sys.executable, "-c", START], env=clean | {"HOME": str(tmp_path)}, check=True, timeout=120,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    assert token.exists() == there
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.rglob("*token*") if path.is_file())
