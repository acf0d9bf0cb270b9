"""One TensorRT engine on the GPU: its buffers, and a context and a CUDA graph for each number of hands and views."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from calibration.errors import UserError
from calibration.written_files import write_atomic
from deploy.artefact.manifest import Interface, TensorSpec
from deploy.tensorrt.cuda import Stream
from deploy.tensorrt.library import EXTRAS, Library, check_bindings, tensor_spec
from deploy.tensorrt.manifest import Profile

log = logging.getLogger(__name__)

Sizes = tuple[int, int]
"""Hands and views."""


class Buffer:
    """A tensor of at most some hands and views: memory on the GPU, and pinned memory of this machine beside it."""

    def __init__(self, stream: Stream, spec: TensorSpec, most: Sizes) -> None:
        self._stream, self._spec = stream, spec
        self._dtype = np.dtype(spec.dtype)
        shape = self.shape(most)
        self.device = stream.device_memory(int(np.prod(shape)) * self._dtype.itemsize)
        self._pinned = stream.pinned_memory((int(np.prod(shape)),), self._dtype)

    def shape(self, sizes: Sizes) -> tuple[int, ...]:
        return self._spec.sized(*sizes)

    def hand_bytes(self) -> int:
        """Bytes of one hand of a tensor without views."""
        return int(np.prod(self.shape((1, 1)))) * self._dtype.itemsize

    def write(self, array: np.ndarray) -> None:
        """Queue the way of an array to the GPU."""
        np.copyto(self._pinned[: array.size].reshape(array.shape), array, casting="same_kind")
        self._stream.copy(self.device, self._pinned.ctypes.data, array.size * self._dtype.itemsize)

    def read(self, sizes: Sizes) -> np.ndarray:
        """Queue the way back; the array holds it once the stream has been waited for, until the next time."""
        shape = self.shape(sizes)
        count = int(np.prod(shape))
        self._stream.copy(self._pinned.ctypes.data, self.device, count * self._dtype.itemsize)
        return self._pinned[:count].reshape(shape)


class DeviceNetwork:
    """A deserialised engine with its buffers. `what` names it in errors, `kernels` is where TensorRT for RTX keeps what
    it has compiled here.

    Raises UserError where TensorRT refuses the engine, it does not fit the interface, or the GPU's memory is out.
    """

    def __init__(
        self,
        library: Library,
        content: bytes,
        interface: Interface,
        profiles: tuple[Profile, ...],
        stream: Stream,
        what: str,
        kernels: Path,
    ) -> None:
        self._library, self._stream, self._what, self._kernels = library, stream, what, kernels
        self._profiles = profiles
        library.complaints.clear()
        try:
            self._runtime: Any = library.trt.Runtime(library.logger)
        except TypeError:  # as the bindings say that there is none
            raise UserError(self._failure("has no runtime here")) from None
        self._engine: Any = self._runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            raise UserError(self._refusal())
        check_bindings(_engine_tensors(library, self._engine), interface, what)
        most = (max(p.hands.most for p in profiles), max(p.views.most if p.views else 1 for p in profiles))
        self.inputs = {spec.name: Buffer(stream, spec, most) for spec in interface.inputs}
        self.outputs = {spec.name: Buffer(stream, spec, most) for spec in interface.outputs}
        # The contexts never run at the same time, so they share what they work in.
        self._scratch_bytes = int(self._engine.device_memory_size_v2)
        self._scratch = stream.device_memory(self._scratch_bytes)
        self._runs: dict[Sizes, Callable[[], None]] = {}
        self._contexts: list[Any] = []
        self._compiled: Any = None
        self._compiled_before = b""
        self._config = self._runtime_config()

    def prepare(self, sizes: Sizes) -> None:
        """Make the context and the CUDA graph of these sizes, which runs the network once or twice on what is there."""
        if sizes not in self._runs:
            self._runs[sizes] = self._make_run(sizes)

    def run(self, sizes: Sizes) -> None:
        """Queue the network on its inputs."""
        self.prepare(sizes)
        self._runs[sizes]()

    def close(self) -> None:
        """Let go of the engine, and keep what was compiled. The buffers are the stream's."""
        if self._engine is None:
            return
        self._keep_compiled()
        self._runs.clear()
        self._contexts.clear()
        self._config = self._compiled = self._engine = self._runtime = None

    def _make_run(self, sizes: Sizes) -> Callable[[], None]:
        context = self._make_context(sizes)

        def enqueue() -> None:
            if not context.execute_async_v3(self._stream.handle):
                raise UserError(self._failure("could not be run"))

        enqueue()  # whatever is made at the first run must not be in the graph
        self._stream.wait()
        if self._library.name == "tensorrt_rtx":
            return enqueue  # it captures by itself, and again when a better kernel has been compiled
        return self._stream.capture(enqueue) or enqueue

    def _make_context(self, sizes: Sizes) -> Any:
        hands, views = sizes
        fitting = (
            i for i, p in enumerate(self._profiles) if hands in p.hands and (p.views is None or views in p.views)
        )
        profile = next(fitting, None)
        if profile is None:
            taken = ", ".join(str(each.hands.most) for each in self._profiles[:1])
            raise UserError(f"{self._what}: {hands} hands and {views} views, but the engine takes 1 to {taken} hands.")
        context = self._engine.create_execution_context(self._config)
        if context is None:
            raise UserError(self._failure("got no execution context"))
        self._contexts.append(context)
        context.set_device_memory(self._scratch, self._scratch_bytes)
        done = context.set_optimization_profile_async(profile, self._stream.handle)
        self._stream.wait()
        for name, buffer in self.inputs.items():
            done = done and context.set_input_shape(name, buffer.shape(sizes))
        for name, buffer in (self.inputs | self.outputs).items():
            done = done and context.set_tensor_address(name, buffer.device)
        if not done or context.infer_shapes():
            raise UserError(self._failure(f"does not take {hands} hands and {views} views"))
        return context

    def _runtime_config(self) -> Any:
        trt = self._library.trt
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if self._library.name == "tensorrt_rtx":
            config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            self._compiled = config.create_runtime_cache()
            if self._kernels.is_file():
                self._compiled_before = self._kernels.read_bytes()
                if not self._compiled.deserialize(self._compiled_before):
                    log.info(
                        "engine: %s is of another GPU, driver or version, so kernels are compiled again", self._kernels
                    )
            config.set_runtime_cache(self._compiled)
        return config

    def _keep_compiled(self) -> None:
        if self._compiled is None:
            return
        memory = self._compiled.serialize()
        content = bytes(memoryview(memory)) if memory is not None else b""
        if content and content != self._compiled_before:
            try:
                write_atomic(self._kernels, content)
            except OSError as error:
                log.info("engine: the compiled kernels are not kept, since %s: %s", self._kernels, error.strerror)

    def _refusal(self) -> str:
        if self._library.out_of_memory():
            return self._failure(
                "does not fit the GPU's memory. Close other programs that use it (nvidia-smi lists them)"
            )
        return self._failure(
            "cannot be loaded. Build it again here: usthand export CHECKPOINT DIR --tensorrt, with the extra "
            f"`{EXTRAS[self._library.name]}` of this version"
        )

    def _failure(self, what: str) -> str:
        return f"{self._what} {what}. {self._library} says: {self._library.complaint()}"


def _engine_tensors(library: Library, engine: Any) -> tuple[list, list]:
    """Inputs and outputs of a deserialised engine, as `check_bindings` takes them."""
    sides: Mapping[Any, list] = {library.trt.TensorIOMode.INPUT: [], library.trt.TensorIOMode.OUTPUT: []}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        spec = tensor_spec(library, name, engine.get_tensor_dtype(name), engine.get_tensor_shape(name))
        sides[engine.get_tensor_mode(name)].append(spec)
    return sides[library.trt.TensorIOMode.INPUT], sides[library.trt.TensorIOMode.OUTPUT]
