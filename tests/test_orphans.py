"""What a sweep started ends with it: real processes, killed or left alone."""

import functools
import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from sweeps.executors import orphans
from sweeps.executors.orphans import _belongs, remove
from sweeps.executors.scripted import Step
from sweeps.records import Assignment, Report
from tests import fakes
from tests.browser import wait_for
from tests.chaos.instants import descendants, title

SLEEP_IN_C = "import ctypes; ctypes.PyDLL(None).sleep(600)"
"""Keeps the interpreter's lock, so that no other thread of Python's runs."""


def is_alive(pid: int) -> bool:
    """Whether it runs; one that has ended and that nobody has asked about does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def all_gone(pids: Sequence[int]) -> Callable[[], bool]:
    return lambda: not any(map(is_alive, pids))


@pytest.fixture
def start() -> Iterator[Callable[[str], "subprocess.Popen[str]"]]:
    """Runs Python code that prints a line when it is ready; kills what is left of it."""
    started: list[subprocess.Popen[str]] = []

    def run(code: str) -> "subprocess.Popen[str]":
        environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


WITH_A_CHILD = """
import subprocess, sys
code = 'from sweeps.executors.orphans import end_with_parent; end_with_parent(); print(1, flush=True); {body}'
child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
child.wait()
"""


@pytest.mark.parametrize("body", [SLEEP_IN_C, "import time; time.sleep(600)"], ids=["in C", "in Python"])
def test_a_process_ends_with_its_parent_whatever_it_does(
    body: str, start: Callable[[str], "subprocess.Popen[str]"]
) -> None:
    parent = start(WITH_A_CHILD.format(body=body))
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert is_alive(child)
    parent.kill()
    wait_for(all_gone([child]), 10)


FRESH = """
import os, time
from pathlib import Path
from sweeps.planning.processes import FreshProcess
from sweeps.context import TrialContext
with FreshProcess(TrialContext("loss", True, "best", Path.cwd(), (os.getcwd(),))) as process:
    print(*process.map(os.getpid, [()]), flush=True)
    process.map(time.sleep, [(600,)])
"""


def test_a_process_for_measurements_ends_with_its_parent(
    start: Callable[[str], "subprocess.Popen[str]"],
) -> None:
    parent = start(FRESH)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    wait_for(all_gone([child]), 10)


def test_a_worker_that_ray_lets_go_trains_no_further(ray_cluster: None, tmp_path: Path) -> None:
    from sweeps.executors.ray import RayExecutor

    def tells_who_it_is(assignment: Assignment) -> Iterator[Step]:
        (tmp_path / "pid").write_text(str(os.getpid()))
        yield 1.0, 0.0
        yield 0.5, 0.0

    executor = RayExecutor(fakes.Scripted(tells_who_it_is), slots=1)
    executor.submit(fakes.assignment(0))
    while not isinstance(executor.next_event(), Report):
        pass
    worker = int((tmp_path / "pid").read_text())
    assert is_alive(worker)
    # Nobody kills it: Ray asks a worker to leave that nobody knows any more, and its trial still waits.
    executor._workers.slots.clear()
    del executor
    gc.collect()
    wait_for(all_gone([worker]), 30)


CLUSTER = """
import ctypes, time
import ray
from sweeps.executors.cluster import cluster
from sweeps.executors.ray import RayExecutor
from sweeps.records import Report
from tests import fakes

def blocks(assignment):
    yield 1.0, 0.0
    (ctypes.PyDLL(None).sleep if assignment.number else time.sleep)(600)
    yield 0.5, 0.0

with cluster("local", num_cpus=2):
    executor = RayExecutor(fakes.Scripted(blocks), slots=2)
    for number in range(2):
        executor.submit(fakes.assignment(number))
    for _ in range(2):
        while not isinstance(event := executor.next_event(), Report):
            pass
        executor.reply(event.number, stop=False)
    print(ray._private.worker._global_node.get_session_dir_path(), flush=True)
    time.sleep(600)
"""


def test_nothing_is_left_of_a_local_cluster_whose_driver_is_killed(
    start: Callable[[str], "subprocess.Popen[str]"],
) -> None:
    driver = start(CLUSTER)
    assert driver.stdout is not None
    folder = Path(driver.stdout.readline().strip())
    assert (folder / "logs").is_dir()
    there = descendants(driver.pid)
    titles = sorted(title(pid).partition(".")[0].strip() for pid in there if title(pid).startswith("ray::"))
    assert titles == ["ray::DashboardAgent", "ray::RuntimeEnvAgent", "ray::Worker", "ray::Worker"]
    driver.kill()
    wait_for(all_gone(there), 30)
    wait_for(lambda: not folder.exists(), 30)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody knows whether its processes have ended")
def test_the_folder_of_a_cluster_is_removed_and_no_other(tmp_path: Path) -> None:
    ours, others = (
        tmp_path / "session_2026-05-05_10-00-00_1_77",
        tmp_path / "session_2026-05-05_10-00-00_2_78",
    )
    for folder in (ours, others):
        (folder / "logs").mkdir(parents=True)
    latest = tmp_path / "session_latest"
    latest.symlink_to(others)
    remove(str(others), 77)
    remove(str(tmp_path), 77)
    assert (others / "logs").is_dir()
    remove(str(ours), 77)
    assert sorted(tmp_path.iterdir()) == [others, latest]
    ours.mkdir()
    latest.unlink()
    latest.symlink_to(ours)
    remove(str(ours), 77)
    assert list(tmp_path.iterdir()) == [others]


OPENS = (
    "import sys, time; a, b = map(open, sys.argv[1:3], sys.argv[3:]); print(1, flush=True); time.sleep(600)"
)


@pytest.mark.parametrize(
    ("session", "mode", "beside", "belongs"),
    [
        pytest.param("session_2026-05-05_10-00-00_123456_77", "a", "note", True, id="it writes there"),
        pytest.param("session_2026-05-05_10-00-00_123456_77", "r", "note", False, id="a reader of logs"),
        pytest.param("session_2026-05-05_10-00-00_123456_7", "a", "note", False, id="another driver's"),
        pytest.param("session_2026-04-01_10-00-00_123456_77", "a", "note", False, id="an earlier driver's"),
        pytest.param("session_2026-06-01_10-00-00_123456_77", "a", "note", False, id="a later driver's"),
        pytest.param("session_2026-05-05_10-00-00_123456_77", "a", "python-core-driver-01_9.log", False,
                     id="a driver, which has joined another cluster since"),
    ],
)  # fmt: skip
def test_only_what_a_cluster_started_belongs_to_it(
    session: str, mode: str, beside: str, belongs: bool, tmp_path: Path
) -> None:
    there = tmp_path / session / "logs" / "it.log"
    there.parent.mkdir(parents=True)
    there.touch()
    command = [sys.executable, "-c", OPENS, str(there), str(tmp_path / beside), mode, "a"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        proc = Path("/proc") / str(process.pid)
        span = ("session_2026-05-05_09-59-59", "session_2026-05-05_10-30-00")
        found = _belongs(proc, 77, *span)
        process.kill()
    assert found is belongs


SET_BACK = """
import os, subprocess, sys, time
from datetime import datetime, timedelta
from pathlib import Path
from sweeps.executors import orphans
began = (datetime.now() + timedelta(hours=1)).strftime(orphans.NAME)
orphans._now = lambda: began  # and then the clock was set back
reaper = orphans.Reaper()
logs = Path(sys.argv[1]) / f"{began}_123456_{os.getpid()}" / "logs"
logs.mkdir(parents=True)
sleeps = [sys.executable, "-c", "import time; time.sleep(600)"]
child = subprocess.Popen(sleeps, stdout=(logs / "it").open("w"))
print(child.pid, flush=True)
time.sleep(600)
"""


def test_what_is_left_of_a_cluster_ends_though_the_clock_was_set_back_meanwhile(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SET_BACK, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        child = int(driver.stdout.readline())
        driver.kill()
    wait_for(all_gone([child]), 30)


FORKS = """
import multiprocessing, time
from sweeps.executors.orphans import Reaper
reaper = Reaper()
child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
child.start()
reaper.close()
child.kill()  # first: it holds the pipe that is read here, too
print("closed", flush=True)
"""


def test_a_child_that_the_driver_forked_keeps_nobody_waiting(
    start: Callable[[str], "subprocess.Popen[str]"],
) -> None:
    driver = start(FORKS)
    assert driver.stdout is not None
    assert driver.stdout.readline() == "closed\n"


@pytest.mark.usefixtures("ray_cluster")
def test_a_worker_that_ray_forgot_while_it_came_leaves_and_one_that_is_called_stays() -> None:
    """As when it is killed between its being placed and its coming: then nothing that was sent reaches it."""
    import ray

    from sweeps.executors.cluster import nodes
    from sweeps.executors.workers import _node_id
    from sweeps.training.worker import Worker

    def hasty() -> object:
        orphans.FIRST_CALL_SECONDS = 0.5
        return fakes.Scripted(fakes.falling)()

    def cpus_taken() -> float:
        return sum(node.total["CPU"] - node.free["CPU"] for node in nodes().values())

    wait_for(lambda: cpus_taken() == 0)
    forgotten, wanted = (
        ray.remote(Worker).options(num_cpus=1).remote(functools.partial(orphans.guarded, hasty), "w")
        for _ in range(2)
    )
    assert ray.get(wanted.call.remote(_node_id))
    wait_for(lambda: cpus_taken() == 1)
    time.sleep(1.0)
    assert ray.get(wanted.call.remote(_node_id))
    del forgotten
    ray.kill(wanted)
