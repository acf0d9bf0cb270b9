"""The manifest of an engine directory: what `usthand export` wrote there, and whether it is still that. No torch here.

A directory holds `stage1.onnx`, `stpt.onnx`, `latents.npy` and `manifest.json`. Letters are those of
deploy/engines/engine.py; a named axis is dynamic.
"""

from pathlib import Path
from typing import Literal

import msgspec

from calibration.errors import UserError
from calibration.hand import JOINTS
from deploy.artefact.checksummed_files import read_described, read_description
from models.network.config import MAX_VIEWS, NetworkConfig

MANIFEST = "manifest.json"
OPSET = 20
VIEWS = (2, MAX_VIEWS)
FORMAT = "usthand engine 1"


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    dtype: Literal["uint8", "bool", "float32"]
    shape: tuple[int | str, ...]

    def sized(self, hands: int, views: int) -> tuple[int, ...]:
        """The shape with so many hands and views."""
        sizes = {"hands": hands, "views": views}
        return tuple(sizes[size] if isinstance(size, str) else size for size in self.shape)


class Interface(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What goes into a network and what comes out, in order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`sha256` has the hash of every other file of the directory, `commit` that of the program that exported it."""

    format: str
    network: NetworkConfig
    stage1: Interface
    stpt: Interface
    sha256: dict[str, str]
    checkpoint_sha256: str
    step: int
    commit: str
    torch: str
    opset: int = OPSET
    views: tuple[int, int] = VIEWS


def stage1_interface(config: NetworkConfig) -> Interface:
    crop_px, M, D, J = config.crop_px, config.hypotheses, config.width, JOINTS
    P = config.cloud_points
    return Interface(
        (
            TensorSpec("crops_rgb", "uint8", ("hands", "views", crop_px, crop_px, 3)),
            TensorSpec("P_crop", "float32", ("hands", "views", 3, 4)),
            TensorSpec("view_mask", "bool", ("hands", "views")),
            TensorSpec("latents", "float32", ("hands", M, "views", 2 * J)),
        ),
        (
            TensorSpec("anchors_m", "float32", ("hands", M * J, 3)),
            TensorSpec("anchor_features", "float32", ("hands", P, D)),
            TensorSpec("queries_m", "float32", ("hands", J, 3)),
            TensorSpec("query_features", "float32", ("hands", J, D)),
            TensorSpec("keypoints_px", "float32", ("hands", "views", J, 2)),
            TensorSpec("confidence", "float32", ("hands", "views", J)),
            TensorSpec("presence", "float32", ("hands", "views")),
            TensorSpec("right", "float32", ("hands", "views")),
        ),
    )


def stpt_interface(config: NetworkConfig) -> Interface:
    T, M, D, J = config.frames, config.hypotheses, config.width, JOINTS
    P = config.cloud_points
    return Interface(
        (
            TensorSpec("anchors_m", "float32", ("hands", T, M * J, 3)),
            TensorSpec("anchor_features", "float32", ("hands", T, P, D)),
            TensorSpec("queries_m", "float32", ("hands", T, J, 3)),
            TensorSpec("query_features", "float32", ("hands", T, J, D)),
            TensorSpec("origins_m", "float32", ("hands", T, 3)),
            TensorSpec("frame_mask", "bool", ("hands", T)),
        ),
        (
            TensorSpec("joints_m", "float32", ("hands", J, 3)),
            TensorSpec("covariance_m2", "float32", ("hands", J, 3, 3)),
        ),
    )


def read_manifest(directory: Path) -> Manifest:
    """Raises UserError where the manifest is missing, damaged, of another version, or contradicts itself."""
    path = directory / MANIFEST
    manifest = read_description(path, Manifest, FORMAT, "no engine directory", _AGAIN)
    network = manifest.network
    fits = (manifest.stage1, manifest.stpt) == (stage1_interface(network), stpt_interface(network))
    if not fits or manifest.opset != OPSET or manifest.views != VIEWS:
        raise UserError(f"{path}: its tensors are not those of this program's networks of its config. {_AGAIN}")
    return manifest


def read_file(directory: Path, manifest: Manifest, name: str) -> bytes:
    """A file of the directory. Raises UserError where it is missing or not what the manifest was written for."""
    return read_described(directory / name, manifest.sha256.get(name), MANIFEST, _AGAIN)


_AGAIN = "Make it with `usthand export CHECKPOINT DIR`."
