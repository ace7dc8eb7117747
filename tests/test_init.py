"""`sweeps init`: the file that it writes is a sweep file whose sweep trains."""

import sys
from pathlib import Path

import pytest

from sweeps.errors import UserError
from sweeps.planning.plan import context_of, inspect
from sweeps.sweep_file.init import init, sweep_text
from sweeps.sweep_file.loading import load_spec

STYLES = """
import enum
from typing import Literal, Optional

import lightning.pytorch as pl
from tests.modules import Line
from typing_extensions import TypeAliasType

Norm = TypeAliasType("Norm", Literal["batch", "layer"])


class Kind(enum.Enum):
    PLAIN = "plain"
    DEEP = "deep"


class Wide(Line):
    def __init__(
        self, kind: Kind = Kind.PLAIN, act: Literal["relu", "gelu"] = "relu", use_norm=False, hidden=64,
        dropout: float | None = 0.2, weight_decay: float = 1e-4, scale: Optional[float] = 2.0,
        in_features: int = 1, num_classes: int = 2, num_workers: int = 4, note: str = "a: b # c",
        norm: Norm = "batch", **kwargs,
    ) -> None:
        super().__init__(**kwargs)


class Left(pl.LightningModule):
    def __init__(self, width: int):
        super().__init__()

    def validation_step(self, batch, batch_idx):
        self.log_dict({"val/accuracy": 1.0})
"""

TWINS = """
from lightning.pytorch import LightningDataModule, LightningModule

class Net(LightningModule):
    def __init__(self, bands: int = 24, width: int = 8):
        super().__init__()

class Data(LightningDataModule):
    def __init__(self, bands: int = 24):
        super().__init__()
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = str(Path.cwd())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [root, *sys.path])
    (tmp_path / "styles_of_init.py").write_text(STYLES)
    monkeypatch.delitem(sys.modules, "styles_of_init", raising=False)  # its source is read, too
    return tmp_path


def test_the_file_is_a_sweep_that_trains(here: Path) -> None:
    path = init("tests.modules.Line", "tests.modules.Data", "first.yaml")
    assert path == Path("first.yaml")
    spec = load_spec(path, overrides=["trainer.max_epochs=2", "trainer.accelerator=cpu"])
    found = inspect(context_of(spec, here / "files", 0.0), spec, True)
    assert found.problem is None
    assert spec.objective.metric == "val_loss"
    assert spec.space.names == ("model.init_args.lr", "model.init_args.width", "data.init_args.batch_size")


def test_names_types_and_defaults_become_ranges() -> None:
    lines = sweep_text("styles_of_init.Wide").splitlines()
    space = [line.strip().removeprefix("# ") for line in lines if "model.init_args." in line]
    shown = dict(line.removeprefix("model.init_args.").partition("  #")[0].split(": ", 1) for line in space)
    assert shown == {
        "kind": "[PLAIN, DEEP]".replace("PLAIN", '"PLAIN"').replace("DEEP", '"DEEP"'),
        "act": '["relu", "gelu"]',
        "use_norm": "[true, false]",
        "hidden": "{type: int, low: 16, high: 256, log: true}",
        "dropout": "{type: float, low: 0.0, high: 0.5}",
        "weight_decay": "{type: float, low: 1e-05, high: 0.001, log: true}",
        "scale": "{type: float, low: 0.5, high: 8, log: true}",
        "in_features": "[...]",
        "num_classes": "[...]",
        "num_workers": "[...]",
        "note": "[...]",
        "norm": '["batch", "layer"]',
        "lr": "{type: float, low: 0.005, high: 0.5, log: true}",
        "width": "{type: int, low: 1, high: 16}",
        "name": "[...]",
    }
    fixed = [line for line in lines if line.strip().startswith("# model.init_args")]
    assert [line.split(".")[2].split(":")[0] for line in fixed] == [
        "in_features", "num_classes", "num_workers", "note", "name"
    ]  # fmt: skip
    spec = load_spec({"name": "wide"} | _read("\n".join(lines)))
    assert len(spec.space.names) == 10


def test_an_argument_of_both_classes_is_not_varied_in_one_of_them(here: Path) -> None:
    (here / "twins_of_init.py").write_text(TWINS)
    text = sweep_text("twins_of_init.Net", "twins_of_init.Data")
    assert "  # model.init_args.bands: {type: int, low: 6, high: 96, log: true}  # int, default 24" in text
    names = load_spec({"name": "twins"} | _read(text)).space.names
    assert [name for name in names if not name.startswith("optimizer")] == ["model.init_args.width"]


def _read(text: str) -> dict[str, object]:
    from search_spaces import read_yaml

    raw = read_yaml(text, "")
    assert isinstance(raw, dict)
    return raw


def test_what_is_needed_is_to_be_filled_in_and_a_missing_optimizer_is_included() -> None:
    text = sweep_text("styles_of_init.Left")
    assert "    width: null  # int: fill in" in text
    assert "include: [adamw]" in text
    assert "{metric: val/accuracy, direction: maximize}" in text
    assert "optimizer" in load_spec({"name": "left"} | _read(text)).space.names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(("Net",), "MODEL_CLASS: must be a class path such as my.module.Class, but got 'Net'",
                     id="a name"),
        pytest.param(("tests.modules.Lime",),
                     "MODEL_CLASS: module 'tests.modules' has no 'Lime', did you mean 'Line'?", id="none"),
        pytest.param(("tests.modules.Data",), "MODEL_CLASS: tests.modules.Data is no LightningModule of "
                     "lightning.pytorch", id="another class"),
        pytest.param(("tests.modules.Line", "tests.modules.Line"), "DATA_CLASS: tests.modules.Line is no "
                     "LightningDataModule of lightning.pytorch", id="another class for the data"),
        pytest.param(("tests.modules.Line", None, "no/folder.yaml"), "no/folder.yaml cannot be written: "
                     "No such file or directory", id="no folder"),
        pytest.param(("tests.modules.Line", None, "styles_of_init.py"), "styles_of_init.py is already there: "
                     "name another file with -o", id="a file that is there"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError) as caught:
        init(*arguments)
    assert str(caught.value) == message


def test_a_package_below_src_is_told_how_it_can_be_imported(here: Path) -> None:
    (here / "src" / "chirps").mkdir(parents=True)
    (here / "src" / "chirps" / "__init__.py").touch()
    with pytest.raises(UserError, match=r"no module 'chirps'; src/chirps is here: .*PYTHONPATH=src"):
        sweep_text("chirps.Net")
