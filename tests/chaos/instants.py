"""A real sweep whose processes are killed at random instants, and which is resumed until it is done."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

from tests.chaos.checker import check
from tests.chaos.kills import Kill, timed

EPOCHS = 5


def sweep_file(folder: Path, trials: int = 50) -> None:
    """Writes the sweep file; its trials take about a second."""
    (folder / "chaos.yaml").write_text(yaml.safe_dump({
        "name": "chaos",
        "objective": {"metric": "val_loss", "direction": "minimize"},
        "budget": {"trials": trials},
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


def kill(process: "subprocess.Popen[str]", target: str) -> bool:
    """Kills the driver, or one of the worker processes that it started, if there is one."""
    if target == "driver":
        process.kill()
        process.wait()
        return True
    if workers := [pid for pid in descendants(process.pid) if title(pid).startswith("ray::Worker")]:
        os.kill(random.choice(workers), signal.SIGKILL)
    return bool(workers)


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


def kill_at_random(folder: Path, count: int, seed: int) -> list[Kill]:
    """Kills the driver or a worker of one sweep again and again, and checks it when it is done."""
    trials = 20 + 10 * count
    sweep_file(folder, trials)
    instants = random.Random(seed)
    kills: list[Kill] = []
    process = command("launch", "chaos.yaml", folder=folder)
    while len(kills) < count:
        # The workers are at work after about six seconds; the start is hit, too.
        deadline = time.monotonic() + instants.choice(
            [instants.uniform(1, 6), instants.uniform(6, 11), instants.uniform(6, 11)]
        )
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        if process.poll() is None:
            target = instants.choice(["driver", "driver", "worker"])
            if kill(process, target):
                kills.append(Kill(target, "anything (random instant)", time.time()))
        if process.poll() is None:
            continue
        assert process.poll() in (0, -signal.SIGKILL), (folder / "output.txt").read_text()[-3000:]
        if process.poll() == 0:  # it was quicker than the kills
            break
        if (folder / "sweeps.db").exists() and study_exists(folder):
            process = command("resume", "chaos", folder=folder)
        else:
            process = command("launch", "chaos.yaml", folder=folder)
    assert process.wait(20 * trials) == 0, (folder / "output.txt").read_text()[-3000:]
    study = check(folder, "chaos", trials=trials, epochs=EPOCHS, batches=8, log_every=4)
    return timed(kills, study)


def study_exists(folder: Path) -> bool:
    done = subprocess.run([sys.executable, "-m", "sweeps.cli", "status", "chaos"],
                          cwd=folder, capture_output=True, check=False)  # fmt: skip
    return done.returncode == 0
