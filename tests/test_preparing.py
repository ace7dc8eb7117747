"""A launch that has no study yet: other terminals see it and end it."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sweeps.errors import UserError
from sweeps.executors.sharing import runtime_folder
from sweeps.persistence import load_study
from sweeps.preparing import _path, check_it_is_not, preparing, stopped
from tests.browser import wait_for
from tests.conftest import DIGITS, sweeps

MODULE = """
import time
from pathlib import Path
from tests.modules import Line

class Slow(Line):
    def training_step(self, batch, batch_idx):
        size = len(batch[0] if isinstance(batch, (list, tuple)) else batch)
        Path(f"{Path(__file__).parent}/size-{size}").touch()
        time.sleep(20 if size > 8 else 0)
        return super().training_step(batch, batch_idx)
"""
URL = "sqlite:////nowhere/sweeps.db"
HOLDS = f"""
import sys
from sweeps.preparing import preparing
with preparing("some", {URL!r}):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_search_for_a_batch_size_is_seen_and_ended_from_another_terminal(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(MODULE)
    spec = {
        "objective": {"metric": "val_loss", "direction": "minimize"},
        "budget": {"trials": 2},
        "model": {"class_path": "slow.Slow"},
        "data": {"class_path": "tests.modules.Data", "init_args": {"batch_size": "auto"}},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
        "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.01}},
        "search_space": {"optimizer.init_args.lr": {"type": "float", "low": 0.001, "high": 0.1}},
    }
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(spec))
    command = [sys.executable, "-m", "sweeps.cli", "launch", "s.yaml"]
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as launch:
        wait_for(lambda: any(int(path.name[5:]) > 8 for path in tmp_path.glob("size-*")), 120)
        for words in (["status", "s"], ["watch", "s"], ["launch", "s.yaml"]):
            refused = sweeps(*words, folder=tmp_path, code=2)
            assert f"sweeps: s is being launched by process {launch.pid}, which prepares it" in refused.stderr
        assert sweeps("stop", "s", folder=tmp_path).stdout.startswith("s ends before its first trial")
        said = launch.communicate(timeout=60)[0]
    assert launch.returncode == 128 + signal.SIGTERM
    assert said.endswith(
        "s was interrupted before its first trial; nothing of it is left, so launch it again\n"
    )
    assert not list(tmp_path.glob("*.db*"))
    assert "no sweep 's'" in sweeps("stop", "s", folder=tmp_path, code=2).stderr


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
    with preparing("some", URL):
        pass
    assert not list(folder.glob("launch-*"))


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
