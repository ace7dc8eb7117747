"""A Ray cluster of this machine alone: only what trains, and only for those who have its token."""

import contextlib
import functools
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
import ray._private.parameter
import ray._private.worker
from ray._common.utils import get_default_ray_temp_dir
from ray._private import ray_constants
from ray._private.node import Node
from ray._private.utils import get_num_cpus
from ray.exceptions import RayError

from sweeps.errors import ServerAway
from sweeps.executors.orphans import Reaper

OBJECT_STORE_BYTES = 128 * 2**20
"""Ray takes 30 % of the memory by default; our messages are small."""

TOKEN = secrets.token_hex(32)
"""The token of this process's local clusters; Ray reads the first one it sees for good."""

LONGEST_FOLDER = 43
"""The most bytes that the path may have in which Ray makes the folder of a cluster: the sockets' paths are 64
bytes longer, and the system takes 107 (unix(7))."""

HIDES_GPUS = ("", "-1", "NoDevFiles")
"""What CUDA_VISIBLE_DEVICES says where nothing is visible; Ray would count `-1` as a GPU."""

MIG = "MIG-"
"""How the name of a part of a GPU begins that NVIDIA's driver has divided; Ray counts only whole ones."""

UNWATCHED = {"task_events_report_interval_ms": 0}
"""No events of tasks for Ray's dashboard, which is off; a process that leaves would wait to send the last."""

QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}

OF_UV = "RAY_ENABLE_UV_RUN_RUNTIME_ENV"
# Ray prints what a dead node had logged on stdout all the same, where a program may read JSON.
ray._private.worker.print_to_stdstream = lambda *_, **__: None


@contextlib.contextmanager
def started(**options: Any) -> Iterator[None]:
    """A local cluster, of which nothing is left afterwards, nor when this process is killed.

    Args:
        options: More of `ray.init`'s, such as `num_cpus` and `num_gpus`.

    Raises:
        ServerAway: It cannot be started, as where a disk is full.
    """
    reaper = Reaper()
    try:
        _start(options)
        node: Any = ray._private.worker._global_node
        reaper.remove(node.get_session_dir_path())
        yield
    finally:
        ray.shutdown()
        reaper.close()


def _start(options: dict[str, Any]) -> None:
    """Starts a local cluster and connects this process to it.

    `ray.init` without an address would join any cluster recorded on this machine, so the address is
    always `local`. Ray turns token authentication on for local clusters and writes its token readable
    for everyone; we give it a token that lives in this process only, unless the user has one.
    """
    token_file = _token_file()
    if token_file.is_file():
        with contextlib.suppress(PermissionError):  # another user's: not ours to change
            token_file.chmod(0o600)
    else:
        os.environ.setdefault("RAY_AUTH_TOKEN", TOKEN)
    there, folder = machine(), _folder()
    settings = {
        "address": "local", "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES,
        "num_cpus": int(there["CPU"]), "num_gpus": int(there["GPU"]), "_temp_dir": folder,
    }  # fmt: skip
    try:
        with _spare(), _same_group():
            connect(**settings | {"_system_config": UNWATCHED} | options)
    except (RayError, RuntimeError, OSError) as error:  # such as a disk that is full
        raise ServerAway(_not_started(folder, error)) from error


def _not_started(folder: str, error: Exception) -> str:
    free = ""
    with contextlib.suppress(OSError):
        free = (
            f"; {shutil.disk_usage(folder).free / 2**20:,.0f} MiB are free there, TMPDIR names another place"
        )
    reason = " ".join(str(error).split())[:300]
    return f"{folder}: Ray cannot start the cluster of the workers there: {reason}{free}"


def connect(**options: Any) -> None:
    """Connects this process to a cluster, a new one or one that is there.

    Where a parent is `uv run`, Ray would start each worker with `uv run` and send it the current folder,
    data included, or refuse to where it gets our copy of the code. The workers have this process's packages
    without that, or those of their nodes; who wants it all the same sets Ray's variable for it.
    """
    before = getattr(ray_constants, OF_UV)
    setattr(ray_constants, OF_UV, before and OF_UV in os.environ)
    try:
        ray.init(**QUIET | options)
    finally:
        setattr(ray_constants, OF_UV, before)


def token() -> str:
    """The token of the cluster that this process has started; "" where the user wants none, as Ray offers."""
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return ""
    given = os.environ.get("RAY_AUTH_TOKEN")
    return given or _token_file().read_text().strip()


def machine() -> dict[str, float]:
    """What this process has of the machine, as a local cluster of it counts that."""
    from sweeps.executors.resources import ACCELERATOR

    count = _all_gpus()
    if (visible := visible_gpus()) is not None:
        is_divided = any(name.startswith(MIG) for name in visible)
        count = len(visible) if is_divided else min(count, len(visible))
    kind = _gpus().get_current_node_accelerator_type() if count else None
    there = {"CPU": float(_cpus()), "GPU": float(count)}
    return there | ({ACCELERATOR + kind: 1.0} if kind else {})


def visible_gpus() -> list[str] | None:
    """The names of the GPUs that the environment leaves to this process; None for all that there are."""
    variable = _gpus().get_visible_accelerator_ids_env_var()  # of Apple's there is none
    if variable is None or (names := os.environ.get(variable)) is None:
        return None
    return [name for name in map(str.strip, names.split(",")) if name not in HIDES_GPUS]


def _gpus() -> Any:
    """What Ray knows of GPUs of the maker of this machine's: NVIDIA, unless there are others."""
    from ray._private.accelerators import get_accelerator_manager_for_resource

    return get_accelerator_manager_for_resource("GPU")


@functools.cache
def _all_gpus() -> int:
    """How many there are, visible or not: on a Mac Ray asks a program that may take seconds, or too long."""
    return int(_gpus().get_current_node_num_accelerators())


def _cpus() -> int:
    """The CPUs that this process may use, at least one.

    Ray heeds the limits of a container, where it makes none of half a CPU, but not those that `taskset` and
    batch systems such as SLURM set.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)  # it would remark on containers
    there = int(get_num_cpus())
    return max(1, min(there, len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else there)


def _folder() -> str:
    """Where Ray shall make the folder of a cluster: its usual place, unless TMPDIR is too long or unusable.

    Then that without TMPDIR, or else, where it is another user's alone, a place of our own.
    """
    usual: str = get_default_ray_temp_dir()  # type: ignore[no-untyped-call]
    with contextlib.suppress(OSError):
        Path(usual).parent.mkdir(parents=True, exist_ok=True)
    places = [usual, "/tmp/ray", f"/tmp/ray-{os.getuid()}"]  # noqa: S108
    return next(filter(_is_usable, places), usual)


def _is_usable(folder: str) -> bool:
    there = folder if os.access(folder, os.F_OK) else Path(folder).parent
    return len(os.fsencode(folder)) <= LONGEST_FOLDER and os.access(there, os.W_OK | os.X_OK)


@contextlib.contextmanager
def _same_group() -> Iterator[None]:
    """Stays in the terminal's group of processes, or Ctrl-C would not reach a sweep that `make` starts.

    Where the system does not end Ray's processes with this one, as on a Mac, Ray makes a group of its own of
    them, with this process in it (`ray._private.services.start_reaper`).
    """
    before = os.getpgrp()
    try:
        yield
    finally:
        if os.getpgrp() != before:
            os.setpgid(0, before)


@contextlib.contextmanager
def _spare() -> Iterator[None]:
    """Without three processes that serve Ray's dashboard, `ray status`, and a driver that prints logs.

    Together they take a second of processor time at the start, the last of them 6 ms a trial, and ending
    them takes a second. `ray start` has options for two of them, `ray.init` for none.
    """
    usual: Any = ray._private.parameter.RayParams
    serve = Node.start_api_server
    spare: Any = functools.partial(usual, no_monitor=True, include_log_monitor=False)
    ray._private.parameter.RayParams = spare  # type: ignore[misc]
    Node.start_api_server = lambda *_, **__: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        ray._private.parameter.RayParams = usual  # type: ignore[misc]
        Node.start_api_server = serve  # type: ignore[method-assign]


def _token_file() -> Path:
    home = os.path.expanduser("~")  # noqa: PTH111 - `Path.home` raises in a container whose user has none
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path(home, ".ray", "auth_token"))
