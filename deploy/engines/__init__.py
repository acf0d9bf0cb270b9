"""Engines: what runs the networks of a checkpoint. `make_engine` is where their names are."""

import importlib.util
import logging
from pathlib import Path

from calibration.errors import UserError
from deploy.engines.protocol import Engine
from deploy.manifest import read_manifest

log = logging.getLogger(__name__)

ENGINES = ("auto", "torch", "onnxruntime", "openvino", "openvino-bf16")


def check_engine(source: str, name: str) -> None:
    """Raises UserError for an unknown name, one that does not run such a source, or a directory of another program."""
    if name not in ENGINES:
        raise UserError(f"unknown engine `{name}`; known: {', '.join(ENGINES)}.")
    exported = Path(source).is_dir()
    if exported and name == "torch":
        raise UserError(f"{source}: the engine torch runs checkpoints, and this is a directory. Give the checkpoint.")
    if not exported and name not in ("auto", "torch"):
        raise UserError(
            f"{source}: the engine {name} runs exported networks, and this is no directory. "
            f"Make one: usthand export {source} DIR"
        )
    if exported:
        read_manifest(Path(source))


def make_engine(source: str, name: str = "auto") -> Engine:
    """The engine of that name for a checkpoint, `shipped` for the packaged one, or for a directory of `usthand export`.

    `torch` runs checkpoints, the others directories. `auto` takes torch for a checkpoint; for a directory OpenVINO
    where it is installed and works, else ONNX Runtime. `openvino-bf16` calculates in bfloat16, geometry and all.

    Raises UserError as `check_engine`, and for a checkpoint or a file that cannot be read or a missing package.
    """
    check_engine(source, name)
    if name != "auto":
        return _make(source, name)
    if Path(source).is_dir():
        return _first_that_works(source)
    log.info("engine: torch, since %s is a checkpoint", source)
    return _make(source, "torch")


def _first_that_works(directory: str) -> Engine:
    why = "the first choice for a directory of exported networks"
    for name in ("openvino", "onnxruntime"):
        if importlib.util.find_spec(name) is None:
            why = f"since {name} is not installed"
            continue
        try:
            engine = _make(directory, name)
        except (ImportError, RuntimeError) as error:
            log.warning("engine: %s does not work here: %s", name, error)
            why = f"since {name} does not work"
            continue
        log.info("engine: %s, %s", name, why)
        return engine
    raise UserError(
        f"{directory}: neither openvino nor onnxruntime works here. Install: pip install 'usthand-live[cpu]'"
    )


def _make(source: str, name: str) -> Engine:
    try:
        if name == "torch":
            from deploy.engines.torch_engine import TorchEngine

            return TorchEngine(source)
        if name == "onnxruntime":
            from deploy.engines.onnxruntime_engine import onnxruntime_engine

            return onnxruntime_engine(Path(source))
        from deploy.engines.openvino_engine import openvino_engine

        return openvino_engine(Path(source), "bf16" if name == "openvino-bf16" else "f32")
    except ModuleNotFoundError as error:
        extra = "train" if name == "torch" else "cpu"
        raise UserError(
            f"the {name} engine needs the package `{error.name}`. Install it: pip install 'usthand-live[{extra}]'."
        ) from error
