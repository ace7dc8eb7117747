"""A Ray cluster of several nodes on this machine, in a process of its own that takes orders.

The process of the tests may be connected to another cluster; Ray keeps tokens and settings of the first.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dashboards import load

QUICK = {"RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "3"}
"""A dead node is found out after two seconds instead of fifteen."""


class Nodes:
    """A cluster: `address`, and nodes that come and go.

    Args:
        nodes: What each node has: the keywords of `ray.cluster_utils.Cluster.add_node`.
    """

    def __init__(self, *nodes: dict[str, Any]) -> None:
        self._folder = tempfile.mkdtemp(prefix="r-", dir="/tmp")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.clusters"], env=environment | QUICK | {"RAY_TMPDIR": self._folder},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        for node in nodes:
            self.add(**node)

    def add(self, **node: Any) -> int:
        """Starts a node and gives its number."""
        number, self.address = self._do("add", node)
        return int(number)

    def remove(self, number: int, *, kill: bool = False) -> None:
        """Ends a node, or kills it without a word."""
        self._do("kill" if kill else "remove", number)

    def drain(self, number: int) -> None:
        """Announces the end of a node, which takes nothing new from then on."""
        self._do("drain", number)

    def alive(self) -> int:
        """How many nodes the cluster has, also those that others have started."""
        [count] = self._do("count", None)
        return int(count)

    def queued(self) -> int:
        """How many workers Ray tells an autoscaler that there is no place for."""
        [count] = self._do("queued", None)
        return int(count)

    def raylets(self) -> list[int]:
        """The processes that stand for its nodes."""
        found = subprocess.run(
            ["pgrep", "-f", f"raylet/raylet .*{self._folder}"], capture_output=True, text=True
        )
        return [int(line) for line in found.stdout.split()]

    def close(self) -> None:
        """Ends everything."""
        self._process.communicate(timeout=60)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _do(self, order: str, argument: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([order, argument]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def running(folder: Path) -> set[int]:
    """The trials that have a slot: each has begun its log, and has not ended."""
    if not (folder / "sweep-files").exists():
        return set()
    begun = {int(path.parent.name.removeprefix("trial-")) for path in folder.glob("sweep-files/*/*/log.txt")}
    trials = load(folder / "sweeps.db", "small").trials
    return begun & {trial.number for trial in trials if trial.state == "running"}


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Waits until it holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.5)  # a look reads the whole study


def main() -> None:
    """Obeys the orders that come on stdin, one a line, until it ends."""
    from ray.autoscaler.v2.sdk import get_cluster_status
    from ray.cluster_utils import Cluster

    answers, sys.stdout = sys.stdout, sys.stderr
    cluster, nodes = Cluster(), []
    for line in sys.stdin:
        order, argument = json.loads(line)
        if order == "add":
            nodes.append(
                cluster.add_node(include_dashboard=False, object_store_memory=100 * 2**20, **argument)
            )
            answer = [len(nodes) - 1, cluster.address]
        elif order == "count":
            answer = [sum(node["Alive"] for node in cluster.global_state.node_table())]
        elif order == "queued":
            wanted = get_cluster_status(cluster.address).resource_demands.ray_task_actor_demand
            answer = [sum(bundle.count for demand in wanted for bundle in demand.bundles_by_count)]
        elif order == "drain":
            subprocess.run(
                [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", cluster.address,
                 "--node-id", nodes[argument].node_id, "--reason", "DRAIN_NODE_REASON_PREEMPTION",
                 "--reason-message", "maintenance", "--deadline-remaining-seconds", "600"],
                check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            answer = []
        else:
            cluster.remove_node(nodes[argument], allow_graceful=order == "remove")
            answer = []
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    cluster.shutdown()


if __name__ == "__main__":
    main()
