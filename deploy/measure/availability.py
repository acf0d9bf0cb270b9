"""Why an engine cannot run on this machine. `python -m deploy.measure.availability NAME` prints it as JSON."""

import importlib
import json
import sys
from collections.abc import Callable

from calibration.errors import UserError
from deploy.engines.devices import has_bf16, has_cuda, has_gpu_device


class CannotRun(UserError):
    """`missing`: for a package that is not installed, which is no fault."""

    def __init__(self, message: str, missing: bool = False) -> None:
        super().__init__(message)
        self.missing = missing


def availability(name: str) -> str:
    """On what the engine runs here. Raises CannotRun."""
    try:
        return _CHECKS[name]()
    except ModuleNotFoundError as error:
        raise CannotRun(f"the package `{error.name}` is not installed", missing=True) from error
    except CannotRun:
        raise
    except Exception as error:
        raise CannotRun(f"{type(error).__name__}: {error}") from error


def _torch() -> str:
    torch = importlib.import_module("torch")
    return f"torch {torch.__version__} on {'CUDA' if torch.cuda.is_available() else 'the CPU'}"


def _onnxruntime() -> str:
    return f"ONNX Runtime on {'CUDA' if has_cuda() else 'the CPU'}"


def _openvino() -> str:
    from deploy.engines.openvino_core import openvino_core

    return f"OpenVINO on {', '.join(openvino_core().available_devices)}"


def _openvino_bf16() -> str:
    about = _openvino()
    if not has_bf16():
        raise CannotRun("this processor does not calculate in bfloat16", missing=True)
    return f"{about}, in bfloat16"


def _tensorrt() -> str:
    if not has_gpu_device():
        raise CannotRun("the kernel shows no NVIDIA GPU", missing=True)
    from deploy.tensorrt.library import installed, load_library

    if not installed():
        raise CannotRun("neither TensorRT nor TensorRT for RTX is installed", missing=True)
    library = load_library()
    from deploy.tensorrt.cuda import find_gpu

    return f"{library} on {find_gpu().name}"


_CHECKS: dict[str, Callable[[], str]] = {
    "tensorrt": _tensorrt,
    "onnxruntime": _onnxruntime,
    "openvino-bf16": _openvino_bf16,
    "openvino": _openvino,
    "torch": _torch,
}


def main() -> None:
    try:
        told = {"runs": availability(sys.argv[1])}
    except CannotRun as error:
        told = {"why_not": str(error), "missing": error.missing}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
