"""Real sweeps on a cluster of which a node is not as the others, or is about to go."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dashboards import load
from tests.clusters import Nodes, wait_for
from tests.test_cli import sweep_file

MINE = """
import os
from pathlib import Path
from tests.modules import Data, Slow

class Noted(Slow):
    def on_fit_start(self):
        with open(os.environ["NOTES"], "a") as file:
            file.write(os.environ["NODE"])

class Mounted(Data):
    def setup(self, stage):
        mount = os.environ.get("MOUNT")
        if mount and not Path(mount).exists():
            raise FileNotFoundError(f"{mount}: no data")
        super().setup(stage)
"""


TWO_FOR_ONE_PLACE = """
import sys

import ray

from sweeps.executors.cluster import node_of

class Other:
    def node(self):
        return ray.get_runtime_context().get_node_id()

ray.init(address=sys.argv[1], log_to_driver=False)
first, second = (ray.remote(Other).options(num_cpus=1).remote() for _ in range(2))
node = ray.get(first.node.remote())
ray.wait([second.node.remote()], timeout=3)
print([node_of(first) == node, node_of(second)])
"""


def launched(folder: Path, address: str) -> "subprocess.Popen[str]":
    """A sweep that was started on a cluster, with what it prints in `output.txt`."""
    output = (folder / "output.txt").open("w")
    # This process may be connected to another cluster, and Ray leaves that one's token in its environment.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    return subprocess.Popen(
        [sys.executable, "-m", "sweeps.cli", "launch", "small.yaml", "--address", address],
        cwd=folder, env=environment | {"COLUMNS": "300"}, stdout=output, stderr=output, text=True,
    )  # fmt: skip


def test_nodes_that_are_not_as_the_others_get_no_trials(tmp_path: Path) -> None:
    """One of them has a torch that cannot be imported; of another the mount with the data goes."""
    broken, mount = tmp_path / "broken", tmp_path / "mount"
    (broken / "torch").mkdir(parents=True)
    (broken / "torch" / "__init__.py").write_text("raise ImportError('libcudart.so: no such file')\n")
    mount.touch()
    nodes = Nodes(
        {"num_cpus": 1},
        {"num_cpus": 6, "env_vars": {"PYTHONPATH": str(broken)}},
        {"num_cpus": 1, "env_vars": {"MOUNT": str(mount)}},
    )
    (tmp_path / "mine.py").write_text(MINE)
    sweep_file(
        tmp_path, budget={"trials": 24}, data={"class_path": "mine.Mounted"},
        model={"class_path": "tests.modules.Slow", "init_args": {"seconds": 0.3}},
    )  # fmt: skip
    with launched(tmp_path, nodes.address) as process:
        wait_for(lambda: "[4/24]" in (tmp_path / "output.txt").read_text())
        mount.unlink()
        assert process.wait(200) == 0
    nodes.close()
    printed = (tmp_path / "output.txt").read_text()
    assert printed.count("workers cannot begin there: ImportError: libcudart.so: no such file") == 1
    assert printed.count("trials in a row failed there before the first validation, elsewhere 0 of ") == 1
    states = [trial.state for trial in load(tmp_path / "sweeps.db", "small").trials]
    assert 2 <= states.count("failed") <= 8
    assert states.count("complete") == 24 - states.count("failed")


def test_a_node_that_does_not_share_the_folder_of_the_files_is_refused(tmp_path: Path) -> None:
    """Logs and checkpoints would be written there, found by nobody."""
    if subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("this user may not hide a folder from a process")
    nodes = Nodes({"num_cpus": 0})
    sweep_file(tmp_path, model={"class_path": "tests.modules.Line"})
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--address", nodes.address, "--block"]
    hidden = [
        "unshare",
        "-m",
        "bash",
        "-c",
        'mount -t tmpfs none "$1" && exec "${@:2}"',
        "bash",
        str(tmp_path),
    ]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    with subprocess.Popen([*hidden, *ray, "--num-cpus", "1"], env=environment,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as node:  # fmt: skip
        try:
            wait_for(lambda: nodes.alive() == 2)
            with launched(tmp_path, nodes.address) as process:
                assert process.wait(100) == 2
        finally:
            node.terminate()
    nodes.close()
    assert (
        f"files: {tmp_path}/sweep-files/small is not shared with this node"
        in (tmp_path / "output.txt").read_text()
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["output.txt", "small.yaml", "tests"]


def test_who_waits_in_the_queue_of_another_node_has_none() -> None:
    nodes = Nodes({"num_cpus": 0}, {"num_cpus": 1})
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", TWO_FOR_ONE_PLACE, nodes.address],
        env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    nodes.close()
    assert done.stdout == "[True, '']\n", done.stderr


def test_a_sweep_asks_for_nodes_that_are_not_there_yet(tmp_path: Path) -> None:
    """This test is the autoscaler: it sees what Ray tells one, and adds a node for it."""
    nodes = Nodes({"num_cpus": 0})
    sweep_file(
        tmp_path, budget={"trials": 12}, resources={"gpus": 1, "autoscaling": True},
        model={"class_path": "tests.modules.Slow", "init_args": {"seconds": 0.5}},
    )  # fmt: skip
    with launched(tmp_path, nodes.address) as process:
        line = "waiting for a free place: a trial takes 1 CPU and 1 GPU, and no node has that yet"
        wait_for(lambda: line in (tmp_path / "output.txt").read_text())
        assert nodes.queued() == 1  # not more, before the model has passed the check
        nodes.add(num_cpus=2, num_gpus=2)
        wait_for(lambda: nodes.queued() > 3)
        before = nodes.queued()
        assert process.wait(120) == 0
    assert before <= 10  # two train
    assert nodes.queued() == 0
    nodes.close()
    assert [trial.state for trial in load(tmp_path / "sweeps.db", "small").trials] == ["complete"] * 12


def test_workers_that_queue_die_with_a_node_and_no_trial_fails_for_it(tmp_path: Path) -> None:
    nodes = Nodes({"num_cpus": 0}, {"num_cpus": 1})
    sweep_file(
        tmp_path, budget={"trials": 30}, resources={"gpus": 0, "autoscaling": True},
        retries={"lost_workers": 1}, model={"class_path": "tests.modules.Slow"},
    )  # fmt: skip
    with launched(tmp_path, nodes.address) as process:
        wait_for(lambda: nodes.queued() == 16)
        nodes.remove(1, kill=True)
        nodes.add(num_cpus=1)
        assert process.wait(120) == 0
    nodes.close()
    assert [trial.state for trial in load(tmp_path / "sweeps.db", "small").trials] == ["complete"] * 30


def test_a_node_that_is_drained_gets_no_further_trial(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.touch()
    nodes = Nodes(*({"num_cpus": 1, "env_vars": {"NODE": node, "NOTES": str(notes)}} for node in "ab"))
    (tmp_path / "mine.py").write_text(MINE)
    sweep_file(
        tmp_path, budget={"trials": 500}, model={"class_path": "mine.Noted", "init_args": {"seconds": 0.5}}
    )
    with launched(tmp_path, nodes.address) as process:
        try:
            wait_for(lambda: set(notes.read_text()) == {"a", "b"})
            nodes.drain(1)
            wait_for(lambda: notes.read_text().endswith("aaa"))  # both have gone on until it was seen
            before = notes.read_text()
            wait_for(lambda: len(notes.read_text()) > len(before) + 5)
        finally:
            process.terminate()
        assert process.wait(60) == 143
    nodes.close()
    assert notes.read_text().count("b") == before.count("b")
    assert "failed" not in [trial.state for trial in load(tmp_path / "sweeps.db", "small").trials]
