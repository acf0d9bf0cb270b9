"""OpenVINO on the CPU: float32, or bfloat16 where the CPU has it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import openvino

from deploy.engines.exported import ExportedEngine, Shapes


class OpenvinoNetwork:
    """Compiled for each prepared size, which runs a quarter to a third faster, and once, when first needed, for any."""

    def __init__(self, onnx: bytes, settings: dict[str, str | int]) -> None:
        self._core, self._settings = openvino.Core(), settings
        self._model = self._core.read_model(onnx)
        self._requests: dict[tuple, openvino.InferRequest] = {}
        self._any: openvino.InferRequest | None = None

    def prepare(self, shapes: Shapes) -> None:
        key = tuple(shapes.values())
        if key not in self._requests:
            model = self._model.clone()
            model.reshape({name: list(shape) for name, shape in shapes.items()})
            self._requests[key] = self._compile(model)

    def __call__(self, given: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        request = self._requests.get(tuple(array.shape for array in given.values()), self._any)
        if request is None:
            request = self._any = self._compile(self._model)
        return list(request.infer(dict(given), share_inputs=True, share_outputs=True).to_tuple())

    def _compile(self, model: openvino.Model) -> openvino.InferRequest:
        return self._core.compile_model(model, "CPU", self._settings).create_infer_request()


def openvino_engine(directory: Path, precision: Literal["f32", "bf16"] = "f32", threads: int = 0) -> ExportedEngine:
    """`threads` 0 is OpenVINO's choice. Raises UserError for a directory that is not as it was exported.

    `bf16` is a hint for the whole graph, geometry and all.
    """
    # Said for f32, too: with AMX, OpenVINO's own choice is bfloat16.
    settings = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    name = f"OpenVINO {openvino.__version__.split('-')[0]} {precision} on the CPU"
    return ExportedEngine(directory, name, lambda onnx: OpenvinoNetwork(onnx, settings))
