"""The fastest runtime that is here for a network over images: what hand detection runs on."""

import importlib.util
import logging
from collections.abc import Iterator
from pathlib import Path

from calibration.errors import UserError
from calibration.found_files import read_found
from deploy.engines.devices import has_bf16, has_cuda, has_gpu_device
from deploy.engines.engine import FAILURES
from deploy.image_network import ImageNetwork, WrongImage

log = logging.getLogger(__name__)

IMAGE_ENGINES = ("auto", "tensorrt", "onnxruntime", "openvino", "openvino-bf16")
INSTALL = 'pip install "usthand-live[cpu]"'


def check_image_engine(name: str) -> None:
    """Raises UserError for an unknown name."""
    if name not in IMAGE_ENGINES:
        raise UserError(f"unknown engine `{name}` of the hand detector; known: {', '.join(IMAGE_ENGINES)}.")


def load_image_network(
    path: Path, image_shape: tuple[int, ...], engine: str = "auto", bfloat16: bool = True
) -> ImageNetwork:
    """The network of an ONNX file for images of `image_shape`, (H, W, 3) or (3, H, W).

    `auto` is the first engine that works of those whose packages and devices are here: TensorRT, ONNX Runtime on
    CUDA, OpenVINO in bfloat16 where the processor calculates in it (and `bfloat16` lets it), OpenVINO, ONNX Runtime.

    Raises UserError for an unknown name, a file that cannot be read or takes other images, and where no engine works,
    or not the one that is named.
    """
    check_image_engine(engine)
    network = _first_that_works(path, image_shape, bfloat16) if engine == "auto" else _load(path, image_shape, engine)
    log.info("detector: %s runs on %s", path.stem, network.name)
    return network


def _first_that_works(path: Path, image_shape: tuple[int, ...], bfloat16: bool) -> ImageNetwork:
    failure = None
    for name in engines_here():
        if name == "openvino-bf16" and not bfloat16:
            continue
        try:
            return _load(path, image_shape, name)
        except WrongImage:
            raise
        except UserError as error:
            failure = error
            log.warning("detector: %s does not work here: %s", name, error)
    if failure is not None:
        raise UserError(f"no engine is left for hand detection: {failure}") from failure
    raise UserError(f"hand detection needs OpenVINO or ONNX Runtime, and neither is installed. Run: {INSTALL}")


def engines_here() -> Iterator[str]:
    """Names of the engines whose packages and devices are here, the fastest first."""
    packages = ("cuda", "tensorrt_rtx_bindings", "onnx")
    if has_gpu_device() and all(importlib.util.find_spec(name) for name in packages):
        yield "tensorrt"
    onnxruntime = importlib.util.find_spec("onnxruntime") is not None
    on_cuda = onnxruntime and has_cuda()
    if on_cuda:
        yield "onnxruntime"
    if importlib.util.find_spec("openvino") is not None:
        if has_bf16():
            yield "openvino-bf16"
        yield "openvino"
    if onnxruntime and not on_cuda:
        yield "onnxruntime"


def _load(path: Path, image_shape: tuple[int, ...], engine: str) -> ImageNetwork:
    """Raises UserError where the engine does not work here, or not with this file."""
    try:
        content = read_found(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    try:
        return _make(path, content, image_shape, engine)
    except ModuleNotFoundError as error:
        extra = "tensorrt-rtx" if engine == "tensorrt" else "cpu"
        if error.name == "onnx":  # by which TensorRT's engine is described; neither of its extras has it
            extra = "export"
        raise UserError(
            f"the {engine} engine needs the package `{error.name}`. Install it: pip install 'usthand-live[{extra}]'."
        ) from error
    except UserError:
        raise
    except (*FAILURES, OSError) as error:
        raise UserError(f"{path}: the engine {engine} cannot run it ({error}).") from error


def _make(path: Path, content: bytes, image_shape: tuple[int, ...], engine: str) -> ImageNetwork:
    if engine == "tensorrt":
        from deploy.tensorrt.image_network import TensorRTImages

        return TensorRTImages(path, content, image_shape)
    if engine == "onnxruntime":
        from deploy.engines.onnxruntime_engine import OnnxruntimeImages

        return OnnxruntimeImages(path, content, image_shape)
    from deploy.engines.openvino_images import OpenvinoImages

    if engine == "openvino-bf16" and not has_bf16():
        raise UserError("this processor does not calculate in bfloat16. Choose the engine openvino.")
    return OpenvinoImages(path, content, image_shape, "bf16" if engine == "openvino-bf16" else "f32")
