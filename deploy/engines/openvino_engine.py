"""OpenVINO on the CPU: float32, or bfloat16 where the CPU has it."""

import ctypes
import os
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import openvino

from calibration.errors import UserError
from deploy.artefact.manifest import read_manifest
from deploy.engines.exported import ExportedEngine
from deploy.engines.openvino_core import openvino_core
from deploy.engines.openvino_network import OpenvinoNetwork, Precision
from deploy.image_network import check_input

_MOST_STREAMS = 8


def openvino_engine(directory: Path, precision: Literal["f32", "bf16"] = "f32") -> ExportedEngine:
    """Raises UserError for a directory that is not as it was exported.

    `bf16` is for the whole graph, geometry and all; of a landmark network for its convolutions alone, since views are
    weighed there by how their points agree, and those move by pixels where its last layers are bfloat16, too.
    """
    landmarks = read_manifest(directory).network.landmarks
    inside: Precision = "bf16 convolutions" if precision == "bf16" and landmarks else precision
    name = f"OpenVINO {openvino.__version__.split('-')[0]} {inside} on the CPU"
    return ExportedEngine(directory, name, lambda onnx: OpenvinoNetwork(onnx, inside))


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
