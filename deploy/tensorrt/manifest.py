"""`tensorrt.json`: the TensorRT engines of an engine directory, and whether they still belong to its networks.

The engines lie beside the ONNX files, as `stage1.sm89.engine`; see deploy/artefact/manifest.py for
those. No torch here.
"""

from pathlib import Path
from typing import Literal

import msgspec

from calibration.errors import UserError
from calibration.found_files import hash_found
from deploy.artefact.checksummed_files import read_described, read_description
from deploy.artefact.manifest import MANIFEST, Interface, Manifest
from deploy.tensorrt.library import LibraryName
from models.network.config import MAX_VIEWS

TENSORRT_MANIFEST = "tensorrt.json"
FORMAT = "usthand tensorrt 1"
PRECISION = "float16, geometry in float32"
MOST_HANDS = 2
"""Of a person."""

NetworkName = Literal["stage1", "stpt"]
NETWORKS: tuple[NetworkName, ...] = ("stage1", "stpt")


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sizes that a profile takes, and the one that it is best at."""

    least: int
    best: int
    most: int

    def __contains__(self, size: int) -> bool:
        return self.least <= size <= self.most


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    hands: Range
    views: Range | None = None
    """None where the network has no views."""


_HANDS = Range(1, MOST_HANDS, MOST_HANDS)
PROFILES: dict[NetworkName, tuple[Profile, ...]] = {
    "stage1": tuple(
        Profile(_HANDS, views) for views in (Range(2, 2, 2), Range(3, 4, 4), Range(5, MAX_VIEWS, MAX_VIEWS))
    ),
    "stpt": (Profile(_HANDS),),
}
"""Small, usual and large rigs, each best at its most views and hands, where time is shortest. Each profile adds 17 MB
and its share of the build's time to an engine of stage 1, so there is none for each number of views."""


class EngineFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    file: str
    network: NetworkName
    compute_capability: str
    profiles: tuple[Profile, ...]
    bytes: int
    seconds: float
    """That the build took."""
    sha256: str


class TensorRTManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`manifest_sha256` is the hash of the `manifest.json` of the networks that the engines were built from."""

    format: str
    library: LibraryName
    version: str
    precision: str
    manifest_sha256: str
    stage1: Interface
    stpt: Interface
    engines: tuple[EngineFile, ...]

    def interface(self, network: NetworkName) -> Interface:
        return self.stage1 if network == "stage1" else self.stpt

    def compute_capabilities(self) -> list[str]:
        return list(dict.fromkeys(engine.compute_capability for engine in self.engines))


def manifest_sha256(directory: Path) -> str:
    return hash_found(directory / MANIFEST)


def read_tensorrt_manifest(directory: Path, networks: Manifest) -> TensorRTManifest:
    """The manifest of the engines beside `networks`, which is that of `directory`.

    Raises UserError where it is missing, damaged, of another version, or was written for other networks.
    """
    path = directory / TENSORRT_MANIFEST
    manifest = read_description(path, TensorRTManifest, FORMAT, "holds no TensorRT engines", _AGAIN)
    same = (manifest.stage1, manifest.stpt) == (networks.stage1, networks.stpt)
    if not same or manifest.manifest_sha256 != manifest_sha256(directory):
        raise UserError(f"{path}: its engines were built from other networks than those of {MANIFEST}. {_AGAIN}")
    if any(Path(engine.file).name != engine.file for engine in manifest.engines):
        raise UserError(f"{path}: names a file outside of its directory. {_AGAIN}")
    return manifest


def read_engine(
    directory: Path, manifest: TensorRTManifest, network: NetworkName, capability: str
) -> tuple[EngineFile, bytes]:
    """The engine of a network for GPUs of a compute capability.

    Raises UserError where there is none, or where its file is missing or not what the manifest was written for.
    """
    found = [each for each in manifest.engines if (each.network, each.compute_capability) == (network, capability)]
    if not found:
        raise UserError(
            f"{directory}: its TensorRT engines are for GPUs of compute capability "
            f"{', '.join(manifest.compute_capabilities())}, and the GPU here has {capability}. "
            f"Build one: usthand export CHECKPOINT DIR --tensorrt --compute-capability {capability}"
        )
    path = directory / found[0].file
    return found[0], read_described(path, found[0].sha256, TENSORRT_MANIFEST, _AGAIN)


_AGAIN = "Make them with `usthand export CHECKPOINT DIR --tensorrt`."
