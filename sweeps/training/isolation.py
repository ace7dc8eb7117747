"""What keeps the trials of a process apart: process-wide state is restored, output goes to a log."""

import contextlib
import functools
import gc
import io
import os
import random
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sweeps.training.faults import chain

if TYPE_CHECKING:
    from typing_extensions import Buffer

FLOAT32 = [
    ("generic", "all"),
    *((place, what) for place in ("cuda", "mkldnn") for what in ("all", "matmul", "conv", "rnn")),
]
"""Where torch keeps how exact float32 is (TF32 or not), the general before the special: `torch.backends`."""

ATTENTION = ("flash", "mem_efficient", "math", "cudnn")
"""How torch may compute `scaled_dot_product_attention`."""


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Restores the process's state when the block ends, however it ends.

    Random number generators (Python, NumPy, torch, CUDA), default dtype and device, determinism, cuDNN,
    attention and matmul settings, thread count, environment, working directory, `sys.path`, `sys.argv` and
    warning filters are put back; what `torch.compile` made is dropped; memory that the trial held on a GPU
    is freed, also what an exception's frames hold: batches, losses, and the graphs behind them.
    """
    restore = [part() for part in (_random_state, _torch_settings, _process_settings)]
    try:
        yield
    except BaseException as error:
        for one in chain(error):
            traceback.clear_frames(one.__traceback__)
        raise
    finally:
        for put_back in restore:
            put_back()
        if "torch._dynamo" in sys.modules:
            # It compiles one piece of code some eight times, and then never again in this process.
            torch.compiler.reset()
        _free_memory()


def _random_state() -> Callable[[], None]:
    python, numpy_state, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()

    def put_back() -> None:
        random.setstate(python)
        np.random.set_state(numpy_state)
        torch.set_rng_state(cpu)
        torch.cuda.manual_seed_all(
            torch.initial_seed()
        )  # as whoever seeded torch did; later, if there is none yet

    return put_back


def _torch_settings() -> Callable[[], None]:
    cudnn = torch.backends.cudnn
    flags = ("enabled", "benchmark", "deterministic")
    before = {name: getattr(cudnn, name) for name in flags}
    attention = {name: getattr(torch.backends.cuda, f"{name}_sdp_enabled")() for name in ATTENTION}
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    float32 = _float32_settings()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    anomaly = torch.is_anomaly_enabled()

    def put_back() -> None:
        for name, value in before.items():
            setattr(cudnn, name, value)
        for name, value in attention.items():
            getattr(torch.backends.cuda, f"enable_{name}_sdp")(value)
        torch.set_default_dtype(dtype)
        torch.set_default_device(None)
        float32()
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.autograd.set_detect_anomaly(anomaly)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)

    return put_back


def _float32_settings() -> Callable[[], None]:
    """There are two interfaces; torch refuses to read the old one where the new one has set other things."""
    read = getattr(torch._C, "_get_fp32_precision_getter", None)
    write = getattr(torch._C, "_set_fp32_precision_setter", None)
    new = {place: read(*place) for place in FLOAT32} if read and write else {}  # before 2.9 only the old one
    matmul = convolutions = None
    with contextlib.suppress(RuntimeError):
        matmul = torch.get_float32_matmul_precision()
    with contextlib.suppress(RuntimeError):
        convolutions = torch.backends.cudnn.allow_tf32

    def put_back() -> None:
        if matmul is not None:
            torch.set_float32_matmul_precision(matmul)
        if convolutions is not None:
            torch.backends.cudnn.allow_tf32 = convolutions
        for place, precision in new.items():
            if read and write and read(*place) != precision:
                write(*place, precision)

    return put_back


def _process_settings() -> Callable[[], None]:
    environment, folder = dict(os.environ), Path.cwd()
    path, arguments, filters = list(sys.path), list(sys.argv), list(warnings.filters)

    def put_back() -> None:
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)
        with contextlib.suppress(FileNotFoundError):  # the trial removed it
            os.chdir(folder)
        sys.path[:], sys.argv[:] = path, arguments
        warnings.filters[:] = filters  # type: ignore[index]

    return put_back


def _free_memory() -> None:
    # What was there before the first trial is frozen (see `freeze`): this looks at the trial's objects only.
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def freeze() -> None:
    """Takes what is imported by now out of the garbage collector's view: it never becomes garbage."""
    gc.collect()
    gc.freeze()


@contextlib.contextmanager
def output_to(log: Path) -> Iterator[None]:
    """Sends everything that the process writes to stdout and stderr to a file, tracebacks included.

    It works on file descriptors, so the output of C libraries and of DataLoader processes is there, too.
    Where the file cannot be made or has no room, the output is lost and the block runs all the same.
    """
    saved = [os.dup(1), os.dup(2)]
    out, err = _streams()
    with _opened(log) as file:
        _redirect(file.fileno(), file.fileno())
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    yield
                except BaseException:
                    traceback.print_exc()
                    raise
                finally:
                    out.flush()
                    err.flush()
        finally:
            _redirect(*saved)
            for descriptor in saved:
                os.close(descriptor)


@functools.cache
def _streams() -> tuple[io.TextIOWrapper, io.TextIOWrapper]:
    """What Python writes to in each block: never closed, since handlers of `logging` keep their stream.

    Line by line, so that the order of Python's and other writers' lines is kept.
    """
    out, err = (
        io.TextIOWrapper(
            io.BufferedWriter(_Disk(descriptor, "w", closefd=False)),
            "utf-8",
            "backslashreplace",
            line_buffering=True,
        )
        for descriptor in (1, 2)
    )
    return out, err


def _opened(log: Path) -> io.FileIO:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return io.FileIO(log, "a")
    except OSError:  # a training is dearer than its log
        return io.FileIO(os.devnull, "a")


class _Disk(io.FileIO):
    """A descriptor that takes what there is room for: a full disk must not fail a training that prints."""

    def write(self, data: "Buffer") -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def _redirect(out: int, err: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # a log on a full disk: what it has no room for goes to the next
            stream.flush()
    os.dup2(out, 1)
    os.dup2(err, 2)


def blindness() -> list[str]:
    """That torch cannot use the GPU that each trial has; nothing where it can."""
    if torch.accelerator.is_available():
        return []
    return [
        f"resources.gpus: a trial has a GPU, but torch {torch.__version__} cannot use it, so it trains on "
        "the CPU: install torch for this GPU and its driver, or say `resources: {gpus: 0}`"
    ]


def describe_device(device: Any) -> str:
    """Such as `cpu` or `cuda:0 (NVIDIA H100)`."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)
