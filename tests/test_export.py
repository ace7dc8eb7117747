"""Exports go back into what reads them: a real LightningCLI, PyYAML, a shell."""

import io
import json
import os
import runpy
import shlex
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.errors import ResultsError
from dashboards.export import FORMATS, export, write_text
from dashboards.records import Sweep
from dashboards.results import load
from tests.studies import Ended, add_sweep, config, sweep_record, trial_record

CLI = Path(__file__).parent / "cli_classes.py"
NASTY = 'it\'s "quoted": ü 🙂 #no\ncomment\ttab \\ {x} [y] & *z'
RICH = {
    **config(
        lr=1e-05,
        rate=1e16,
        name="1e-4",
        note=None,
        widths=[[1, 2], [3]],
        pair=[1, 2.5],
        table={"a": 1},
        anything=[{"deep": [None, True, 1e-7]}],
        flag=True,
    ),
    "data": {"class_path": "cli_classes.Data", "init_args": {"batch_size": 4, "folder": NASTY}},
    "trainer": {
        "max_epochs": 3,
        "logger": False,
        "gradient_clip_val": 1e-3,
        "callbacks": [
            {
                "class_path": "lightning.pytorch.callbacks.EarlyStopping",
                "init_args": {"monitor": "val_loss", "patience": 2},
            }
        ],
    },
    "lr_scheduler": {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 2}},
}
TRIALS = [
    Ended("complete", 0.5, {"optimizer.init_args.lr": 1e-05, "kind": "on"}, RICH),
    Ended("complete", 0.25, {"optimizer.init_args.lr": 0.1, "kind": "1e-4"}, config(lr=0.1)),
    Ended("pruned", 0.1, {"kind": "on"}),
]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "sweeps.db"
    add_sweep(path, "digits", TRIALS)
    add_sweep(path, "rich\n: x", TRIALS[:1])
    ended = [Ended("pruned", 1.0), Ended("pruned", 1.0), Ended("diverged"), Ended("failed")]
    add_sweep(path, "hopeless", ended)
    add_sweep(path, "young", [Ended("running")])
    return path


@pytest.fixture(scope="module")
def digits(database: Path) -> Sweep:
    return load(database, "digits")


@pytest.fixture(scope="module")
def rich(database: Path) -> Sweep:
    return load(database, "rich\n: x")


def parsed_by_lightning(flags: list[str]) -> Any:
    """Return what a LightningCLI program makes of its command line; here, where all is imported."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setitem(sys.modules, "cli_classes", None)  # the program's, and it is gone afterwards
        patch.setattr(sys, "argv", [str(CLI), "fit", *flags])
        with pytest.raises(SystemExit):
            runpy.run_path(str(CLI), run_name="__main__")
    lines = [line for line in out.getvalue().splitlines() if line.startswith("PARSED ")]
    assert lines, err.getvalue()[-3000:]
    return json.loads(lines[0].removeprefix("PARSED "))


def missing(part: Any, whole: Any, path: str = "") -> list[str]:
    """Return where `whole` lacks something of `part`; it may have more keys, filled in with defaults."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return [line for key in part for line in missing(part[key], whole.get(key), f"{path}.{key}")]
    if isinstance(part, list) and isinstance(whole, list) and len(part) == len(whole):
        pairs = enumerate(zip(part, whole, strict=True))
        return [line for i, (a, b) in pairs for line in missing(a, b, f"{path}[{i}]")]
    return [] if part == whole and type(part) is type(whole) else [f"{path}: {part!r} became {whole!r}"]


def as_trained(config: dict[str, Any]) -> dict[str, Any]:
    """The config with what a trial's Trainer has and LightningCLI's has not."""
    return {**config, "trainer": {**config.get("trainer", {}), "num_sanity_val_steps": 0, "devices": 1}}


def test_the_script_makes_no_sanity_check_either_unless_the_file_says_so(rich: Sweep) -> None:
    assert "--trainer.num_sanity_val_steps=0" in shlex.split(export(rich, "args"))
    best = rich.best
    assert best is not None
    own = {**RICH, "trainer": {"num_sanity_val_steps": 2}}
    text = export(replace(rich, trials=(replace(best, config=own),)))
    assert yaml.safe_load(text)["trainer"] == {"num_sanity_val_steps": 2, "devices": 1}


@pytest.mark.parametrize(("own", "exported"), [({}, 1), ({"devices": "auto"}, 1), ({"devices": [2]}, [2])])
def test_the_script_takes_one_device_as_its_trial_did(
    digits: Sweep, own: dict[str, Any], exported: Any
) -> None:
    best = digits.best
    assert best is not None
    text = export(replace(digits, trials=(replace(best, config={"trainer": own}),)))
    assert yaml.safe_load(text)["trainer"]["devices"] == exported


def test_the_lightning_format_goes_back_into_lightning_cli(rich: Sweep, tmp_path: Path) -> None:
    file = tmp_path / "best.yaml"
    write_text(file, export(rich))
    assert missing(RICH, parsed_by_lightning(["--config", str(file)])) == []


def test_the_lightning_format_reads_the_same_with_pyyaml(rich: Sweep) -> None:
    assert yaml.safe_load(export(rich)) == as_trained(RICH)
    assert list(yaml.safe_load(export(rich))) == [
        "seed_everything",
        "trainer",
        "model",
        "data",
        "optimizer",
        "lr_scheduler",
    ]


def test_the_header_names_where_the_config_comes_from(digits: Sweep, rich: Sweep) -> None:
    assert export(digits).splitlines()[:3] == [
        "# sweep digits, trial 1: val_loss = 0.25 (minimized)",
        "# optimizer.init_args.lr = 0.1",
        '# kind = "1e-4"',
    ]
    assert export(rich).startswith("# sweep rich : x, trial 0")


def test_the_header_says_which_validation_gave_the_value_if_it_was_not_the_last() -> None:
    def first_line(*values: float) -> str:
        trial = trial_record(3, "complete", 0.25, intermediate=dict(enumerate(values, 1)))
        return export(sweep_record([trial])).splitlines()[0]

    assert first_line(0.5, 0.25, 0.75).endswith(" = 0.25 (minimized), at validation 2 of 3")
    assert first_line(0.5, 0.25).endswith(" = 0.25 (minimized)")
    for objective in ({"value": "last"}, [{"value": "last"}, {}]):
        trial = trial_record(3, "complete", 0.25, intermediate={1: 0.25, 2: 0.5, 3: 0.25})
        last = export(replace(sweep_record([trial]), spec={"objective": objective}))
        assert last.splitlines()[0].endswith(" = 0.25 (minimized)")


def test_flags_mean_the_same_to_lightning_cli(rich: Sweep) -> None:
    flags = shlex.split(export(rich, "args"))
    assert missing(RICH, parsed_by_lightning(flags)) == []
    assert "--trainer.max_epochs=3" in flags
    assert "--model.init_args.hidden=8" in flags


def test_flags_survive_a_shell(rich: Sweep) -> None:
    command = f"{shlex.quote(sys.executable)} -c 'import sys, json; print(json.dumps(sys.argv[1:]))' "
    done = subprocess.run(
        ["sh", "-c", command + export(rich, "args")], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == shlex.split(export(rich, "args"))


def test_params_are_optunas_names_and_values(digits: Sweep) -> None:
    assert yaml.safe_load(export(digits, "params")) == {"optimizer.init_args.lr": 0.1, "kind": "1e-4"}
    assert [params["kind"] for params in yaml.safe_load(export(digits, "params", top=2))] == ["1e-4", "on"]


def test_json_has_trial_value_params_and_config(digits: Sweep) -> None:
    assert json.loads(export(digits, "json")) == {
        "sweep": "digits",
        "number": 1,
        "value": 0.25,
        "metric": "val_loss",
        "params": {"optimizer.init_args.lr": 0.1, "kind": "1e-4"},
        "config": as_trained(config(lr=0.1)),
    }


def test_top_gives_the_best_first_in_each_format(digits: Sweep) -> None:
    assert [entry["number"] for entry in json.loads(export(digits, "json", top=9))] == [1, 0]
    documents = list(yaml.safe_load_all(export(digits, "lightning", top=2)))
    assert documents == [as_trained(config(lr=0.1)), as_trained(RICH)]
    first = export(digits, "args")
    assert len(first.splitlines()) == 1
    assert export(digits, "args", top=2).startswith(first)
    assert shlex.split(export(digits, "args", top=2)).count("--seed_everything=7") == 2


def test_a_config_with_shared_parts_tuples_and_infinity_is_plain_yaml(digits: Sweep) -> None:
    shared = [1, 2]
    odd = {"a": shared, "b": shared, "c": (1.0, float("inf")), "d": "0o17", "e": "", "f": "null", "g": "~"}
    best = digits.best
    assert best is not None
    sweep = replace(digits, trials=(replace(best, config=odd),))
    text = export(sweep)
    assert "&" not in text
    assert yaml.safe_load(text) == {**as_trained(odd), "c": [1.0, float("inf")]}
    assert "--a=[1, 2]" in shlex.split(export(sweep, "args"))


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_sweep_without_a_complete_trial_says_why(database: Path, name: str) -> None:
    with pytest.raises(ResultsError, match=r"hopeless: no complete trial .*2 pruned, 1 diverged, 1 failed"):
        export(load(database, "hopeless"), name)
    with pytest.raises(ResultsError, match=r"1 running\); wait for the first"):
        export(load(database, "young"), name)


def test_any_trial_that_has_a_configuration_can_be_exported(database: Path) -> None:
    digits, hopeless = load(database, "digits"), load(database, "hopeless")
    text = export(digits, number=2)
    assert text.startswith("# sweep digits, trial 2: pruned\n")
    assert yaml.safe_load(text) == as_trained(config())
    assert export(hopeless, number=3).startswith("# sweep hopeless, trial 3: failed\n")
    found = json.loads(export(hopeless, "json", number=2))
    assert (found["number"], found["value"], found["state"]) == (2, None, "diverged")
    assert all(export(hopeless, name, number=3) for name in FORMATS)
    assert export(digits, number=0) == export(digits, number=0, top=1)


def test_the_header_says_how_a_trial_ended_that_is_not_complete() -> None:
    ended = trial_record(1, "pruned", 0.7, reason="worse than\nthe median", intermediate={1: 0.9, 2: 0.7},
                         config=config())  # fmt: skip
    drawn = trial_record(2, "waiting")
    sweep = sweep_record([ended, drawn])
    assert export(sweep, number=1).splitlines()[0] == (
        "# sweep digits, trial 1: pruned: worse than the median; at validation 2, its last, val_loss = 0.7"
    )
    with pytest.raises(ResultsError, match=r"^digits: trial 2 is waiting and has no configuration$"):
        export(sweep, number=2)
    with pytest.raises(ResultsError, match=r"^digits has no trial 7; it has 0 to 2$"):
        export(sweep, number=7)
    with pytest.raises(ResultsError, match=r"^digits has no trial 0; it has none yet$"):
        export(sweep_record([]), number=0)


def test_wrong_arguments_name_the_right_ones(digits: Sweep) -> None:
    with pytest.raises(ResultsError, match="'yaml'; there are: lightning, params, json, args"):
        export(digits, "yaml")
    with pytest.raises(ResultsError, match="`top >= 1` must hold, but got top=0"):
        export(digits, top=0)


def test_writing_replaces_a_file_and_keeps_links_and_permissions(tmp_path: Path) -> None:
    file, link = tmp_path / "best.yaml", tmp_path / "link.yaml"
    write_text(file, "old")
    file.chmod(0o600)
    link.symlink_to(file)
    write_text(link, "neu é\n")
    assert link.is_symlink()
    assert file.read_text(encoding="utf-8") == "neu é\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.yaml", "link.yaml"]


def test_a_folder_that_is_missing_or_named_itself_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"there is no folder .*deep; make it first"):
        write_text(tmp_path / "deep" / "best.yaml", "x")
    with pytest.raises(ResultsError, match="a folder; name a file in it"):
        write_text(tmp_path, "x")
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match=r"there is no folder .*file; make it first"):
        write_text(tmp_path / "file" / "best.yaml", "x")
    with pytest.raises(ResultsError, match="cannot be written: File name too long"):
        write_text(tmp_path / ("n" * 300), "x")
    if Path("/dev/full").exists():
        with pytest.raises(ResultsError, match="/dev/full: cannot be written: No space left on device"):
            write_text("/dev/full", "x")


_WRITE_AS_NOBODY = """
import os, sys
from dashboards.export import ResultsError, write_text
os.setuid(65534)
try:
    write_text(sys.argv[1], "x")
except ResultsError as error:
    print(error)
"""


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="needs root to become another user")
def test_a_read_only_folder_is_one_line(tmp_path: Path) -> None:
    for folder in (tmp_path, *(p for p in tmp_path.parents if p.name.startswith(("pytest-", "popen-")))):
        folder.chmod(0o755)
    command = [sys.executable, "-c", _WRITE_AS_NOBODY, str(tmp_path / "best.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path}/best.yaml: cannot be written: Permission denied\n"
