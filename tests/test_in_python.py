"""Sweeps from a script or a notebook: classes, numbers and folders of theirs, and the process afterwards."""

import os
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweeps.errors import SpecError
from sweeps.executors import code
from sweeps.sweep_file.from_python import plain
from sweeps.sweep_file.loading import load_spec

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}

SWEEP: dict[str, Any] = {
    "name": "t", "objective": {"metric": "val_loss", "direction": "minimize"}, "budget": {"trials": 2},
    "data": "tests.modules.Data", "trainer": {"max_epochs": 1},
    "resources": {"cpus": 1, "gpus": 0}, "concurrency": 1,
    "search_space": {"model.init_args.lr": {"type": "float", "low": 0.01, "high": 0.1}},
}  # fmt: skip


def python(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a script of this folder."""
    (folder / "script.py").write_text(textwrap.dedent(script))
    return subprocess.run([sys.executable, "script.py"], cwd=folder, capture_output=True, text=True,
                          env=ENVIRONMENT, timeout=200, check=False)  # fmt: skip


def test_numbers_paths_and_classes_of_python_are_what_yaml_would_say() -> None:
    spec = load_spec(
        SWEEP
        | {
            "model": Counter,
            "files": Path("some") / "where",
            "search_space": {
                "model.init_args.width": {"type": "int", "low": np.int64(4), "high": np.int64(8)},
                "model.init_args.rate": {"type": "categorical", "choices": np.logspace(-3, -1, 3)},
                "model.init_args.depth": {"type": "categorical", "choices": range(1, 4)},
            },
        },
        **{"budget.trials": np.int64(3)},
    )
    assert spec.budget.trials == 3
    assert spec.base["model"] == {"class_path": "collections.Counter"}
    assert spec.files == "some/where"
    choices = [spec.search_space[f"model.init_args.{name}"]["choices"] for name in ("rate", "depth")]
    assert choices == [pytest.approx([0.001, 0.01, 0.1]), [1, 2, 3]]
    assert {type(value) for values in choices for value in values} == {float, int}


def test_numpys_arrays_of_anything_and_its_functions_are_no_matter() -> None:
    mixed = np.array([np.float32(0.5), "a"], dtype=object)
    assert plain({np.int64(1): mixed, "f": np.mean}) == {1: [0.5, "a"], "f": np.mean}
    assert type(plain(mixed)[0]) is float


def test_a_class_that_no_worker_can_import_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Net:
        pass

    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)  # as in a notebook
    rule = r"no other process can import Net, .* `%%writefile my.py`\) and say 'my.Net'"
    for given in (Net, "__main__.Net", {"class_path": Net}):
        with pytest.raises(SpecError, match=rule) as caught:
            load_spec(SWEEP | {"model": given})
        assert caught.value.key.startswith("model")


def test_the_folders_of_a_process_are_those_that_are_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own := tmp_path / "src").mkdir()
    monkeypatch.chdir(tmp_path)
    installed = [path for path in sys.path if "site-packages" in path or "lib/python" in path]
    scripts = str(Path(sys.executable).parent)
    monkeypatch.setattr(sys, "path", [scripts, "src", str(own), *installed, str(tmp_path / "none"), "known"])
    Path("known").mkdir()
    assert code.own_places([str(tmp_path / "known")]) == [str(own)]


TWO_AT_ONCE = """
    import threading, time
    import ray
    from sweeps.executors.cluster import cluster

    def first():
        with cluster("local", say=said.append, num_cpus=1, num_gpus=0):
            ready.set()
            done.wait()

    if __name__ == "__main__":
        ready, done, said = threading.Event(), threading.Event(), []
        thread = threading.Thread(target=first)
        thread.start()
        ready.wait()
        with cluster():
            done.set()
            time.sleep(0.5)
            print(thread.is_alive(), int(ray.cluster_resources()["CPU"]))
        thread.join()
        print(ray.is_initialized(), said)
"""


def test_of_two_sweeps_at_once_in_one_process_the_first_waits_for_the_other(tmp_path: Path) -> None:
    said = ["waiting for the other sweeps of this process, which use its cluster"]
    assert python(TWO_AT_ONCE, tmp_path).stdout == f"True 1\nFalse {said}\n"


INTERRUPTED = """
    import os, signal, time
    from sweeps.interruption import Interrupted, own_process, signals_raise

    if {owns}:
        own_process()
    try:
        with signals_raise():
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except Interrupted:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(10)
    except KeyboardInterrupt:
        print("goes on")
"""


@pytest.mark.parametrize(("owns", "ends"), [(False, (0, "goes on\n")), (True, (-signal.SIGINT, ""))])
def test_a_second_ctrl_c_ends_the_sweep_and_of_processes_the_command_lines_only(
    tmp_path: Path, owns: bool, ends: tuple[int, str]
) -> None:
    done = python(INTERRUPTED.format(owns=owns), tmp_path)
    assert (done.returncode, done.stdout) == ends


GROUP = """
    import os
    import ray._private.utils
    ray._private.utils.detect_fate_sharing_support = lambda: None  # as on a Mac
    from sweeps.executors import local

    if __name__ == "__main__":
        before = os.getpgrp()
        with local.started(num_cpus=1, num_gpus=0):
            print(os.getpgrp() == before)
"""


def test_a_sweep_stays_in_the_terminals_group_where_ray_would_make_one_of_its_own(tmp_path: Path) -> None:
    assert python(GROUP, tmp_path).stdout == "True\n"
