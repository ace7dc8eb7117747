"""What made a training fail, where that decides what happens next: memory, or a GPU that is unusable now.

Lightning's own `is_oom_error` takes only errors with one argument and knows neither cuBLAS nor NCCL nor
errors that something wrapped. Here the whole chain of an error counts: its causes, its context, groups, and
what Ray carries in `cause`.
"""

import re
from collections.abc import Iterator

from sweeps.records import Fault

MEMORY = re.compile(
    r"(cuda|hip|xpu|nccl|mps|gpu)\b[^\n]*\bout of memory"
    r"|\b(CUBLAS|CUDNN|CUSPARSE|CUSOLVER|HIPBLAS|ROCBLAS)_STATUS_ALLOC_FAILED|CUFFT_ALLOC_FAILED"
    # Their handles are made when they are first used: that fails for want of memory.
    r"|(CUBLAS|CUSOLVER|CUSPARSE)_STATUS_(NOT_INITIALIZED|INTERNAL_ERROR)[^\n]*Create|CUDNN_STATUS_NOT_INITIALIZED"
    r"|CUDNN_STATUS_INTERNAL_ERROR_(HOST|DEVICE)_ALLOC|CUSPARSE_STATUS_INSUFFICIENT_RESOURCES"
    # torch asks NVML how full the GPU is, to say so; where that has no answer, as on a part of one (MIG):
    # https://github.com/pytorch/pytorch/issues/112377
    r"|NVML_SUCCESS == [^\n]*CUDACachingAllocator"
    r"|unable to find a valid cuDNN algorithm to run convolution"
    r"|DefaultCPUAllocator: (can't allocate|not enough) memory"
    # Of a Mac's GPU, of one tensor: https://github.com/pytorch/pytorch/issues/141909
    r"|Invalid buffer size: [\d.]+ [KMGT]i?B"
    r"|nccl[^\n]*\n?[^\n]*out of memory|cudaErrorMemoryAllocation",
    re.IGNORECASE,
)
"""Texts of errors that mean: a smaller batch might fit."""

DEVICE = re.compile(
    r"(CUDA|HIP)( driver)? error|\b(CUBLAS|CUDNN|CUSPARSE|CUSOLVER)_STATUS_|(cuDNN|cuFFT) error"
    r"|Triton Error \[CUDA|device-side assert|No CUDA GPUs are available|CUDA unknown error"
    r"|cudaGetDeviceCount|illegal memory access|ncclUnhandledCudaError|uncorrectable ECC"
    r"|unspecified launch failure|GPU is lost|fallen off the bus",
    re.IGNORECASE,
)
"""Texts of errors after which the process's CUDA context is not to be trusted."""

HARDWARE = re.compile(r"uncorrectable ECC|GPU is lost|fallen off the bus|busy or unavailable", re.IGNORECASE)
"""Texts of errors that are no fault of the training: the GPU is damaged, or still with a dying process."""


class CannotAccumulateError(Exception):
    """A training ran out of memory that cannot have smaller batches for the same effective batch."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"{self.text}; its module optimises by hand, so smaller batches cannot be accumulated"


def fault_of(error: BaseException) -> Fault:
    """What made a training fail: `oom`, `cuda`, or "" for anything that leaves its process sound."""
    found: Fault = ""
    for one in chain(error):
        if isinstance(one, CannotAccumulateError):
            return "cuda"
        names = {base.__name__ for base in type(one).__mro__}
        if "OutOfMemoryError" in names or "MemoryError" in names or MEMORY.search(_text(one)):
            return "oom"
        if "AcceleratorError" in names or DEVICE.search(_text(one)):
            found = "cuda"
    return found


def is_of_hardware(error: BaseException) -> bool:
    """Whether another attempt, perhaps on another GPU, may do better."""
    return any(HARDWARE.search(_text(one)) for one in chain(error))


def _text(error: BaseException) -> str:
    """All arguments: an error with several shows only a tuple of them."""
    return " ".join([str(error), *(str(argument) for argument in error.args)])


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error and whatever it wraps, each once."""
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        wrapped = [one.__cause__, one.__context__, getattr(one, "cause", None), *one.args]
        if isinstance(one, BaseExceptionGroup):
            wrapped += one.exceptions
        waiting += [inner for inner in wrapped if isinstance(inner, BaseException)]
