"""One local cluster a machine: who owns it, who has joined it; real sweeps on one are in `tests.long`."""

import contextlib
import os
import shutil
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.errors import UserError
from sweeps.executors import cluster
from sweeps.executors.sharing import BATCH_JOBS, Place, Shared, have_gpu_in_common, runtime_folder
from tests.clusters import wait_for

HERE = Shared("127.0.0.1:1", "token", 7, "", sys.executable)
OWN = """
import sys, time
from pathlib import Path
from sweeps.executors.sharing import Place, Shared
place = Place(Path(sys.argv[1]))
with place.locked():
    print(place.own(Shared("127.0.0.1:1", "token", 7, "", sys.executable)), flush=True)
time.sleep(600)
"""


def test_a_cluster_is_found_while_its_owner_lives_and_not_after_it_was_killed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert place.running() is None
    owner = subprocess.Popen([sys.executable, "-c", OWN, tmp_path], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "True\n"
    assert place.running() == HERE
    assert not place.own(HERE)
    owner.kill()
    owner.wait()
    assert (tmp_path / "cluster.json").exists()
    assert place.running() is None
    assert place.own(HERE)


def test_the_owner_stays_while_others_use_the_cluster(tmp_path: Path) -> None:
    owner, user, other = Place(tmp_path), Place(tmp_path), Place(tmp_path)
    owner.own(HERE)
    user.use()
    other.use()
    assert not owner._withdraw()
    user.leave()
    assert not owner._withdraw()
    other.leave()
    owner.wait_for_users(pytest.fail)
    assert not (tmp_path / "cluster.json").exists()
    assert other.own(HERE)


def test_a_folder_that_somebody_removes_is_no_matter_to_who_has_a_cluster(tmp_path: Path) -> None:
    """As at the end of a login, where it is in XDG_RUNTIME_DIR; the next sweep makes another one."""
    owner, user = Place(tmp_path / "runtime"), Place(tmp_path / "runtime")
    owner.own(HERE)
    user.use()
    shutil.rmtree(tmp_path / "runtime")
    assert not owner._withdraw()
    other = Place(tmp_path / "runtime")
    assert other.own(HERE)
    user.leave()
    owner.wait_for_users(pytest.fail)
    assert other.running() == HERE
    shutil.rmtree(tmp_path / "runtime")
    other.wait_for_users(pytest.fail)


def test_each_batch_job_and_each_choice_of_gpus_has_a_cluster_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in BATCH_JOBS:
        monkeypatch.delenv(name, raising=False)
    first, second = Place(tmp_path, "0"), Place(tmp_path, "1")
    assert first.own(replace(HERE, devices="0"))
    assert second.running() is None
    assert [other.devices for other in second.others()] == ["0"]
    assert second.own(replace(HERE, devices="1"))
    joined = Place(tmp_path, "1").running()
    assert joined is not None
    assert joined.devices == "1"
    assert {other.devices for other in Place(tmp_path, "0,1").others()} == {"0", "1"}
    monkeypatch.setenv("SLURM_JOB_ID", "7")  # where the system may call its only GPU 0, too
    assert Place(tmp_path, "0").running() is None
    assert Place(tmp_path, "0").others() == []
    first.leave()
    second.leave()


def test_who_has_joined_learns_when_the_owner_has_gone_and_leaves_nothing_of_its_cluster(
    tmp_path: Path,
) -> None:
    owner = Place(tmp_path)
    owner.own(HERE)
    watch = threading.Thread(target=Place(tmp_path).wait_for_its_end)
    watch.start()
    watch.join(0.2)
    assert watch.is_alive()
    owner.leave()  # as the kernel does for a dead process
    watch.join(30)
    assert not watch.is_alive()
    assert not (tmp_path / "cluster.json").exists()
    assert Place(tmp_path).own(HERE)


STUCK = """
import sys, time
from pathlib import Path
from sweeps.executors import life, sharing
life.LEAVING_SECONDS = 0.1
there = sharing.Shared("127.0.0.1:1", "token", 7, "none", sys.executable)
life.Life(there.address).ends_with(sharing.Place(Path(sys.argv[1])), there)
time.sleep(60)
"""


def test_a_process_that_ray_holds_back_says_why_it_ends(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STUCK, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 75
    assert done.stderr.startswith("sweeps: the sweep that had started the cluster (process 7) was killed")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("0,1", "2", False), ("0,1", "1", True), ("all", "1", True), ("all", "none", False),
        ("none", "none", False), ("GPU-1a", "GPU-1b", False), ("0", "GPU-1b", True),
    ],
)  # fmt: skip
def test_two_clusters_may_have_a_gpu_in_common(one: str, other: str, expected: bool) -> None:
    assert have_gpu_in_common(one, other) == have_gpu_in_common(other, one) == expected


@pytest.mark.parametrize(
    ("visible", "devices"), [(None, "all"), ("0, 1", "0,1"), ("", "none"), ("-1", "none")]
)
def test_the_gpus_of_a_cluster_are_those_that_its_process_sees(
    visible: str | None, devices: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cluster._devices() in ("none", os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
    monkeypatch.setattr(cluster.local, "machine", lambda: {"CPU": 8.0, "GPU": 2.0})
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert cluster._devices() == devices
    with contextlib.nullcontext() if devices in ("none", "0,1") else pytest.raises(UserError) as refused:
        cluster._ensure_gpus_are_free(Shared("", "", 7, "2,3", ""))
    if refused is not None:
        assert "(process 7) has 2,3" in str(refused.value)


OPEN = """
import os, sys
before = dict(os.environ)
from sweeps.executors.cluster import cluster
from sweeps.executors.ray import RayExecutor
from tests import fakes
with cluster(say=print):
    executor = RayExecutor(fakes.Scripted(fakes.falling), slots=1)
    print(executor.call(abs, -1), flush=True)
    executor.close()
    sys.stdin.readline()
print({name: value for name, value in os.environ.items() if "AUTH" in name and before.get(name) != value})
"""


@pytest.mark.parametrize("settings", [{"RAY_AUTH_MODE": "disabled"}, {}], ids=["without tokens", "with them"])
def test_a_cluster_is_joined_also_where_the_user_wants_no_tokens_or_has_one(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    """Ray offers both; the user's own settings are as they were afterwards."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    (tmp_path / "runtime").mkdir(0o700)
    environment = ours | settings | {"SWEEPS_RUNTIME_DIR": str(tmp_path / "runtime")}
    command = [sys.executable, "-c", OPEN]
    owner = subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == "1\n"
    environment["RAY_AUTH_TOKEN"] = "of-another-cluster" * 2
    joined = subprocess.run(command, env=environment, input="", capture_output=True, text=True, check=False)
    owner.communicate("")
    said, answer, changed = joined.stdout.splitlines()
    assert said.startswith("joined the cluster of the sweep")
    assert (answer, changed) == ("1", "{}")


def test_only_the_user_can_read_the_token(tmp_path: Path) -> None:
    Place(tmp_path).own(HERE)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {0o600}


def test_a_folder_that_others_can_enter_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPS_RUNTIME_DIR", str(tmp_path / "new"))
    assert runtime_folder() == tmp_path / "new"
    (tmp_path / "new").chmod(0o755)
    assert runtime_folder() is None
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.setenv("SWEEPS_RUNTIME_DIR", str(tmp_path / "link"))
    assert runtime_folder() is None


def test_the_folder_outlives_the_users_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_RUNTIME_DIR is removed when the user logs out, and a sweep may run on."""
    monkeypatch.delenv("SWEEPS_RUNTIME_DIR")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "login"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "login").mkdir()
    assert runtime_folder() == tmp_path / f"lightning-sweeps-{os.getuid()}"


def test_the_owners_files_do_not_grow_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody touches is removed from a folder for temporary files after some days."""
    monkeypatch.setattr("sweeps.executors.sharing.KEEP_SECONDS", 0.05)
    owner = Place(tmp_path)
    owner.own(HERE)
    files = [tmp_path, tmp_path / "owner.lock", tmp_path / "cluster.json"]
    for path in files:
        os.utime(path, (0, 0))
    wait_for(lambda: all(path.stat().st_mtime > 0 for path in files))
    owner.leave()
