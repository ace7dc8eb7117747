"""The whole path through the command line: a real sweep, real workers, real databases, real files."""

import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from rich.console import Console

from sweeps.cli import main
from sweeps.planning.check import check
from sweeps.sweep_file.loading import load_spec
from tests.browser import wait_for
from tests.conftest import DIGITS, sweeps, typed

RUN_BY_LIGHTNING = """
from lightning.pytorch.cli import LightningCLI
cli = LightningCLI()
print("val_loss", float(cli.trainer.callback_metrics["val_loss"]))
"""


@pytest.fixture(scope="session")
def study(swept: Path) -> optuna.Study:
    return optuna.load_study(study_name="digits", storage=f"sqlite:///{swept}/sweeps.db")


@pytest.fixture(scope="session")
def client(swept: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{swept}/mlflow.db")


@pytest.fixture(scope="session")
def runs(client: MlflowClient) -> tuple[Run, dict[int, Run]]:
    """The parent run, and the child runs by trial number."""
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    [parent] = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in found if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    return parent, {int(run.data.tags["trial_number"]): run for run in children}


def test_a_sweep_finishes_its_budget_and_says_where_to_look(swept: Path, study: optuna.Study) -> None:
    printed = (swept / "launch.txt").read_text()
    lines = [line for line in printed.splitlines() if re.match(r"\[\d+/12\] trial \d+ ", line)]
    assert len(lines) == 12
    assert f"best trial {study.best_trial.number}  val_loss" in printed
    assert "sweeps export digits -o best.yaml" in printed
    assert "sweeps dashboard digits" in printed


def test_every_trial_has_ended_and_the_study_keeps_everything_needed(study: optuna.Study) -> None:
    assert len(study.trials) == 12
    assert all(trial.state.is_finished() for trial in study.trials)
    attributes = study.user_attrs
    assert attributes["sweep_state"] == "finished"
    assert attributes["lightning_sweeps"]["versions"]["optuna"] == optuna.__version__
    assert attributes["spec"]["search_space"]["data.init_args.batch_size"] == [32, 64, 128]
    for trial in study.trials:
        assert trial.user_attrs["config"]["trainer"] == {"max_epochs": 4, "log_every_n_steps": 10}
        assert trial.user_attrs["outcome"]["device"] == "cpu"


def test_the_study_database_uses_a_write_ahead_log(swept: Path) -> None:
    with sqlite3.connect(swept / "sweeps.db") as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_optuna_mlflow_and_the_logs_agree_trial_by_trial(
    swept: Path, study: optuna.Study, runs: tuple[Run, dict[int, Run]]
) -> None:
    _, children = runs
    assert sorted(children) == [trial.number for trial in study.trials]
    for trial in study.trials:
        run = children[trial.number]
        assert run.data.params == {name: str(value) for name, value in trial.params.items()}
        state = trial.user_attrs["outcome"]["state"]
        assert run.data.tags["state"] == state
        assert run.info.status == "FINISHED"
        assert state == {"COMPLETE": "complete", "PRUNED": "pruned"}[trial.state.name]
        log = (swept / "sweep-files" / "digits" / f"trial-{trial.number}" / "log.txt").read_text()
        assert "Traceback" not in log


def test_optuna_and_mlflow_agree_point_by_point(
    study: optuna.Study, runs: tuple[Run, dict[int, Run]], client: MlflowClient
) -> None:
    for trial in study.trials:
        run_id = runs[1][trial.number].info.run_id
        validated = sorted(client.get_metric_history(run_id, "val_loss"), key=lambda point: point.step)
        batches = -(-1437 // trial.params["data.init_args.batch_size"])
        assert [point.value for point in validated] == list(trial.intermediate_values.values())
        assert [point.step for point in validated] == [
            batches * epoch - 1 for epoch in range(1, len(validated) + 1)
        ]
        trained = client.get_metric_history(run_id, "train_loss")
        steps = sorted(point.step for point in trained)
        assert steps == list(range(9, batches * len(validated), 10))
        times = [point.timestamp for point in validated]
        assert times == sorted(set(times))


def test_the_parent_run_has_the_best_trial_its_checkpoint_and_config(
    study: optuna.Study, runs: tuple[Run, dict[int, Run]], client: MlflowClient, tmp_path: Path
) -> None:
    parent = runs[0]
    assert parent.data.tags["best_trial"] == str(study.best_trial.number)
    assert parent.data.metrics["best_value"] == study.best_value
    folder = Path(client.download_artifacts(parent.info.run_id, "best", str(tmp_path)))
    assert sorted(path.name for path in folder.iterdir()) == ["best.ckpt", "config.yaml"]
    assert yaml.safe_load((folder / "config.yaml").read_text()) == study.best_trial.user_attrs["config"]


def test_only_the_best_trials_checkpoints_stay(swept: Path, study: optuna.Study) -> None:
    kept = sorted((swept / "sweep-files" / "digits").rglob("*.ckpt"))
    best = f"trial-{study.best_trial.number}"
    assert [(path.parent.name, path.name) for path in kept] == [(best, "best.ckpt"), (best, "last.ckpt")]


def files_of(folder: Path) -> list[Path]:
    """All but what open connections of this process leave, and others' close, or another's test writes."""
    found = [path for path in folder.rglob("*") if not path.name.endswith(("-shm", "-wal"))]
    return sorted(path for path in found if not path.name.startswith(".report.html-"))


def test_the_folder_holds_nothing_else(swept: Path) -> None:
    there = {path.relative_to(swept).parts[0] for path in files_of(swept)} - {"launch.txt"}
    assert there == {"mlartifacts", "mlflow.db", "sweep-files", "sweeps.db"}


def test_an_exported_config_trains_in_lightning_cli_to_the_same_value(
    swept: Path, study: optuna.Study, tmp_path: Path
) -> None:
    typed("export", "digits", "-o", str(tmp_path / "best.yaml"), folder=swept)
    (tmp_path / "main.py").write_text(RUN_BY_LIGHTNING)
    done = subprocess.run(
        [sys.executable, "main.py", "fit", "--config", "best.yaml", "--trainer.logger=false"],
        cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    value = float(done.stdout.split("val_loss")[-1])
    last = list(study.best_trial.intermediate_values.values())[-1]
    assert value == pytest.approx(last, rel=1e-3)


def test_status_and_list_agree_with_the_study(swept: Path, study: optuna.Study) -> None:
    [listed] = json.loads(typed("list", "--json", folder=swept).stdout)
    status = json.loads(typed("status", "digits", "--json", folder=swept).stdout)
    assert status["summary"] == listed
    assert listed["best_value"] == study.best_value
    assert listed["counts"]["finished"] == 12
    assert len(status["trials"]) == 12
    assert "12/12 finished" in typed("status", "digits", folder=swept).stdout
    assert "digits" in sweeps("list", folder=swept).stdout


def test_a_name_that_is_taken_is_refused_and_says_how_to_go_on(swept: Path) -> None:
    before = files_of(swept)
    done = sweeps("launch", str(DIGITS), folder=swept, code=2)
    assert done.stderr == (
        f"sweeps: a sweep named 'digits' is already in {swept / 'sweeps.db'}: "
        "`sweeps status digits` shows it, `sweeps resume digits` goes on with it, "
        "`sweeps launch ... --name digits-2` starts another\n"
    )
    assert files_of(swept) == before


def test_check_prints_the_plan_and_creates_nothing(tmp_path: Path) -> None:
    options = ("--set", "price_per_hour=2.5", "--set", "budget.hours=4")
    printed = typed("check", str(DIGITS), *options, folder=tmp_path).stdout
    slots = os.cpu_count() or 1
    assert f"{2.5 * slots:,.2f} an hour for all slots, {10 * slots:,.2f} until the last trial" in printed
    for text in (
        "hidden: 64", "model.init_args.hidden", "int 16 .. 256 log", "optimizer = sgd", "64 finished trials",
        "pruned after validation", "1, 3, 9", "no mistakes found",
    ):  # fmt: skip
        assert text in printed
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_that_is_light_or_dark_shows_the_plan_in_its_own_colours() -> None:
    out = io.StringIO()
    check(load_spec(DIGITS), None, Console(file=out, force_terminal=True, color_system="truecolor"))
    codes = {
        int(code) for codes in re.findall(r"\x1b\[([\d;]+)m", out.getvalue()) for code in codes.split(";")
    }
    cyan, bright = 36, set(range(90, 98))
    assert cyan in codes
    assert not codes & (bright | {38, 48})  # those two begin a colour of our own choice


def test_the_plan_cuts_no_name_and_says_when_a_pruner_is_never_asked() -> None:
    out = io.StringIO()
    changes = ["trainer.max_epochs=1", "pruner=forecast", "start_with=[{model.init_args.hidden: 64}]"]
    check(load_spec(DIGITS, overrides=changes), None, Console(file=out, width=60))
    printed = out.getvalue()
    assert "…" not in printed
    assert "First   model.init_args.hidden=64\n" in printed
    assert "Pruner  forecast: never asked" in printed
    assert "\n        MLflow sqlite:///" in printed
    assert "looks whether val_loss is" in " ".join(printed.split())


MISTAKES = [
    pytest.param("trainr: {max_epochs: 3}", "trainr: unknown key, did you mean 'trainer'?", id="unknown key"),
    pytest.param(
        "resources: {cpus: 17}", "resources.cpus: a trial needs 17, but there are 16 here", id="too many CPUs"
    ),
    pytest.param(
        "objective: {metric: val_los, direction: minimize}", "did you mean 'val_loss'?", id="unknown metric"
    ),
    pytest.param(
        "trainer: {max_epochs: -1}", "a pruner needs a training that ends", id="unbounded with a pruner"
    ),
    pytest.param(
        "data: {class_path: sweeps.examples.digits.Digit}", "has no 'Digit'", id="a class that is not there"
    ),
]


@pytest.mark.parametrize(("line", "expected"), MISTAKES)
def test_a_mistake_is_one_line_with_exit_code_2_and_leaves_nothing_behind(
    ray_cluster: None, tmp_path: Path, line: str, expected: str
) -> None:
    key = line.partition(":")[0]
    kept = [text for text in DIGITS.read_text().splitlines(keepends=True) if not text.startswith(f"{key}:")]
    (tmp_path / "mine.yaml").write_text("".join(kept) + line + "\n")
    done = typed("launch", "mine.yaml", "--trials", "1", folder=tmp_path, code=2)
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("sweeps: ")
    assert expected in done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".yaml"] == []


def sweep_file(folder: Path, **changes: Any) -> None:
    raw = {
        "name": "small",
        "objective": {"metric": "val_loss", "direction": "minimize"},
        "budget": {"trials": 6},
        "model": {"class_path": "tests.modules.Failing"},
        "data": {"class_path": "tests.modules.Data"},
        "trainer": {"max_epochs": 2, "accelerator": "cpu", "log_every_n_steps": 4},
        "search_space": {"model.init_args.lr": {"type": "float", "low": 0.01, "high": 0.1}},
        "sampler": "random",
        "pruner": "none",
        "resources": {"gpus": 0},
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(raw | changes))
    # The modules are found beside the sweep file.
    (folder / "tests").symlink_to(Path("tests").absolute())


ALL = {"gpus": 0, "cpus": 16}
"""One worker on the cluster of the tests."""


def test_a_sweep_whose_first_trials_all_fail_stops_with_exit_code_1(
    ray_cluster: None, tmp_path: Path
) -> None:
    sweep_file(tmp_path, budget={"trials": 50}, resources=ALL)
    done = typed("launch", "small.yaml", folder=tmp_path, code=1)
    assert "trials all failed; the last one: trial" in done.stderr
    assert "is too high" in done.stderr
    [listed] = json.loads(typed("list", "--json", folder=tmp_path).stdout)
    assert listed["state"] == "failed"
    assert listed["counts"]["running"] == 0
    assert listed["counts"]["finished"] < 10


def test_failed_trials_among_others_are_recorded_and_the_sweep_goes_on(
    ray_cluster: None, tmp_path: Path
) -> None:
    limit = {"class_path": "tests.modules.Failing", "init_args": {"limit": 0.08}}
    sweep_file(tmp_path, model=limit, budget={"trials": 12}, resources=ALL)
    done = typed("launch", "small.yaml", folder=tmp_path)
    status = json.loads(typed("status", "small", "--json", folder=tmp_path).stdout)
    counts = status["summary"]["counts"]
    assert counts["failed"] > 0
    assert counts["complete"] > 0
    assert counts["failed"] + counts["complete"] == 12
    assert f"{counts['failed']} failed" in done.stdout
    failed = next(trial for trial in status["trials"] if trial["state"] == "failed")
    assert "too high" in failed["reason"]


def test_ctrl_c_ends_a_sweep_which_keeps_what_was_finished(tmp_path: Path) -> None:
    endless(tmp_path, gpus=0, cpus=os.cpu_count() or 1)
    process = subprocess.Popen(
        [sys.executable, "-m", "sweeps.cli", "launch", "small.yaml"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("[5/"):
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert_it_was_interrupted(tmp_path, errors)


class Terminal(io.StringIO):
    """Has the process sent a signal when the fifth trial is shown."""

    def write(self, text: str) -> int:
        if text.startswith("[5/"):
            signal.raise_signal(signal.SIGTERM)
        return super().write(text)


def test_sigterm_does_the_same(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    endless(tmp_path, **ALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["sweeps", "launch", "small.yaml"])
    with pytest.raises(SystemExit) as ended, redirect_stdout(Terminal()):
        main()
    assert ended.value.code == 143
    assert_it_was_interrupted(tmp_path, capfd.readouterr().err)


def test_what_is_interrupted_before_its_first_trial_leaves_nothing_and_says_so(
    ray_cluster: None, tmp_path: Path
) -> None:
    slow = {"class_path": "tests.modules.Slow", "init_args": {"seconds": 60}}
    sweep_file(tmp_path, model=slow, resources=ALL)
    usual = signal.getsignal(signal.SIGTERM)

    def interrupt() -> None:
        wait_for(lambda: signal.getsignal(signal.SIGTERM) is not usual)
        time.sleep(1)  # the driver waits for a worker, in a call of Ray's
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt).start()
    done = typed("launch", "small.yaml", folder=tmp_path, code=143)
    assert done.stderr.splitlines()[-1] == (
        "sweeps: small was interrupted before its first trial; nothing of it is left, so launch it again"
    )
    assert {path.name for path in tmp_path.iterdir()} == {"small.yaml", "tests"}


def endless(folder: Path, **resources: int) -> None:
    """A sweep that nothing but a signal ends."""
    line = {"class_path": "tests.modules.Line"}
    sweep_file(folder, model=line, budget={"trials": 100_000}, resources=resources)


def assert_it_was_interrupted(folder: Path, errors: str) -> None:
    assert errors.splitlines()[1:] == [
        "sweeps: ending; trials that run can go on from their checkpoints; again ends at once",
        "sweeps: small was interrupted; `sweeps resume small` goes on with it",
    ]
    [listed] = json.loads(typed("list", "--json", folder=folder).stdout)
    assert listed["state"] == "interrupted"
    assert listed["counts"]["complete"] >= 5
    [page] = (folder / "mlartifacts").rglob("report.html")
    assert f">{listed['counts']['finished']} of 100,000<" in page.read_text()


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['sweeps', '--help']\n"
        "from sweeps.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'ray', 'mlflow', 'optuna', 'lightning', 'plotly') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_sweep_from_python_on_the_connected_cluster(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweeps import load_spec, run_sweep

    sweep_file(tmp_path, model={"class_path": "tests.modules.Line"}, resources=ALL)
    monkeypatch.chdir(tmp_path)
    started = time.time()
    result = run_sweep(load_spec("small.yaml"))
    assert result.best is not None
    assert result.counts.total() == 6
    assert result.problems == []
    assert result.best.timing.started > started
