"""OpenVINO on the CPU: float32, or bfloat16 where the CPU has it."""

from pathlib import Path
from typing import Literal

import openvino

from deploy.engines.exported import ExportedEngine, Network


def openvino_engine(directory: Path, precision: Literal["f32", "bf16"] = "f32", threads: int = 0) -> ExportedEngine:
    """`threads` 0 is OpenVINO's choice. Raises UserError for a directory that is not as it was exported.

    `bf16` is a hint for the whole graph, geometry and all.
    """
    # Said for f32, too: with AMX, OpenVINO's own choice is bfloat16.
    settings = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    core = openvino.Core()

    def load(onnx: bytes) -> Network:
        compiled = core.compile_model(core.read_model(onnx), "CPU", settings)
        request = compiled.create_infer_request()
        return lambda given: list(request.infer(dict(given), share_inputs=True).to_tuple())

    return ExportedEngine(directory, f"OpenVINO {openvino.__version__.split('-')[0]} {precision} on the CPU", load)
