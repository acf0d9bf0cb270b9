"""A GPU that is none: CUDA's calls on this machine's memory, and TensorRT's runtime over ONNX Runtime.

With it the engine's own work runs where there is no GPU: buffers, copies, profiles, contexts, graphs, rings. It proves
nothing of CUDA or TensorRT. What a stream would do later is done at once, but for what a graph captures.
"""

import ctypes
from collections.abc import Callable
from enum import IntEnum
from types import SimpleNamespace

import numpy as np
import onnxruntime

ERRORS = SimpleNamespace(cudaSuccess=0, cudaErrorMemoryAllocation=2, cudaErrorStreamCaptureInvalidated=901)


class FakeCuda:
    """The calls of `cuda.bindings.runtime` that the project makes. `refuse` has names of calls that fail."""

    cudaError_t = ERRORS
    cudaStreamNonBlocking = 1
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyDefault=4)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(self) -> None:
        self.memory: dict[int, ctypes.Array] = {}
        self.captured: list[Callable[[], object]] | None = None
        self.launches = 0
        self.refuse: dict[str, int] = {}

    def __getattr__(self, name: str) -> Callable[..., tuple]:
        if not name.startswith("cuda"):
            raise AttributeError(name)
        return lambda *_: (self.refuse.get(name, 0),)

    def do(self, work: Callable[[], object]) -> None:
        work() if self.captured is None else self.captured.append(work)

    def cudaGetDeviceCount(self) -> tuple:
        return 0, 1

    def cudaGetDeviceProperties(self, device: int) -> tuple:
        return 0, SimpleNamespace(name=b"Fake GPU", major=8, minor=9)

    def cudaGetErrorString(self, error: int) -> tuple:
        return 0, f"error {error}".encode()

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple:
        return 0, 7

    def cudaMalloc(self, size: int) -> tuple:
        if "cudaMalloc" in self.refuse:
            return self.refuse["cudaMalloc"], None
        memory = (ctypes.c_uint8 * size)()
        self.memory[ctypes.addressof(memory)] = memory
        return 0, ctypes.addressof(memory)

    cudaMallocHost = cudaMalloc

    def cudaFree(self, address: int) -> tuple:
        del self.memory[address]
        return (0,)

    cudaFreeHost = cudaFree

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: int, stream: int) -> tuple:
        self._check(to, size)
        self._check(source, size)
        self.do(lambda: ctypes.memmove(to, source, size))
        return (0,)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple:
        self.captured = []
        return (0,)

    def cudaStreamEndCapture(self, stream: int) -> tuple:
        captured, self.captured = self.captured, None
        return self.refuse.get("cudaStreamEndCapture", 0), captured

    def cudaGraphInstantiate(self, graph: list, flags: int) -> tuple:
        return 0, graph

    def cudaGraphLaunch(self, graph: list, stream: int) -> tuple:
        self.launches += 1
        for work in graph:
            work()
        return (0,)

    def _check(self, address: int, size: int) -> None:
        assert any(at <= address and address + size <= at + len(each) for at, each in self.memory.items())


class _Severity(IntEnum):
    ERROR = 1


class _Cache:
    def deserialize(self, content: bytes) -> bool:
        return content == b"compiled"

    def serialize(self) -> bytes:
        return b"compiled"


class _Context:
    def __init__(self, cuda: FakeCuda, session: onnxruntime.InferenceSession) -> None:
        self._cuda, self._session = cuda, session
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_device_memory(self, address: int, size: int) -> None:
        assert address in self._cuda.memory

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name] = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def infer_shapes(self) -> list[str]:
        return [each.name for each in self._session.get_inputs() if each.name not in self._shapes]

    def execute_async_v3(self, stream: int) -> bool:
        self._cuda.do(self._execute)
        return True

    def _execute(self) -> None:
        given = {}
        for each in self._session.get_inputs():
            dtype = {"tensor(uint8)": np.uint8, "tensor(bool)": np.bool_}.get(each.type, np.float32)
            shape = self._shapes[each.name]
            size = int(np.prod(shape)) * np.dtype(dtype).itemsize
            content = ctypes.string_at(self._addresses[each.name], size)
            given[each.name] = np.frombuffer(content, dtype).reshape(shape)
        for spec, found in zip(self._session.get_outputs(), self._session.run(None, given), strict=True):
            content = np.asarray(found, np.float32).tobytes()
            ctypes.memmove(self._addresses[spec.name], content, len(content))


class _Engine:
    device_memory_size_v2 = 64

    def __init__(self, trt: "FakeTrt", content: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._trt = trt
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        sides = (self._session.get_inputs(), self._session.get_outputs())
        self._tensors = [(each, mode) for mode, side in enumerate(sides) for each in side]
        self.num_io_tensors = len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return self._tensors[index][0].name

    def get_tensor_dtype(self, name: str) -> str:
        return {"tensor(uint8)": "uint8", "tensor(bool)": "bool", "tensor(float)": "float32"}[
            self._tensor(name)[0].type
        ]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(size if isinstance(size, int) else -1 for size in self._tensor(name)[0].shape)

    def get_tensor_mode(self, name: str) -> int:
        return self._tensor(name)[1]

    def create_runtime_config(self) -> SimpleNamespace:
        return SimpleNamespace(
            set_execution_context_allocation_strategy=lambda strategy: None,
            create_runtime_cache=_Cache,
            set_runtime_cache=lambda cache: True,
        )

    def create_execution_context(self, config: SimpleNamespace) -> _Context:
        return _Context(self._trt.cuda, self._session)

    def _tensor(self, name: str) -> tuple:
        return next(each for each in self._tensors if each[0].name == name)


class FakeTrt:
    """What the project calls of `tensorrt` or `tensorrt_rtx_bindings` at run time; an engine is an ONNX file."""

    __version__ = "1.2.3"
    ILogger = type("ILogger", (), {"Severity": _Severity, "__init__": lambda self: None})
    uint8, bool, float32 = "uint8", "bool", "float32"
    TensorIOMode = SimpleNamespace(INPUT=0, OUTPUT=1)
    ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED=2)
    CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE=1)

    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda

    def Runtime(self, logger: object) -> SimpleNamespace:
        def deserialize(content: bytes) -> _Engine | None:
            if content == b"of another GPU":
                logger.log(_Severity.ERROR, "no kernel image")  # type: ignore[attr-defined]
                return None
            return _Engine(self, content)

        return SimpleNamespace(deserialize_cuda_engine=deserialize)
