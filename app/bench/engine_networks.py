"""The networks that a bench of engines runs: exported into a directory, in processes of their own, and their work."""

import logging
import subprocess
import sys
from functools import cached_property
from pathlib import Path

import msgspec

from calibration.errors import UserError
from calibration.hand import JOINTS
from calibration.programs import run_program
from deploy.artefact.cached_export import missing_to_export
from deploy.artefact.manifest import read_file, read_manifest
from models.network.config import NetworkConfig

log = logging.getLogger(__name__)

_FLOAT_BYTES = 4


class ExportedNetwork:
    """A `checkpoint` and the `directory` of its engines. Raises UserError for a directory that is not as exported."""

    def __init__(self, checkpoint: str, directory: Path) -> None:
        self.checkpoint, self.directory = checkpoint, directory
        self._manifest = read_manifest(directory)

    @property
    def config(self) -> NetworkConfig:
        return self._manifest.network

    def source(self, engine: str) -> str:
        """What an engine of that name runs."""
        return self.checkpoint if engine == "torch" else str(self.directory)

    def work(self, views: int, hands: int) -> dict[str, dict[str, float]]:
        """Each stage's `operations`, `least_bytes` and `counted_bytes`, as of deploy.measure.operation_count;
        one frame set.

        Crops and ring calculate nothing that counts. Of a crop's pixels, and of a ring's frames as they move on by one,
        each byte is read and written once.
        """
        from deploy.measure.operation_count import count_work

        counts = {
            stage: count_work(content, {"hands": hands, "views": views}) for stage, content in self._contents.items()
        }
        found = {
            stage: {
                "operations": float(work.operations),
                "least_bytes": float(work.least_bytes),
                "counted_bytes": float(work.counted_bytes),
            }
            for stage, work in counts.items()
        }
        config = self.config
        crops = 2.0 * hands * views * config.crop_px**2 * 3
        numbers = (config.hypotheses + 1) * JOINTS * 3 + (config.cloud_points + JOINTS) * config.width
        ring = 2.0 * hands * config.frames * numbers * _FLOAT_BYTES
        for stage, moved in (("crops", crops), ("ring", ring)):
            found[stage] = {"operations": 0.0, "least_bytes": moved, "counted_bytes": moved}
        return found

    @cached_property
    def _contents(self) -> dict[str, bytes]:
        files = {"stage1": "stage1.onnx", "transformer": "stpt.onnx"}
        return {stage: read_file(self.directory, self._manifest, file) for stage, file in files.items()}


def check_exporter() -> None:
    """Raises UserError where a library that an export needs is missing."""
    for library in missing_to_export():
        raise UserError(
            f"the bench exports its networks, which needs {library}, and that is not installed. "
            "Install the project's extras `train` and `export`."
        )


def tensorrt_here() -> bool:
    """Whether TensorRT is installed and there is a GPU to build for."""
    try:
        from deploy.tensorrt.build import library_here
        from deploy.tensorrt.cuda import find_gpu

        library_here()
        find_gpu()
    except (ImportError, UserError):
        return False
    return True


def export_checkpoint(checkpoint: str, directory: Path, tensorrt: bool = False) -> ExportedNetwork:
    """The engines of a path or `shipped`. Raises UserError where they cannot be made; the child says why."""
    command = [sys.executable, "-m", "deploy.export", checkpoint, str(directory)]
    _run(command + ["--tensorrt"] * tensorrt, b"", checkpoint)
    return ExportedNetwork(checkpoint, directory)


def export_untrained(config: NetworkConfig, directory: Path, tensorrt: bool = False) -> ExportedNetwork:
    """The engines of a network with random weights."""
    log.info(
        "export: recipe %s, M = %d, K = %d, untrained (half a minute or so)",
        config.recipe,
        config.hypotheses,
        config.blocks,
    )
    command = [sys.executable, "-m", "deploy.measure.random_network", str(directory)]
    _run(command + ["--tensorrt"] * tensorrt, msgspec.json.encode(config), f"the recipe {config.recipe}")
    return ExportedNetwork(str(directory / "checkpoint.safetensors"), directory)


def _run(command: list[str], given: bytes, what: str) -> None:
    code = run_program(command, given=given, stdout=subprocess.DEVNULL)
    if code == 2:
        raise UserError(f"{what} could not be exported; the reason is above.")
    if code:
        raise RuntimeError(f"the export of {what} ended with {code}; its message is above")
