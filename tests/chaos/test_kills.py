"""Real sweeps whose processes are killed at random instants, and resumed until they are done.

The short form runs in `.ci/run`; `make chaos` runs 200 kills (CHAOS_KILLS, CHAOS_SEED).
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.chaos.checker import check

KILLS = int(os.environ.get("CHAOS_KILLS", "3"))
SEED = int(os.environ.get("CHAOS_SEED", "0"))
TRIALS, EPOCHS = 20 + 10 * KILLS, 5


def sweep_file(folder: Path) -> None:
    (folder / "chaos.yaml").write_text(yaml.safe_dump({
        "name": "chaos",
        "objective": {"metric": "val_loss", "direction": "minimize"},
        "budget": {"trials": TRIALS},
        "model": {"class_path": "tests.modules.Slow"},
        "data": {"class_path": "tests.modules.Data"},
        "trainer": {"max_epochs": EPOCHS, "accelerator": "cpu", "log_every_n_steps": 4},
        "search_space": {"model.init_args.lr": {"type": "float", "low": 0.001, "high": 0.1, "log": True}},
        "pruner": "none",
        "resources": {"gpus": 0},
    }))  # fmt: skip
    (folder / "tests").symlink_to(Path("tests").absolute())


def command(*arguments: str, folder: Path) -> "subprocess.Popen[str]":
    log = (folder / "output.txt").open("a")
    return subprocess.Popen(
        [sys.executable, "-m", "sweeps.cli", *arguments], cwd=folder, stdout=log, stderr=log, text=True
    )


def ended_trials(folder: Path) -> int:
    return (folder / "output.txt").read_text().count("] trial ")


def kill(process: "subprocess.Popen[str]", target: str) -> None:
    """Kills the driver, or one of the worker processes that it started."""
    if target == "driver":
        process.kill()
        process.wait()
        return
    if workers := [pid for pid in descendants(process.pid) if title(pid).startswith("ray::Worker")]:
        os.kill(random.choice(workers), signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """The processes that a process started, and theirs."""
    done = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    children = [int(line) for line in done.stdout.split()]
    return children + [below for child in children for below in descendants(child)]


def title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


@pytest.mark.timeout(3600)
def test_a_sweep_killed_again_and_again_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    sweep_file(tmp_path)
    instants = random.Random(SEED)
    kills = 0
    process = command("launch", "chaos.yaml", folder=tmp_path)
    while kills < KILLS:
        # The workers are at work after about six seconds; the start is hit, too.
        deadline = time.monotonic() + instants.choice(
            [instants.uniform(1, 6), instants.uniform(6, 11), instants.uniform(6, 11)]
        )
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        if process.poll() is None:
            kill(process, instants.choice(["driver", "driver", "worker"]))
            kills += 1
        if process.poll() is None:
            continue
        assert process.poll() in (0, -signal.SIGKILL), (tmp_path / "output.txt").read_text()[-3000:]
        if process.poll() == 0:  # it was quicker than the kills
            break
        if (tmp_path / "sweeps.db").exists() and study_exists(tmp_path):
            process = command("resume", "chaos", folder=tmp_path)
        else:
            process = command("launch", "chaos.yaml", folder=tmp_path)
    assert process.wait(120) == 0, (tmp_path / "output.txt").read_text()[-3000:]
    assert kills >= 2
    check(tmp_path, "chaos", trials=TRIALS, epochs=EPOCHS, batches=8, log_every=4)


def study_exists(folder: Path) -> bool:
    done = subprocess.run([sys.executable, "-m", "sweeps.cli", "status", "chaos"],
                          cwd=folder, capture_output=True, check=False)  # fmt: skip
    return done.returncode == 0
