"""ONNX Runtime: CUDA where its package and a GPU are there, else the CPU."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from deploy.engines.exported import ExportedEngine, Shapes

_ERRORS = 3


class OnnxruntimeNetwork:
    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session

    def prepare(self, shapes: Shapes) -> None:
        """Nothing is made ready: ONNX Runtime takes any size as it comes."""

    def __call__(self, given: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        return self._session.run(None, dict(given))  # type: ignore[return-value]


def onnxruntime_engine(directory: Path, threads: int = 0) -> ExportedEngine:
    """`threads` 0 is ONNX Runtime's choice. Raises UserError for a directory that is not as it was exported."""
    installed = onnxruntime.get_available_providers()
    providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in installed]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS
    options.intra_op_num_threads = threads

    def load(onnx: bytes) -> OnnxruntimeNetwork:
        return OnnxruntimeNetwork(onnxruntime.InferenceSession(onnx, options, providers=providers))

    where = "CUDA" if providers[0].startswith("CUDA") else "the CPU"
    return ExportedEngine(directory, f"ONNX Runtime {onnxruntime.__version__} on {where}", load)
