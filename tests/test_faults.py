"""What an error means for the process it came from: the texts that these libraries write."""

import pytest
import torch

from sweeps.training.faults import CannotAccumulateError, fault_of

MEMORY = [
    torch.OutOfMemoryError("Allocation on device"),
    RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.10 GiB"),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("HIP out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"),
    RuntimeError("Invalid buffer size: 9.00 GB"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"),
    RuntimeError("cusolver error: CUSOLVER_STATUS_INTERNAL_ERROR, when calling `cusolverDnCreate(handle)`"),
    RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"),
    RuntimeError("CUDA driver error: out of memory"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
    RuntimeError('NVML_SUCCESS == r INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp":995, '
                 "please report a bug to PyTorch."),
    RuntimeError("NCCL error in: ProcessGroupNCCL.cpp:1970, unhandled cuda error\n"
                 "ncclUnhandledCudaError: Call to CUDA function failed.\nLast error:\n"
                 "Cuda failure 2 'out of memory'"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: "
                 "you tried to allocate 400000000000 bytes."),
    RuntimeError("CUDA out of memory.", "in layer 3"),
    MemoryError("Unable to allocate 3.5 TiB for an array with shape (1, 2)"),
]  # fmt: skip
DEVICE = [
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("cuFFT error: CUFFT_EXEC_FAILED"),
    RuntimeError("CUDA driver error: unknown error"),
    RuntimeError("Triton Error [CUDA]: misaligned address"),
    RuntimeError("No CUDA GPUs are available"),
]
OTHER = [
    ValueError("the budget is out of memory of anyone"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (8x1 and 7x1)"),
    SystemExit(3),
    KeyError(("a", 1)),
    AssertionError("Torch not compiled with CUDA enabled"),
]


def shown(error: BaseException) -> str:
    return str(error)[:40]


@pytest.mark.parametrize("error", MEMORY, ids=shown)
def test_memory(error: BaseException) -> None:
    assert fault_of(error) == "oom"


@pytest.mark.parametrize("error", DEVICE, ids=shown)
def test_a_gpu_that_is_unusable_now(error: BaseException) -> None:
    assert fault_of(error) == "cuda"


@pytest.mark.parametrize("error", OTHER, ids=shown)
def test_anything_else(error: BaseException) -> None:
    assert fault_of(error) == ""


def wrapped(error: BaseException) -> list[BaseException]:
    """An error as other code hands it on."""
    caused, carried = ValueError("the training failed"), RuntimeError("ray")
    caused.__cause__ = error
    carried.cause = error  # type: ignore[attr-defined]
    group = BaseExceptionGroup("two", [ValueError("x"), ExceptionGroup("inner", [caused])])
    return [caused, carried, group, RuntimeError("wrapped", error)]


@pytest.mark.parametrize("error", wrapped(MEMORY[0]), ids=["cause", "Ray's cause", "groups", "argument"])
def test_what_is_wrapped_is_found(error: BaseException) -> None:
    assert fault_of(error) == "oom"


def test_a_chain_that_bites_its_tail_ends() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__context__, two.__context__ = two, one
    assert fault_of(one) == ""


def test_out_of_memory_that_no_smaller_batch_can_mend_only_spoils_the_process() -> None:
    error = CannotAccumulateError("CUDA out of memory.")
    error.__cause__ = MEMORY[0]
    assert fault_of(error) == "cuda"
