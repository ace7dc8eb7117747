"""Nodes of a Ray cluster killed without a word, with what they kept to themselves."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from tests.browser import wait_for
from tests.chaos.checker import check
from tests.chaos.kills import Kill, timed
from tests.chaos.workers import begins
from tests.clusters import Nodes

TRIALS, EPOCHS = 4, 8
SOON = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 3,
}
"""How soon a cluster believes that a node is dead; by default it takes half a minute."""


class PrivateNodes:
    """A cluster of a head without CPUs and of nodes with one CPU and a private folder each."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        self._nodes = Nodes({"num_cpus": 0, "_system_config": SOON})
        self.address = self._nodes.address
        self.living: dict[int, Path] = {}

    def add(self) -> None:
        """Starts a node."""
        self._count += 1
        private = self._folder / f"private-{self._count}"
        private.mkdir()
        node: dict[str, Any] = {"num_cpus": 1, "env_vars": {"PRIVATE_FOLDER": str(private)}}
        self.living[self._nodes.add(**node)] = private

    def kill(self, number: int) -> None:
        """Kills a node, and its private folder with it."""
        self._nodes.remove(number, kill=True)
        shutil.rmtree(self.living.pop(number))

    def any(self, path: str) -> bool:
        """Whether a living node has this file in its private folder."""
        return any((private / path).exists() for private in self.living.values())

    def close(self) -> None:
        """Ends the cluster."""
        self._nodes.close()


def sweep_file(folder: Path) -> None:
    (folder / "nodes.yaml").write_text(yaml.safe_dump({
        "name": "nodes",
        "objective": {"metric": "val_loss", "direction": "minimize"},
        "budget": {"trials": TRIALS},
        "model": {"class_path": "tests.chaos.mortal.Mortal", "init_args": {"seconds": 0.5}},
        "data": {"class_path": "tests.modules.Data"},
        "trainer": {"max_epochs": EPOCHS, "accelerator": "cpu", "log_every_n_steps": 4},
        "search_space": {"model.init_args.lr": {"type": "float", "low": 0.001, "high": 0.1, "log": True}},
        "pruner": "none",
        "max_failed_trials": 0,
        "resources": {"gpus": 0},
    }))  # fmt: skip
    (folder / "tests").symlink_to(Path("tests").absolute())


def kill_nodes(folder: Path) -> list[Kill]:
    """Kills both nodes of a sweep that trains, and starts two new ones.

    The trial whose checkpoint all nodes can read goes on from it; the one whose checkpoint died with its node
    starts again, and its curve shows nothing of that.
    """
    nodes = PrivateNodes(folder)
    try:
        nodes.add()
        nodes.add()
        return _kill(nodes, folder)
    finally:
        nodes.close()


def _kill(nodes: PrivateNodes, folder: Path) -> list[Kill]:
    sweep_file(folder)
    output = folder / "output.txt"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "SWEEPS_"))}
    with output.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.private", "launch", "nodes.yaml", "--address", nodes.address],
            cwd=folder, env=environment | {"OMP_NUM_THREADS": "1"}, stdout=log, stderr=log,
        )  # fmt: skip
    trial = folder / "sweep-files" / "nodes" / "trial-0"

    def both_have_saved() -> bool:
        return trial.joinpath("last.ckpt").exists() and nodes.any("trial-1/last.ckpt")

    try:
        wait_for(lambda: process.poll() is not None or both_have_saved(), 120)
        assert process.poll() is None, output.read_text()[-3000:]
        kills = []
        for number in list(nodes.living):
            kills.append(Kill("node", "training", time.time()))
            nodes.kill(number)
        nodes.add()
        nodes.add()
        assert process.wait(200) == 0, output.read_text()[-3000:]
    finally:
        process.kill()
    study = check(folder, "nodes", trials=TRIALS, epochs=EPOCHS, batches=8, log_every=4, shares_files=False)
    again = {trial.number for trial in study.trials if trial.user_attrs.get("attempt")}
    assert {0, 1} <= again  # and any that was sent to a node before its death was noticed
    first, *_, last = begins(trial / "log.txt")
    assert first == 0 < last  # from the shared checkpoint
    assert [begins(log) for log in folder.glob("private-*/trial-1/log.txt")] == [[0]]  # from nothing
    return timed(kills, study)
