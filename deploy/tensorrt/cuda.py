"""CUDA through cuda-python: the GPU, memory on it and pinned beside it, one stream, graphs. The one place for it."""

import ctypes
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from cuda.bindings import runtime as cudart  # type: ignore[attr-defined]

from calibration.errors import UserError

log = logging.getLogger(__name__)

_MIB = 1 << 20


class CudaError(RuntimeError):
    """A call of CUDA that failed, in CUDA's words."""


@dataclass(frozen=True)
class Gpu:
    name: str
    compute_capability: str


def find_gpu() -> Gpu:
    """The first GPU. Raises UserError with CUDA's reason where there is none that can be used."""
    error, count = cudart.cudaGetDeviceCount()
    if error != cudart.cudaError_t.cudaSuccess or not count:
        raise UserError(
            f"no NVIDIA GPU can be used here (CUDA says: {_words(error)}). TensorRT engines run on one: install its "
            "driver, or choose another engine: `usthand live --engine onnxruntime`, or `openvino`."
        )
    properties = call(cudart.cudaGetDeviceProperties(0))
    name = properties.name.decode() if isinstance(properties.name, bytes) else str(properties.name)
    return Gpu(name.rstrip("\0"), f"{properties.major}.{properties.minor}")


def call(result: tuple) -> Any:
    """The value of a call of cuda-python. Raises UserError where memory is out, else CudaError."""
    error, *values = result
    if error == cudart.cudaError_t.cudaErrorMemoryAllocation:
        raise UserError(
            "the GPU is out of memory. Close other programs that use it (nvidia-smi lists them), or choose "
            "another engine: `usthand live --engine onnxruntime`, or `openvino`."
        )
    if error != cudart.cudaError_t.cudaSuccess:
        raise CudaError(f"CUDA: {_words(error)}")
    return values[0] if values else None


def _words(error: Any) -> str:
    return cudart.cudaGetErrorString(error)[1].decode()


class Stream:
    """A queue of work on the GPU. What is made with it is freed by `close`."""

    def __init__(self) -> None:
        call(cudart.cudaSetDevice(0))
        self._stream = call(cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking))
        self.handle = int(self._stream)
        self._frees: list[Callable[[], tuple]] = []

    def device_memory(self, size: int) -> int:
        """The address of `size` bytes on the GPU. Raises UserError where there is no room."""
        try:
            address = int(call(cudart.cudaMalloc(max(size, 1))))
        except UserError as error:
            raise UserError(f"{size / _MIB:.0f} MiB do not fit: {error}") from None
        self._frees.append(lambda: cudart.cudaFree(address))
        return address

    def pinned_memory(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An array in memory of this machine that the GPU copies from and to without the CPU."""
        count = int(np.prod(shape))
        size = max(count * dtype.itemsize, 1)
        address = int(call(cudart.cudaMallocHost(size)))
        self._frees.append(lambda: cudart.cudaFreeHost(address))
        memory = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
        return memory[: count * dtype.itemsize].view(dtype).reshape(shape)

    def copy(self, to: int, source: int, size: int) -> None:
        """Queue a copy of bytes, each address on the GPU or in pinned memory."""
        call(cudart.cudaMemcpyAsync(to, source, size, cudart.cudaMemcpyKind.cudaMemcpyDefault, self._stream))

    def wait(self) -> None:
        """Until all that is queued is done."""
        call(cudart.cudaStreamSynchronize(self._stream))

    def capture(self, enqueue: Callable[[], None]) -> Callable[[], None] | None:
        """What `enqueue` queues as a CUDA graph: a function that queues it again at once. None where that fails.

        Nothing runs meanwhile, and `enqueue` should have run before.
        """
        try:
            call(
                cudart.cudaStreamBeginCapture(
                    self._stream, cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
                )
            )
            try:
                enqueue()
            finally:
                error, graph = cudart.cudaStreamEndCapture(self._stream)
            call((error,))
            launchable = call(cudart.cudaGraphInstantiate(graph, 0))
            call(cudart.cudaGraphDestroy(graph))
        except (CudaError, UserError) as error:
            cudart.cudaGetLastError()  # forgets it
            log.warning("engine: no CUDA graph here, so each frame is queued kernel by kernel (%s)", error)
            return None
        self._frees.append(lambda: cudart.cudaGraphExecDestroy(launchable))
        return lambda: call(cudart.cudaGraphLaunch(launchable, self._stream))

    def close(self) -> None:
        """Free everything; arrays in pinned memory must not be used any more. Twice is as good as once."""
        if not self.handle:
            return
        cudart.cudaStreamSynchronize(self._stream)
        for free in reversed(self._frees):
            free()
        self._frees.clear()
        cudart.cudaStreamDestroy(self._stream)
        self.handle = 0
