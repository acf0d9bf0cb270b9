"""Engines: what runs the networks of a checkpoint. `make_engine` is where their names are."""

import importlib.util
import logging
from collections.abc import Iterator
from pathlib import Path

from calibration.errors import UserError, pasted
from deploy.artefact.manifest import read_manifest
from deploy.engines.devices import has_bf16, has_cuda
from deploy.engines.engine import FAILURES, Engine
from deploy.tensorrt.manifest import TENSORRT_MANIFEST, read_tensorrt_manifest
from models.weights import checkpoint_path

log = logging.getLogger(__name__)


ENGINES = ("auto", "torch", "tensorrt", "onnxruntime", "openvino", "openvino-bf16")


def check_engine(source: str, name: str) -> None:
    """Raises UserError for an unknown name, one that does not run such a source, or a directory of another program."""
    if name not in ENGINES:
        raise UserError(f"unknown engine `{name}`; known: {', '.join(ENGINES)}.")
    exported = checkpoint_path(source).is_dir()
    if exported and name == "torch":
        raise UserError(f"{source}: the engine torch runs checkpoints, and this is a directory. Give the checkpoint.")
    if not exported and name not in ("auto", "torch"):
        raise UserError(
            f"{source}: the engine {name} runs exported networks, and this is no directory. "
            f"Make one: usthand export {pasted(source)} DIR"
        )
    if exported:
        manifest = read_manifest(Path(source))
        if name == "tensorrt":
            read_tensorrt_manifest(Path(source), manifest)


def make_engine(source: str, name: str = "auto") -> Engine:
    """The engine of that name for a checkpoint, `shipped` for the packaged one, or for a directory of `usthand export`.

    `torch` runs checkpoints, the others directories. `auto` is the first of `engines_that_work`. `openvino-bf16`
    calculates in bfloat16, geometry and all.

    Raises UserError as `check_engine`, and for a checkpoint or a file that cannot be read or a missing package.
    """
    check_engine(source, name)
    return next(engines_that_work(source)) if name == "auto" else _make(source, name)


def live_engines(source: str, name: str) -> Iterator[Engine]:
    """The engine of that name and then, should it fail to start or later on, the others that work, each when asked for.

    Raises UserError as `check_engine`, and where none works.
    """
    check_engine(source, name)
    if name != "auto":
        try:
            yield _make(source, name)
        except FAILURES as error:
            if isinstance(error, UserError) and not checkpoint_path(source).is_dir():
                raise  # a checkpoint that cannot be read, and no other engine reads it
            log.error("engine: %s does not work here: %s Looking for another.", name, error)
    yield from engines_that_work(source, besides=name)


def engines_that_work(source: str, besides: str = "auto") -> Iterator[Engine]:
    """Those that run a checkpoint or a directory here, the fastest first; `besides` one.

    That order is TensorRT, ONNX Runtime on CUDA, OpenVINO in bfloat16 (where the processor calculates in it), OpenVINO,
    ONNX Runtime: `usthand bench engines` measures it. A checkpoint is run by torch. Raises UserError where none is
    left.
    """
    if not checkpoint_path(source).is_dir():
        if besides != "torch":
            log.info("engine: torch, since %s is a checkpoint", source)
            yield _make(source, "torch")
        raise UserError(
            f"{source}: the engine torch failed, and no other runs checkpoints. Use a directory of `export`."
        )
    passed_over: list[str] = []
    failures: list[Exception] = []
    for name in _by_speed(Path(source), passed_over):
        if name == besides:
            continue
        try:
            engine = _make(source, name)
        except FAILURES as error:
            log.warning("engine: %s does not work here: %s", name, error)
            passed_over.append(f"{name} does not work")
            failures.append(error)
            continue
        why = f"since {', '.join(passed_over)}" if passed_over else "the first choice for exported networks"
        log.info("engine: %s, %s", name, why)
        passed_over.append(f"{name} was taken before")
        yield engine
    if len({str(error) for error in failures}) == 1 and isinstance(failures[0], UserError):
        raise failures[0]  # it is the directory that is wrong
    raise UserError(f"{source}: no engine is left that works here. Install one: pip install 'usthand-live[cpu]'")


def _by_speed(directory: Path, passed_over: list[str]) -> Iterator[str]:
    """Names of the engines whose packages and devices are here; `passed_over` is told of those that are not."""
    if (directory / TENSORRT_MANIFEST).exists():
        yield "tensorrt"
    else:
        passed_over.append("tensorrt has no engines here")
    onnxruntime = importlib.util.find_spec("onnxruntime") is not None
    on_cuda = onnxruntime and has_cuda()
    if on_cuda:
        yield "onnxruntime"
    if importlib.util.find_spec("openvino") is None:
        passed_over.append("openvino is not installed")
    else:
        if has_bf16():
            yield "openvino-bf16"
        yield "openvino"
    if onnxruntime and not on_cuda:
        yield "onnxruntime"


def _make(source: str, name: str) -> Engine:
    try:
        if name == "torch":
            from deploy.engines.torch_engine import TorchEngine

            return TorchEngine(source)
        if name == "onnxruntime":
            from deploy.engines.onnxruntime_engine import onnxruntime_engine

            return onnxruntime_engine(Path(source))
        if name == "tensorrt":
            from deploy.tensorrt.engine import TensorRTEngine

            return TensorRTEngine(Path(source))
        from deploy.engines.openvino_engine import openvino_engine

        return openvino_engine(Path(source), "bf16" if name == "openvino-bf16" else "f32")
    except ModuleNotFoundError as error:
        extra = {"torch": "train", "tensorrt": "tensorrt-rtx"}.get(name, "cpu")
        raise UserError(
            f"the {name} engine needs the package `{error.name}`. Install it: pip install 'usthand-live[{extra}]'."
        ) from error
