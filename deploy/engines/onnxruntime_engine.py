"""ONNX Runtime: CUDA where its package and a GPU are there, else the CPU."""

import contextlib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from deploy.engines.devices import has_cuda
from deploy.engines.exported import ExportedEngine, Shapes
from deploy.image_network import batch_of, check_input, padded

_ERRORS = 3
_CUDA = "CUDAExecutionProvider"


class OnnxruntimeNetwork:
    """A session whose inputs and outputs are bound once for each size, where the device has them."""

    def __init__(self, session: onnxruntime.InferenceSession, device: str) -> None:
        self._session, self._device = session, device
        self._bound: dict[tuple, tuple[onnxruntime.IOBinding, dict[str, onnxruntime.OrtValue]]] = {}

    def prepare(self, shapes: Shapes) -> None:
        """Nothing is made ready: ONNX Runtime takes any size as it comes."""

    def __call__(self, given: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        key = tuple(array.shape for array in given.values())
        if key not in self._bound:
            self._bound[key] = self._bind(given)
        binding, values = self._bound[key]
        for name, value in values.items():
            value.update_inplace(given[name])
        self._session.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()

    def _bind(self, given: Mapping[str, np.ndarray]) -> tuple[onnxruntime.IOBinding, dict[str, onnxruntime.OrtValue]]:
        binding, values = self._session.io_binding(), {}
        for name, array in given.items():
            value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype, self._device)
            binding.bind_ortvalue_input(name, value)
            values[name] = value
        for output in self._session.get_outputs():
            binding.bind_output(output.name, self._device)
        return binding, values


def onnxruntime_engine(directory: Path, threads: int = 0) -> ExportedEngine:
    """`threads` 0 is ONNX Runtime's choice. Raises UserError for a directory that is not as it was exported."""
    device = _device()

    def load(onnx: bytes) -> OnnxruntimeNetwork:
        return OnnxruntimeNetwork(_session(onnx, threads), device)

    return ExportedEngine(directory, _title(device), load)


class OnnxruntimeImages:
    """An ImageNetwork that takes batches of any size as they come; on CUDA filled up to one of few sizes."""

    def __init__(self, path: Path, content: bytes, image_shape: tuple[int, ...]) -> None:
        session = _session(content, 0, spin=False)
        sizes = [tuple(size if isinstance(size, int) else None for size in each.shape) for each in session.get_inputs()]
        check_input(path, sizes, image_shape)
        self._input = session.get_inputs()[0].name
        self._alone = sizes[0][0] == 1
        self._on_cuda = _device() == "cuda"
        self._network = OnnxruntimeNetwork(session, _device())
        self.name = _title(_device())
        self.outputs = tuple(output.name for output in session.get_outputs())

    def __call__(self, images: Iterable[np.ndarray]) -> list[np.ndarray]:
        if self._alone:
            found = [self._network({self._input: image[None]}) for image in images]
            return [np.concatenate(arrays) for arrays in zip(*found, strict=True)]
        batch = batch_of(images)
        given = padded(batch) if self._on_cuda else batch
        return [array[: len(batch)] for array in self._network({self._input: given})]

    def close(self) -> None:
        pass


def _device() -> str:
    return "cuda" if has_cuda() else "cpu"


def _title(device: str) -> str:
    return f"ONNX Runtime {onnxruntime.__version__} on {'CUDA' if device == 'cuda' else 'the CPU'}"


def _session(onnx: bytes, threads: int, spin: bool = True) -> onnxruntime.InferenceSession:
    """`spin`: threads wait for work at full speed. Raises RuntimeError where ONNX Runtime cannot take the file.

    The same where it does not reach the GPU: it would take the CPU, where other engines are faster.
    """
    providers = ["CPUExecutionProvider"]
    if has_cuda():
        providers.insert(0, _CUDA)
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
            onnxruntime.preload_dlls()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
    try:
        session = onnxruntime.InferenceSession(onnx, options, providers=providers)
    except Exception as error:  # its errors have no class of their own to catch, nor one of Python's
        raise RuntimeError(str(error)) from error
    if _CUDA in providers and _CUDA not in session.get_providers():
        raise RuntimeError("ONNX Runtime cannot start CUDA, which needs NVIDIA's driver, CUDA 13 and cuDNN 9")
    return session
