"""A sweep that was typed behind `uv run`, which Ray takes for an order to its workers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clusters import Nodes

CONNECTS = """
import ray
from sweeps.executors.cluster import cluster
with cluster({address!r}, ["."]):
    print(sorted(ray.get_runtime_context().runtime_env))
"""


@pytest.mark.parametrize(
    ("is_there", "expected"),
    [pytest.param(False, "[]", id="its own"), pytest.param(True, "['working_dir']", id="others'")],
)
def test_workers_are_not_started_with_uv(is_there: bool, expected: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    nodes = Nodes({"num_cpus": 1}) if is_there else None
    code = CONNECTS.format(address=nodes.address if nodes else "local")
    (tmp_path / "run").write_text(f'"{sys.executable}" -c "$1"\necho\n')
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    done = subprocess.run(  # a process that looks like `uv run`, with a child
        ["bash", "-c", 'exec -a uv bash run "$1"', "bash", code],
        cwd=tmp_path, env=environment | {"PYTHONPATH": str(Path.cwd())}, capture_output=True, text=True,
    )  # fmt: skip
    if nodes:
        nodes.close()
    assert done.stdout.split("\n")[0] == expected, done.stderr
