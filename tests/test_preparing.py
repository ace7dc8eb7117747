"""A launch that has no study yet: other terminals see it and end it."""

import fcntl
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
import yaml
from rich.console import Console

from dashboards import load
from sweeps.driver import drive
from sweeps.errors import UserError
from sweeps.executors.scripted import ScriptedExecutor
from sweeps.executors.sharing import runtime_folder
from sweeps.machine import process_space
from sweeps.preparing import RESUMED, _path, check_it_is_not, preparing, stopped
from sweeps.provenance import run_with
from sweeps.storages.storage import open_storage
from sweeps.study.persistence import create_study, load_study
from sweeps.terminal.watch import watch
from tests import fakes
from tests.browser import wait_for
from tests.conftest import DIGITS, typed
from tests.live_sweeps import places_in

SLOW_TO_COME = """
import os
import time
from tests.modules import Line

class Slow(Line):
    pass

if os.environ.get("SLOW"):
    open(os.environ["SLOW"], "w").close()
    time.sleep(600)
"""
URL = "sqlite:////nowhere/sweeps.db"
HOLDS = f"""
import sys
from sweeps.preparing import preparing
with preparing("some", {URL!r}):
    print("held", flush=True)
    sys.stdin.read()
"""


def write_sweep(folder: Path, module: str, data: dict[str, str]) -> None:
    """Writes a sweep of two trials that have all CPUs, and the module that it trains."""
    (folder / "slow.py").write_text(module)
    (folder / "tests").symlink_to(Path("tests").absolute())
    spec = {
        "objective": {"metric": "val_loss", "direction": "minimize"},
        "budget": {"trials": 2},
        "model": {"class_path": "slow.Slow"},
        "data": {"class_path": "tests.modules.Data", "init_args": data},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
        "resources": {"cpus": os.cpu_count()},
        "search_space": {"model.init_args.lr": {"type": "float", "low": 0.001, "high": 0.1}},
    }
    (folder / "s.yaml").write_text(yaml.safe_dump(spec))


@contextmanager
def begun(folder: Path, *arguments: str, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    """A command that runs, and is killed at the end."""
    command = [sys.executable, "-m", "sweeps.cli", *arguments]
    with subprocess.Popen(command, cwd=folder, env=os.environ | environment, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def test_a_sweep_that_is_about_to_go_on_is_seen_and_ended_from_another_terminal(
    ray_cluster: None, tmp_path: Path
) -> None:
    write_sweep(tmp_path, SLOW_TO_COME, {})
    typed("launch", "s.yaml", "--set", "concurrency=1", folder=tmp_path)
    there = tmp_path / "there"
    with begun(tmp_path, "resume", "s", "--trials", "+1", SLOW=str(there)) as resume:
        wait_for(there.exists, 120)
        shown = typed("status", "s", folder=tmp_path)
        said = f"sweeps: s is being resumed by process {resume.pid}, which prepares it"
        assert shown.stderr.startswith(said)
        assert "finished" in shown.stdout
        for words in (["pause", "s"], ["resume", "s", "--trials", "+1"]):
            assert typed(*words, folder=tmp_path, code=2).stderr.startswith(said)
        done = typed("stop", "s", folder=tmp_path).stdout
        assert done == "s ends before it trains on; `sweeps resume s` goes on with it\n"
        told = resume.communicate(timeout=60)[0]
    assert resume.returncode == 128 + signal.SIGTERM
    assert told.endswith("sweeps: s was interrupted; `sweeps resume s` goes on with it\n")
    assert "is not running" in typed("stop", "s", folder=tmp_path, code=2).stderr
    assert typed("status", "s", folder=tmp_path).stderr == ""
    assert len(load(tmp_path / "sweeps.db", "s").trials) == 2


def test_a_launch_is_known_as_long_as_it_lives_and_has_no_study() -> None:
    with preparing("some", URL) as it_is_there:
        with pytest.raises(UserError, match=f"^some is being launched by process {os.getpid()}, "):
            load_study("some", URL)
        check_it_is_not("other", URL)
        it_is_there()
        check_it_is_not("some", URL)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"process {other.pid}"), preparing("some", URL):
            pass
        other.kill()
    folder = runtime_folder()
    assert folder is not None
    assert list(folder.glob("launch-*"))  # what it left says nothing
    assert not stopped("some", URL)
    with preparing("some", URL, RESUMED), pytest.raises(UserError, match="some is being resumed by"):
        check_it_is_not("some", URL)
    assert not list(folder.glob("launch-*"))


def test_a_study_that_is_being_made_is_not_taken_for_what_a_dead_launch_left(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'sweeps.db'}"
    optuna.create_study(study_name="s", storage=open_storage(url))
    with preparing("s", url), pytest.raises(UserError, match="s is being launched by process"):
        load_study("s", url)
    with pytest.raises(UserError, match="its launch was cut short"):
        load_study("s", url)


def test_a_sweep_that_goes_on_runs_for_all_to_see_when_its_preparation_is_over(tmp_path: Path) -> None:
    where, spec, seen = places_in(tmp_path), fakes.spec(budget={"trials": 1}), []
    mlflow = {"tracking_uri": where.tracking_uri, "experiment": "test", "key": "key", "artifacts": ""}
    notes = {"mlflow": mlflow}
    study = create_study(spec, open_storage(where.storage), validations=4, notes=notes)
    study.set_user_attr("sweep_state", "interrupted")
    drive(
        study, spec, where, ScriptedExecutor(fakes.falling, slots=1, length=4), [],
        resumed_with=run_with(str(tmp_path)),
        claimed=lambda: seen.append(load(tmp_path / "sweeps.db", "test").summary.state),
    )  # fmt: skip
    assert seen == ["running"]


def test_a_launch_in_another_container_is_ended_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with preparing("some", URL):
        monkeypatch.setattr("sweeps.preparing.process_space", lambda: "another")
        with pytest.raises(UserError, match="some is being launched in another container"):
            stopped("some", URL)
    monkeypatch.setattr("sweeps.preparing.process_space", str)  # a system that does not tell
    with preparing("some", URL), pytest.raises(UserError, match="some is being launched by process"):
        check_it_is_not("some", URL)


def test_what_a_killed_launch_has_left_in_the_file_is_not_read() -> None:
    path = _path("some", URL)
    assert path is not None
    with preparing("some", URL):
        content = path.read_bytes()
    path.write_bytes(content)
    with preparing("some", URL, RESUMED):
        assert path.read_text().split(maxsplit=1)[1].strip() == f"resumed {process_space()}"
    assert not path.exists()


def test_who_watches_waits_for_a_sweep_that_is_about_to_go_on(tmp_path: Path) -> None:
    url, out = f"sqlite:///{tmp_path / 'sweeps.db'}", io.StringIO()
    create_study(fakes.spec(), open_storage(url), validations=4).set_user_attr("sweep_state", "interrupted")
    with (
        preparing("test", url, RESUMED) as it_has_a_driver,
        pytest.raises(UserError, match="test is not running"),
    ):
        watch("test", url, Console(file=out, width=100), pause=it_has_a_driver)
    assert out.getvalue() == "test is being prepared, and trains nothing yet ...\n"


def test_a_launch_that_starts_its_workers_is_ended_as_any_other(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "sweeps.cli", "launch", str(DIGITS), "--name", "s"], cwd=tmp_path,
        stderr=subprocess.PIPE, text=True,
    ) as launch:  # fmt: skip
        wait_for(lambda: stopped("s", f"sqlite:///{tmp_path / 'sweeps.db'}"), 60)
        said = launch.communicate(timeout=60)[1]
    assert said.endswith(
        "s was interrupted before its first trial; nothing of it is left, so launch it again\n"
    )
    assert launch.returncode == 128 + signal.SIGTERM


def test_a_launch_is_seen_though_the_one_before_removes_the_file_that_it_has_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, lock = _path("some", URL), fcntl.flock
    assert path is not None

    def late(handle: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        path.unlink()
        lock(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with preparing("some", URL), pytest.raises(UserError, match="some is being launched"):
        check_it_is_not("some", URL)


def test_what_cannot_be_locked_is_no_reason_not_to_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    path = _path("some", URL)
    assert path is not None
    path.mkdir()
    with preparing("some", URL):
        check_it_is_not("some", URL)
    path.rmdir()
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows, where sweeps are only looked at
    check_it_is_not("some", URL)
