"""Habits of the command line: mistakes in one line, completion of names, dry runs, silence, JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import shellingham

from sweeps.cli import main
from sweeps.storages.storage import open_storage
from sweeps.study.persistence import create_study
from tests import fakes
from tests.conftest import typed
from tests.studies import Ended, add_sweep, config

HELP = "` shows what there is"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            "launch a.yaml --trails 3", "No such option: --trails, did you mean --trials?", id="an option"
        ),
        pytest.param("-x", f"No such option: -x; `sweeps --help{HELP}", id="an option of nothing"),
        pytest.param("lunch", "No such command 'lunch'. Did you mean 'launch'?", id="a command"),
        pytest.param("trial kil", "No such command 'kil'. Did you mean 'kill'?", id="a command in a group"),
        pytest.param(
            "launch a.yaml --trials x",
            f"Invalid value for '--trials': must be a whole number; `sweeps launch --help{HELP}",
            id="a value",
        ),
        pytest.param(
            "export a --format lightnin",
            "Invalid value for '--format': 'lightnin' is not one of 'lightning', 'params', 'json', 'args', "
            "did you mean lightning?",
            id="a choice",
        ),
        pytest.param("launch", f"Missing argument 'FILE'; `sweeps launch --help{HELP}", id="an argument"),
        pytest.param("launch a --trials", "Option '--trials' requires an argument", id="no value"),
        pytest.param("status a --storage=", "Invalid value for '--storage': it is empty", id="nothing named"),
        pytest.param("launch a --address=", "Invalid value for '--address': it is empty", id="no address"),
        pytest.param("status a b", "Got unexpected extra argument(s) (b); `sweeps status", id="one too many"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(
    arguments: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sweeps", *arguments.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert ended.value.code == 2
    assert printed.out == ""
    assert printed.err.startswith(f"sweeps: {message}")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(("arguments", "code"), [("--help", 0), ("launch --help", 0), ("", 2), ("trial", 2)])
def test_help_is_help(
    arguments: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sweeps", *arguments.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code or 0) == code
    printed = capsys.readouterr()
    assert "Usage" in printed.out + printed.err


def completed(folder: Path, words: str, **environment: str) -> list[str]:
    """What bash would offer for the last word."""
    asked = {"_SWEEPS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        [sys.executable, "-c", "from sweeps.cli import main; main()"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(Path.cwd()), **asked, **environment},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return [line for line in done.stdout.split("\n") if line]


def test_a_shell_completes_the_names_of_sweeps(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/sweeps.db")
    for name in ("digits", "digits two", "größe", "it's"):
        create_study(fakes.spec(name=name), storage, validations=4)
    assert completed(tmp_path, "sweeps status ") == ["it's", "größe", "digits two", "digits"]
    assert completed(tmp_path, "sweeps resume dig") == ["digits two", "digits"]
    assert completed(tmp_path, "sweeps sta") == ["status"]
    elsewhere = {"SWEEPS_STORAGE": str(tmp_path / "sweeps.db")}
    assert completed(tmp_path.parent, "sweeps report g", **elsewhere) == ["größe"]


def test_who_names_no_sweep_is_shown_the_latest_and_where_there_is_none_what_to_do(tmp_path: Path) -> None:
    for arguments in (["status"], ["export"], ["report"], ["dashboard"]):
        refused = typed(*arguments, folder=tmp_path, code=2)
        assert "no such database; run `sweeps launch FILE` here first" in refused.stderr
    for arguments in (["resume", "digits"], ["stop", "digits"]):
        refused = typed(*arguments, folder=tmp_path, code=2)
        assert "no sweep 'digits'; it holds none yet, `sweeps launch FILE` makes one" in refused.stderr
    database = tmp_path / "sweeps.db"
    for name in ("older", "latest"):
        add_sweep(database, name, [Ended(value=0.5, config=config())])
    assert json.loads(typed("status", "--json", folder=tmp_path).stdout)["summary"]["name"] == "latest"
    assert typed("export", folder=tmp_path).stdout.startswith("# sweep latest, trial 0")
    assert typed("report", folder=tmp_path).stdout == "report.html: the report of latest\n"


def test_completion_never_complains_and_makes_nothing(tmp_path: Path) -> None:
    assert completed(tmp_path, "sweeps status ") == []
    (tmp_path / "sweeps.db").write_text("this is no database")
    assert completed(tmp_path, "sweeps status ") == []
    assert completed(tmp_path, "sweeps status ", SWEEPS_STORAGE="postgresql://nowhere/x") == []
    assert [path.name for path in tmp_path.iterdir()] == ["sweeps.db"]


def test_a_shell_that_has_no_completion_is_told_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shellingham, "detect_shell", lambda: ("tcsh", "/bin/tcsh"))
    monkeypatch.setattr(sys, "argv", ["sweeps", "--install-completion"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    expected = "sweeps: --install-completion: type it in one of bash, zsh, fish, powershell, pwsh; "
    assert capsys.readouterr().err == f"{expected}this shell is tcsh\n"


TWO = """
objective:
  - {metric: val_loss, direction: minimize}
  - {metric: val/mae, direction: minimize}
budget: {trials: 3}
model: {class_path: tests.modules.Picky}
data: {class_path: tests.modules.Data}
trainer: {max_epochs: 2, accelerator: cpu}
resources: {gpus: 0}
start_with: [{model.init_args.width: 9}]
search_space:
  model.init_args.width: {type: int, low: 1, high: 9}
  model.init_args.lr: {type: float, low: 1e-3, high: 0.5, log: true}
"""


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    (tmp_path / "two.yaml").write_text(TWO)
    return tmp_path


def test_a_dry_run_is_a_check(two: Path) -> None:
    before = sorted(two.rglob("*"))
    plan = json.loads(typed("launch", "two.yaml", "--dry-run", "--json", folder=two).stdout)
    assert (plan["name"], plan["validations"], plan["pruner"]) == ("two", 2, "none")
    assert [objective["metric"] for objective in plan["objectives"]] == ["val_loss", "val/mae"]
    assert typed("launch", "two.yaml", "--dry-run", "--quiet", folder=two).stdout == ""
    assert sorted(two.rglob("*")) == before


def test_two_objectives_and_an_invalid_configuration_from_the_command_line(
    ray_cluster: None, two: Path
) -> None:
    done = typed("launch", "two.yaml", "--set", "resources.cpus=16", "--json", folder=two)
    result = json.loads(done.stdout)
    assert "trial 0 invalid  9 is wider than 5" in done.stderr
    assert result["counts"]["complete"] == 3
    assert result["counts"]["invalid"] >= 1
    assert result["best"]["number"] == result["pareto_front"][0]["number"]
    assert set(result["best"]["values"]) == {"val_loss", "val/mae"}
    done = typed("resume", "two", "--trials", "+1", "--quiet", folder=two)
    assert (done.stdout, done.stderr) == ("", "")
    shown = typed("status", "two", folder=two).stdout
    assert "4/4 finished  4 complete" in shown
    assert "Pareto front" in shown
    exported = json.loads(typed("export", "two", "--format", "json", folder=two).stdout)
    checkpoints = {path.parent.name for path in (two / "sweep-files" / "two").glob("*/best.ckpt")}
    assert f"trial-{exported['number']}" in checkpoints
    typed("report", "two", folder=two)
    assert "The Pareto front" in (two / "report.html").read_text()


def test_the_version_is_told_with_those_of_what_trials_depend_on(tmp_path: Path) -> None:
    shown = typed("--version", folder=tmp_path).stdout
    assert shown.startswith("sweeps ")
    for name in ("Python", "optuna", "lightning", "ray", "mlflow", "torch"):
        assert f"{name} " in shown


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        ("init", "[OPTIONS] {MODEL_CLASS} [DATA_CLASS]"), ("dashboard", "[OPTIONS] [NAME]"),
        ("report", "[OPTIONS] [NAME]..."), ("logs", "[OPTIONS] {NAME} [NUMBER]"),
    ],
)  # fmt: skip
def test_what_may_be_left_out_stands_in_one_pair_of_brackets(
    tmp_path: Path, command: str, usage: str
) -> None:
    lines = typed(command, "--help", folder=tmp_path).stdout.splitlines()
    (shown,) = [line.strip() for line in lines if "Usage:" in line]
    assert shown == f"Usage: sweeps {command} {usage}"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full: Linux")
@pytest.mark.parametrize("command", ["schema", "list", "status digits --json", "export digits"])
def test_an_output_that_finds_no_room_is_said_in_one_line(tmp_path: Path, command: str) -> None:
    add_sweep(tmp_path / "sweeps.db", "digits", [Ended("complete", 0.5, config=config())])
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "sweeps.cli", *command.split()],
            cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    said = "sweeps: the output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, said)
