"""What keeps trials apart: nothing that one does to its process outlives it, and its output is its own."""

import contextlib
import logging
import os
import random
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sweeps.training.isolation import FLOAT32, describe_device, isolated, output_to
from sweeps.training.randomness import seed_from_nowhere


def flags() -> tuple[bool, ...]:
    cudnn = torch.backends.cudnn
    return (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32)


def set_flags() -> None:
    cudnn = torch.backends.cudnn
    cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32 = (not flag for flag in flags())


def float32() -> list[str]:
    return [torch._C._get_fp32_precision_getter(*place) for place in FLOAT32]


def set_float32() -> None:
    """As torch advises it from 2.9 on; the older interface can then not be read any more."""
    torch.backends.fp32_precision = "ieee"
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    for old in (torch.get_float32_matmul_precision, lambda: torch.backends.cudnn.allow_tf32):
        with pytest.raises(RuntimeError, match="mix of the legacy and new APIs"):
            old()


def seed_everything() -> None:
    random.seed(12)
    np.random.seed(12)
    torch.manual_seed(12)


def numpy_state() -> list[Any]:
    _, keys, *rest = np.random.get_state()
    return [keys.tolist(), *rest]  # type: ignore[union-attr]


def deterministic() -> tuple[bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


def change_environment() -> None:
    os.environ["PATH"] = "elsewhere"
    os.environ["LEFT_BEHIND"] = "1"
    os.environ.pop("HOME", None)


def rebind(name: str) -> None:
    setattr(sys, name, ["elsewhere"])


PARTS: list[tuple[str, Callable[[], Any], Callable[[], Any]]] = [
    ("Python's random numbers", random.getstate, seed_everything),
    ("NumPy's random numbers", numpy_state, seed_everything),
    ("torch's random numbers", lambda: torch.get_rng_state().tolist(), seed_everything),
    ("default dtype", torch.get_default_dtype, lambda: torch.set_default_dtype(torch.float64)),
    ("default device", lambda: torch.empty(0).device, lambda: torch.set_default_device("meta")),
    ("threads", torch.get_num_threads, lambda: torch.set_num_threads(torch.get_num_threads() + 1)),
    ("cuDNN's flags", flags, set_flags),
    (
        "matmul precision",
        torch.get_float32_matmul_precision,
        lambda: torch.set_float32_matmul_precision("medium"),
    ),
    ("attention", torch.backends.cuda.flash_sdp_enabled, lambda: torch.backends.cuda.enable_flash_sdp(False)),
    ("float32 by torch's newer interface", float32, set_float32),
    ("determinism", deterministic, lambda: torch.use_deterministic_algorithms(True, warn_only=True)),
    ("anomaly detection", torch.is_anomaly_enabled, lambda: torch.autograd.set_detect_anomaly(True)),
    ("environment", lambda: dict(os.environ), change_environment),
    ("working directory", Path.cwd, lambda: os.chdir("/")),
    ("sys.path", lambda: list(sys.path), lambda: sys.path.append("elsewhere")),
    ("sys.path replaced", lambda: list(sys.path), lambda: rebind("path")),
    ("sys.argv", lambda: list(sys.argv), lambda: sys.argv.append("--fast")),
    ("sys.argv replaced", lambda: list(sys.argv), lambda: rebind("argv")),
    ("warning filters", lambda: list(warnings.filters), lambda: warnings.simplefilter("error")),
]
every_part = pytest.mark.parametrize(
    ("look", "change"), [pytest.param(*part[1:], id=part[0]) for part in PARTS]
)


def test_a_torch_before_2_9_has_only_the_older_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch._C, "_get_fp32_precision_getter")
    with isolated():
        torch.set_float32_matmul_precision("medium")
    assert torch.get_float32_matmul_precision() == "highest"


@every_part
def test_what_a_trial_changes_is_as_before_afterwards(
    look: Callable[[], Any], change: Callable[[], Any]
) -> None:
    before = look()
    with isolated():
        change()
        assert look() != before
    assert look() == before


@every_part
def test_what_a_trial_changes_is_as_before_when_it_raises(
    look: Callable[[], Any], change: Callable[[], Any]
) -> None:
    before = look()
    with contextlib.suppress(SystemExit), isolated():
        change()
        raise SystemExit(1)
    assert look() == before


def test_a_module_may_have_set_how_exact_float32_is_by_torchs_newer_interface() -> None:
    with isolated():  # of the other tests
        set_float32()
        before = float32()
        with isolated():
            torch.set_float32_matmul_precision("high")
        assert float32() == before


def test_a_trial_draws_the_same_numbers_whatever_ran_before_it() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    with isolated():
        first = draw()
    with isolated():
        seed_everything()
        draw()
    with isolated():
        assert draw() == first


def test_a_block_within_a_trial_leaves_the_gpu_the_seed_that_the_trial_gave_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seeds: list[int] = []  # what a GPU would be given: there is none here
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    with isolated():
        seed_from_nowhere()
        [given] = seeds
        with isolated():  # such as a range test
            torch.manual_seed(1)
        assert seeds == [given, 1, given]
    with isolated():
        pass
    assert seeds[-1] == seeds[-2] not in (given, 1)


AS_A_WORKER = """
import os
from pathlib import Path

from sweeps.context import TrialContext
from sweeps.start_up import make_trial_function

make_trial_function(TrialContext("loss", True, "best", Path("unused"), (os.getcwd(),)), {})
from lightning.pytorch.utilities import rank_zero_only

print(rank_zero_only.rank, *sorted(os.environ))
"""


def test_no_worker_is_a_rank_of_another_launchers_job_whose_folders_it_still_knows() -> None:
    ranks = ("SLURM_PROCID", "RANK", "LOCAL_RANK", "JSM_NAMESPACE_RANK")
    foreign = ("SLURM_NTASKS", "SLURM_STEP_ID", "TORCHELASTIC_RUN_ID", "WORLD_SIZE", "MASTER_PORT", *ranks)
    own = ("SLURM_TMPDIR", "SLURM_CPUS_PER_TASK", "SLURM_ARRAY_TASK_ID", "LSB_JOBINDEX", "MY_RANK")
    environment = dict(os.environ) | dict.fromkeys((*foreign, *own), "1")
    done = subprocess.run(
        [sys.executable, "-c", AS_A_WORKER], env=environment, capture_output=True, text=True, check=True
    )
    number, *names = done.stdout.split()
    assert number == "0"
    assert set(names) & {*foreign, *own} == set(own)


def write_everywhere(word: str) -> None:
    """Writes a word in all the ways that a trial's output comes about."""
    print(f"{word} by print")  # noqa: T201
    print(f"{word} by stderr", file=sys.stderr)  # noqa: T201
    os.write(1, f"{word} to descriptor 1\n".encode())
    os.write(2, f"{word} to descriptor 2\n".encode())
    subprocess.run(["echo", f"{word} by a child"], check=True)


WAYS = ["by print", "by stderr", "to descriptor 1", "to descriptor 2", "by a child"]


def test_everything_that_a_trial_writes_is_in_its_log_in_order(tmp_path: Path) -> None:
    log = tmp_path / "trial-0" / "log.txt"
    with output_to(log):
        write_everywhere("inside")
    assert log.read_text().splitlines() == [f"inside {way}" for way in WAYS]


def test_what_is_written_before_and_after_goes_where_it_went(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_everywhere("before")
    with output_to(tmp_path / "log.txt"):
        write_everywhere("inside")
    write_everywhere("after")
    out, err = capfd.readouterr()
    assert "inside" not in out + err
    for word in ("before", "after"):
        assert [way for way in WAYS if f"{word} {way}" not in out + err] == []


def test_the_traceback_is_in_the_log_and_the_error_goes_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.txt"
    with pytest.raises(ValueError, match="the data are gone"), output_to(log):
        raise ValueError("the data are gone")
    write_everywhere("after")
    lines = log.read_text().splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1] == "ValueError: the data are gone"
    assert "after by a child" in capfd.readouterr().out


def test_a_log_is_continued_and_holds_any_text(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    for text in ("größe", "half \udc80"):
        with output_to(log):
            print(text)  # noqa: T201
    assert log.read_text(encoding="utf-8") == "größe\nhalf \\udc80\n"


def test_a_handler_of_logging_writes_to_the_log_of_each_trial(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("of a user's module")
    for number in range(2):
        with output_to(tmp_path / f"{number}.txt"):
            if not number:  # as `logging.basicConfig` at the head of a module does
                logger.addHandler(logging.StreamHandler())
            logger.warning("in trial %s", number)
    logger.warning("afterwards")
    assert [(tmp_path / f"{number}.txt").read_text() for number in range(2)] == [
        "in trial 0\n", "in trial 1\n"
    ]  # fmt: skip
    assert capfd.readouterr().err == "afterwards\n"


def test_what_torch_compiles_in_one_trial_does_not_use_up_what_it_compiles_in_the_next() -> None:
    compiled: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    for width in range(1, 13):
        with isolated():
            torch.compile(torch.nn.Linear(width, 1), backend=backend)(torch.zeros(2, width))
    assert len(compiled) == 12


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    def opened() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = opened()
    for _ in range(3):
        with contextlib.suppress(ValueError), output_to(tmp_path / "log.txt"):
            raise ValueError
    assert opened() == before


def test_a_device_is_described() -> None:
    assert describe_device(torch.device("cpu")) == "cpu"


def test_a_log_on_a_full_disk_costs_the_block_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code = (
        "import pathlib, resource, sys\n"
        "from sweeps.training.isolation import output_to\n"
        "early = sys.stdout\n"  # as a logging handler that was made before has it
        "with output_to(pathlib.Path('file/log.txt')):\n"
        "    print('lost')\n"
        "with output_to(pathlib.Path('log.txt')):\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (0, -1))\n"
        "    early.write('late\\n')\n"
        "    print('no room')\n"
        "print('done')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(Path.cwd()), "PYTHONUNBUFFERED": ""},
                          check=False)  # fmt: skip
    assert (done.stdout, done.stderr) == ("late\ndone\n", "")
    assert (tmp_path / "log.txt").read_text() == ""
