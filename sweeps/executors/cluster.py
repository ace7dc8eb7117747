"""The Ray cluster that a sweep runs on: one that is there, by its address, or a local one of its own."""

import contextlib
import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray._private.state import available_resources_per_node, state
from ray.exceptions import RayError, RayTaskError

from sweeps.errors import ClusterLost, UserError
from sweeps.executors import local
from sweeps.executors.address import ensure_admission, forget_token, reachable
from sweeps.executors.code import pack
from sweeps.executors.life import AWAY_SECONDS, Life, asked, lives, watched
from sweeps.executors.resources import NodeState
from sweeps.executors.sharing import ALL, NONE, Place, Shared, have_gpu_in_common, runtime_folder

OF_RAY = ("RAY_", "PYTHONBREAKPOINT")
"""How the names of environment variables begin that Ray sets."""


@contextlib.contextmanager
def cluster(
    address: str | None = None,
    folders: Sequence[str] = (),
    say: Callable[[str], None] = print,
    **options: Any,
) -> Iterator[tuple[str, ...]]:
    """The Ray cluster of one sweep: the connected one, else the one at an address, else this machine's.

    Gives the folders of code as the workers find them: a cluster that others started gets a copy.

    Args:
        address: `host:port`, `auto` for the one that `ray start` made or joined on this machine, or `local`
            for a new one of this sweep's own; None for what RAY_ADDRESS says, or else the one that
            this machine's sweeps share.
        folders: Where the user's modules are.
        say: Takes a line for the person who waits.
        options: More of `ray.init`'s for a new one, such as `num_cpus` and `num_gpus`.

    Raises:
        UserError: There is no Ray cluster at that address, or none that this process can be part of, as it
            is connected to one; or there is too much in the folders to be sent there.
    """
    if address is not None and not address.strip():  # such as a variable of a shell that is not set
        raise UserError("--address: is empty; give HOST:PORT, auto or local, or leave it out")
    with contextlib.ExitStack() as stack:
        with _starting:
            if ray.is_initialized():
                _ensure_none_is_asked_for(address)
                stack.enter_context(_users.one())
                names = tuple(folders)
            else:
                names = stack.enter_context(_own(address, folders, say, options))
        yield names


def _ensure_none_is_asked_for(address: str | None) -> None:
    if address:  # to train elsewhere than asked would be worse
        place = f"--address {address}"
        if address != "local":
            reachable(address, place)
        raise UserError(f"{place}: this process is connected to a Ray cluster already; leave it out")


@contextlib.contextmanager
def _own(
    address: str | None, folders: Sequence[str], say: Callable[[str], None], options: dict[str, Any]
) -> Iterator[tuple[str, ...]]:
    """Connects this process to a cluster, until no other sweep of it uses that either."""
    before = dict(os.environ)
    logging.getLogger("ray").setLevel(logging.ERROR)
    source = "--address" if address else "RAY_ADDRESS"
    address = address or os.environ.get("RAY_ADDRESS") or ("local" if options else None)
    with contextlib.ExitStack() as end, contextlib.ExitStack() as stack:
        stack.callback(_leave, before)
        names = tuple(folders)
        if address is None:
            stack.enter_context(_shared(say))
        elif address == "local":
            stack.enter_context(local.started(**options))
            stack.enter_context(watched(Life(_head())))
        else:
            names = _join(address, source, folders)
            stack.enter_context(watched(Life(_head(), AWAY_SECONDS)))
        try:
            yield names
        finally:
            end.enter_context(_starting)  # who comes now starts one of its own afterwards
            if _users.are_any:
                say("waiting for the other sweeps of this process, which use its cluster")
            _users.wait_for_none()


class _Users:
    """The sweeps of other threads that use the cluster of one."""

    def __init__(self) -> None:
        self._count, self._changed = 0, threading.Condition()

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        self._add(1)
        try:
            yield
        finally:
            self._add(-1)

    @property
    def are_any(self) -> bool:
        return bool(self._count)

    def _add(self, count: int) -> None:
        with self._changed:
            self._count += count
            self._changed.notify_all()

    def wait_for_none(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._count)


_users = _Users()
_starting = threading.RLock()
"""Held while a thread connects this process to a cluster, or takes it from there."""


def _leave(before: Mapping[str, str]) -> None:
    """Leaves the cluster, and the environment as it was, for what this process does later."""
    ray.shutdown()
    for name in [name for name in os.environ if name.startswith(OF_RAY)]:
        del os.environ[name]
    os.environ |= {name: value for name, value in before.items() if name.startswith(OF_RAY)}
    forget_token()


@contextlib.contextmanager
def _shared(say: Callable[[str], None]) -> Iterator[None]:
    """The cluster of this machine's sweeps: joined if it runs, else started, and kept while others use it."""
    folder, devices = runtime_folder(), _devices()
    place = Place(folder, devices) if folder else None
    with contextlib.ExitStack() as stack:
        stack.callback(place.leave if place else lambda: None)
        with place.locked() if place else contextlib.nullcontext():
            there = place.running() if place else None
            if there is None:
                for other in place.others() if place else ():
                    _ensure_gpus_are_free(other)
                stack.enter_context(local.started())
                stack.enter_context(watched(Life(address := _head())))
                if place and place.own(Shared(address, local.token(), os.getpid(), devices, sys.executable)):
                    stack.callback(place.wait_for_users, say, lives)
            elif place:
                place.use()
                stack.enter_context(watched(life := Life(there.address)))
                stack.callback(ray.shutdown)
                life.ends_with(place, there)
                _join_shared(there)
                who = f"the sweep that runs on this machine already (process {there.pid})"
                say(f"joined the cluster of {who}")
        yield


def _head() -> str:
    return str(ray.get_runtime_context().gcs_address)


def _join_shared(there: Shared) -> None:
    has_token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": there.token}
    os.environ |= has_token if there.token else {"RAY_AUTH_MODE": "disabled"}
    forget_token()
    environment = {} if there.python == sys.executable else {"py_executable": sys.executable}
    try:
        local.connect(address=there.address, runtime_env=environment or None)
    except (RayError, RuntimeError, ConnectionError, ValueError, OSError) as error:
        reason = " ".join(str(error.__cause__ or error).split())[:300]
        raise UserError(
            f"the cluster of the sweep that runs already (process {there.pid}) cannot be joined: {reason}; "
            "wait for its end, or `--address local` starts another one beside it"
        ) from None


def _devices() -> str:
    """The GPUs that a local cluster of this process has; see `Shared`."""
    if not local.machine()["GPU"]:
        return NONE
    visible = local.visible_gpus()
    return ALL if visible is None else ",".join(visible) or NONE


def _ensure_gpus_are_free(there: Shared) -> None:
    if have_gpu_in_common(there.devices, mine := _devices()):
        raise UserError(
            f"CUDA_VISIBLE_DEVICES: {mine} here, but the sweep that runs already (process {there.pid}) has "
            f"{there.devices}: set the same to join it or GPUs of your own, or say `--address local`"
        )


def _join(address: str, source: str, folders: Sequence[str]) -> tuple[str, ...]:
    """Connects to a cluster that others started; `source` is where its address was written, for messages."""
    place = f"{source} {address}"
    address = reachable(address, place)
    ensure_admission(address, place)
    # A job that was sent with code has a runtime environment already; ours has the modules' folders, too.
    os.environ.setdefault("RAY_OVERRIDE_JOB_RUNTIME_ENV", "1")
    try:
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "code.zip"
            names = pack(folders, archive)
            local.connect(address=address, runtime_env={"working_dir": str(archive)})
    except (RayError, RuntimeError, ConnectionError, ValueError, OSError) as error:
        lines = [line.strip() for line in str(error.__cause__ or error).splitlines() if line.strip()]
        raise UserError(f"{place}: the Ray cluster cannot be joined: {' '.join(lines)[:400]}") from None
    return names


def nodes() -> dict[str, NodeState]:
    """The living nodes of the connected cluster; `ray.cluster_resources` counts dead ones for a while.

    Raises:
        ClusterLost: It has ended, or this machine's part of it has.
    """
    states: list[dict[str, Any]] = asked(ray.nodes)
    drained: dict[str, int] = asked(state.get_draining_nodes)
    here = ray.get_runtime_context().get_node_id()
    if not any(node["Alive"] and node["NodeID"] == here for node in states):  # nothing that is asked begins
        raise ClusterLost("Ray's own process on this machine was killed; `sweeps resume` goes on")
    free: dict[str, dict[str, float]] = asked(available_resources_per_node)
    return {
        (name := node["NodeID"]): NodeState(
            node["Resources"], free.get(name, {}), name in drained, node["NodeManagerAddress"]
        )
        for node in states
        if node["Alive"]
    }


def node_of(actor: Any) -> str:
    """The node of an actor, also of one that has died; "" if it has none yet."""
    about: dict[str, Any] = asked(lambda: state.actor_table(actor._actor_id.hex()))
    address = about.get("Address", {})  # of one that waits, and has no process: the node whose queue it is in
    return str(address.get("NodeID", "")) if about.get("Pid") else ""


def ray_reason(error: BaseException) -> str:
    """Ray's message in one line: of a traceback the last one, without the terminal's colours."""
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", str(error)).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    # A worker that cannot begin dies with the traceback in the message, without a class of its own.
    is_traceback = isinstance(error, RayTaskError) or any(line.startswith('File "') for line in lines)
    return lines[-1 if is_traceback else 0][:300]
