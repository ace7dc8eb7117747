"""A cluster of this machine alone: what it counts, and where it keeps its files."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from ray._private.accelerators import (
    AMDGPUAcceleratorManager,
    NvidiaGPUAcceleratorManager,
    get_accelerator_manager_for_resource,
)

from sweeps.executors import local


@pytest.fixture(autouse=True)
def _counts_anew() -> None:
    local._all_gpus.cache_clear()


STARTED = """
import os, sys
if sys.argv[1:]:
    os.sched_setaffinity(0, {int(sys.argv[1])})
import ray
from sweeps.executors import local
with local.started():
    print(ray.cluster_resources()["CPU"], local.machine()["CPU"])
"""


def started(*arguments: str, **environment: str) -> list[float]:
    """The CPUs of a cluster that another process starts, and those that it counts before."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", STARTED, *arguments], env=ours | environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [float(number) for number in done.stdout.split()]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no such limit")
def test_a_process_that_may_use_one_cpu_trains_on_one() -> None:
    """As `taskset` and batch systems limit it."""
    assert started(str(min(os.sched_getaffinity(0)))) == [1.0, 1.0]


@pytest.mark.parametrize("name", ["job-" * 20, "file/job"], ids=["long", "unusable"])
def test_a_strange_folder_for_temporary_files_is_no_matter(tmp_path: Path, name: str) -> None:
    """Batch systems give each job one, also where it cannot be made; and sockets cannot have long names."""
    (tmp_path / "file").touch()
    assert min(started(TMPDIR=str(tmp_path / name))) >= 1


FULL = """
mount -t tmpfs -o nr_inodes=4 tmpfs "$1" &&
TMPDIR="$1" exec "$2" -m sweeps.cli launch "$3" --set budget.trials=1
"""


def test_a_folder_for_temporary_files_without_room_is_said_in_one_line(tmp_path: Path) -> None:
    """Of a node that others share, `/tmp` may be full: the next launch may be on another."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    with tempfile.TemporaryDirectory(dir="/tmp") as full:  # not too long for Ray's sockets
        arguments = [full, sys.executable, str(Path("sweeps/examples/digits.yaml").resolve())]
        done = subprocess.run(["unshare", "-rm", "sh", "-c", FULL, "sh", *arguments],
                              cwd=tmp_path, env=ours, capture_output=True, text=True,
                              check=False)  # fmt: skip
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip("needs namespaces of its own")
    assert done.returncode == 2, done.stderr
    [said] = done.stderr.splitlines()
    assert said.startswith(f"sweeps: {full}/ray: Ray cannot start the cluster of the workers there: ")
    assert said.endswith("MiB are free there, TMPDIR names another place")
    assert list(tmp_path.iterdir()) == []


LIMITED = """
mount --bind "$1/quota" "$2" &&
exec "$3" -c "from sweeps.executors import local; print(local.machine()['CPU'])"
"""


@pytest.mark.parametrize("quota", [50_000, 150_000])
def test_a_container_has_what_it_is_limited_to_and_one_cpu_at_least(tmp_path: Path, quota: int) -> None:
    limits = {Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"): f"{quota}\n",
              Path("/sys/fs/cgroup/cpu.max"): f"{quota} 100000\n"}  # fmt: skip
    there = next((path for path in limits if path.exists()), None)
    if there is None or shutil.which("unshare") is None:
        pytest.skip("needs control groups and namespaces")
    (tmp_path / "quota").write_text(limits[there])
    command = ["unshare", "-rm", "sh", "-c", LIMITED, "sh", str(tmp_path), str(there), sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip("needs namespaces of its own")
    assert (done.stdout, done.stderr) == ("1.0\n", "")


@pytest.mark.parametrize(
    ("visible", "expected"),
    [(None, 4), ("0,2", 2), ("0,1,2,3,4", 4), ("", 0), ("-1", 0), (",".join(["MIG-1a"] * 7), 7)],
)
def test_the_gpus_of_this_machine_are_those_that_are_visible(
    visible: str | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NvidiaGPUAcceleratorManager, "get_current_node_num_accelerators", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert local.machine()["GPU"] == expected


def test_the_gpus_of_another_maker_are_counted_as_ray_does(monkeypatch: pytest.MonkeyPatch) -> None:
    of_this = get_accelerator_manager_for_resource  # stands for Ray's search on a machine with AMD's
    monkeypatch.setattr(of_this, "_resource_name_to_accelerator_manager", {"GPU": AMDGPUAcceleratorManager})
    monkeypatch.setattr(AMDGPUAcceleratorManager, "get_current_node_num_accelerators", lambda: 4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "1,2")
    assert local.machine()["GPU"] == 2
    assert local.visible_gpus() == ["1", "2"]
