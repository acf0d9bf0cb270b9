"""ONNX Runtime: CUDA where its package and a GPU are there, else the CPU."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from deploy.engines.exported import ExportedEngine, Shapes

_ERRORS = 3


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
    installed = onnxruntime.get_available_providers()
    providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in installed]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS
    options.intra_op_num_threads = threads
    device = "cuda" if providers[0].startswith("CUDA") else "cpu"

    def load(onnx: bytes) -> OnnxruntimeNetwork:
        try:
            session = onnxruntime.InferenceSession(onnx, options, providers=providers)
        except Exception as error:  # its errors have no class of their own to catch, nor one of Python's
            raise RuntimeError(str(error)) from error
        return OnnxruntimeNetwork(session, device)

    where = "CUDA" if device == "cuda" else "the CPU"
    return ExportedEngine(directory, f"ONNX Runtime {onnxruntime.__version__} on {where}", load)
