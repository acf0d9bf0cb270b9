"""OpenVINO on the CPU: float32, or bfloat16 where the CPU has it."""

import ctypes
import os
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import openvino

from calibration.errors import UserError
from deploy.engines.exported import ExportedEngine, Shapes
from deploy.engines.openvino_core import openvino_core
from deploy.image_network import check_input

_MOST_STREAMS = 8


class OpenvinoNetwork:
    """Compiled for each prepared size, which runs a quarter to a third faster, and once, when first needed, for any."""

    def __init__(self, onnx: bytes, settings: dict[str, str | int]) -> None:
        self._settings = settings
        self._model = openvino_core().read_model(onnx)
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
        return openvino_core().compile_model(model, "CPU", self._settings).create_infer_request()


def openvino_engine(directory: Path, precision: Literal["f32", "bf16"] = "f32", threads: int = 0) -> ExportedEngine:
    """`threads` 0 is OpenVINO's choice. Raises UserError for a directory that is not as it was exported.

    `bf16` is a hint for the whole graph, geometry and all.
    """
    # Said for f32, too: with AMX, OpenVINO's own choice is bfloat16.
    settings = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    name = f"OpenVINO {openvino.__version__.split('-')[0]} {precision} on the CPU"
    return ExportedEngine(directory, name, lambda onnx: OpenvinoNetwork(onnx, settings))


class OpenvinoImages:
    """An ImageNetwork that runs each image by itself, as many side by side as there are cores for.

    For networks of this size that is faster than a batch, whose layers all cores share, and no size is padded.
    """

    def __init__(
        self, path: Path, content: bytes, image_shape: tuple[int, ...], precision: Literal["f32", "bf16"] = "f32"
    ) -> None:
        try:
            model = openvino_core().read_model(content)
        except RuntimeError as error:
            raise UserError(f"{path}: OpenVINO cannot read it ({str(error).strip().splitlines()[-1]}).") from None
        shapes = [tuple(None if d.is_dynamic else d.get_length() for d in port.partial_shape) for port in model.inputs]
        check_input(path, shapes, image_shape)
        model.reshape([1, *image_shape])
        cores = os.cpu_count() or 1
        settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "THROUGHPUT",
            "NUM_STREAMS": min(cores, _MOST_STREAMS),
            "INFERENCE_NUM_THREADS": cores,
        }
        compiled = openvino_core().compile_model(model, "CPU", settings)
        self.name = f"OpenVINO {openvino.__version__.split('-')[0]} {precision} on the CPU"
        self.outputs = tuple(port.get_any_name() for port in compiled.outputs)
        self._requests = [compiled.create_infer_request() for _ in range(settings["NUM_STREAMS"])]
        # The first inference, which takes several times as long, is not a hand's.
        for request in self._requests:
            request.infer()
        _give_back_memory()

    def __call__(self, images: Iterable[np.ndarray]) -> list[np.ndarray]:
        running: deque[tuple[openvino.InferRequest, np.ndarray]] = deque()
        found = []

        def finish() -> openvino.InferRequest:
            request, _ = running.popleft()
            request.wait()
            found.append([np.array(tensor.data[0]) for tensor in request.output_tensors])
            return request

        for index, image in enumerate(images):
            request = self._requests[index] if index < len(self._requests) else finish()
            given = image[None]
            request.start_async({0: given}, share_inputs=True)
            running.append((request, given))
        while running:
            finish()
        return [np.stack(arrays) for arrays in zip(*found, strict=True)]

    def close(self) -> None:
        self._requests.clear()


def _give_back_memory() -> None:
    """What compiling a model needed, 10 MB for these, is free, but glibc keeps it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
