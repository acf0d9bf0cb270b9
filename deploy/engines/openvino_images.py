"""Image networks by OpenVINO on the CPU, each image by itself and several side by side."""

import hashlib
import logging
import os
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np

from calibration.cached_folder import cached_folder, user_cache
from calibration.errors import UserError
from deploy.engines.openvino_core import openvino, openvino_core
from deploy.image_network import check_input

log = logging.getLogger(__name__)

_MOST_STREAMS = 8
_FILE = "compiled.blob"


class OpenvinoImages:
    """An ImageNetwork that runs each image by itself, as many side by side as there are cores for.

    For networks of this size that is faster than a batch, whose layers all cores share, and no size is padded. What
    OpenVINO made of the file is kept in `cache`, by default the user's: from there it starts in half the time and with
    17 MB less for MediaPipe's two.
    """

    def __init__(
        self,
        path: Path,
        content: bytes,
        image_shape: tuple[int, ...],
        precision: Literal["f32", "bf16"] = "f32",
        cache: Path | None = None,
    ) -> None:
        cores = os.cpu_count() or 1
        settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "THROUGHPUT",
            "NUM_STREAMS": min(cores, _MOST_STREAMS),
            "INFERENCE_NUM_THREADS": cores,
        }
        compiled = _kept(path, content, image_shape, settings, cache or user_cache())
        self.name = f"OpenVINO {openvino.__version__.split('-')[0]} {precision} on the CPU"
        self.outputs = tuple(port.get_any_name() for port in compiled.outputs)
        self._requests = [compiled.create_infer_request() for _ in range(settings["NUM_STREAMS"])]
        # The first inference, which takes several times as long, is not a hand's.
        for request in self._requests:
            request.infer()

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


def _kept(
    path: Path, content: bytes, image_shape: tuple[int, ...], settings: dict[str, str | int], cache: Path
) -> openvino.CompiledModel:
    """The network as it was kept; where it was not, it is compiled, and kept for the next start."""
    core = openvino_core()

    def keep(folder: Path) -> None:
        model = _compile(path, content, image_shape, settings).export_model()
        (folder / _FILE).write_bytes(model.getvalue())

    made_for = openvino.__version__, core.get_property("CPU", "FULL_DEVICE_NAME"), image_shape, sorted(settings.items())
    key = hashlib.sha256(content + repr(made_for).encode()).hexdigest()[:16]
    try:
        folder = cached_folder(cache, f"openvino-{path.stem}", key, lambda folder: (folder / _FILE).is_file(), keep)
        return core.import_model((folder / _FILE).read_bytes(), "CPU", settings)
    except (OSError, RuntimeError) as error:
        log.info("detector: %s is compiled anew at each start: %s", path.stem, error)
        return _compile(path, content, image_shape, settings)


def _compile(
    path: Path, content: bytes, image_shape: tuple[int, ...], settings: dict[str, str | int]
) -> openvino.CompiledModel:
    """Raises UserError for a file that OpenVINO cannot read, or whose network takes other images."""
    try:
        model = openvino_core().read_model(content)
    except (RuntimeError, UnicodeDecodeError) as error:  # the latter is of what OpenVINO would say of names
        raise UserError(f"{path}: OpenVINO cannot read it ({str(error).strip().splitlines()[-1]}).") from None
    shapes = [tuple(None if d.is_dynamic else d.get_length() for d in port.partial_shape) for port in model.inputs]
    check_input(path, shapes, image_shape)
    model.reshape([1, *image_shape])
    return openvino_core().compile_model(model, "CPU", settings)
