"""ONNX Runtime: CUDA where its package and a GPU are there, else the CPU."""

from pathlib import Path

import onnxruntime

from deploy.engines.exported import ExportedEngine, Network

_ERRORS = 3


def onnxruntime_engine(directory: Path, threads: int = 0) -> ExportedEngine:
    """`threads` 0 is ONNX Runtime's choice. Raises UserError for a directory that is not as it was exported."""
    installed = onnxruntime.get_available_providers()
    providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in installed]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS
    options.intra_op_num_threads = threads

    def load(onnx: bytes) -> Network:
        session = onnxruntime.InferenceSession(onnx, options, providers=providers)
        return lambda given: session.run(None, dict(given))  # type: ignore[return-value]

    where = "CUDA" if providers[0].startswith("CUDA") else "the CPU"
    return ExportedEngine(directory, f"ONNX Runtime {onnxruntime.__version__} on {where}", load)
