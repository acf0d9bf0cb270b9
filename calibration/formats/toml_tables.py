"""Cameras as TOML tables: what caliscope, aniposelib and Pose2Sim have in common.

A table has `size`, `matrix` (3x3), `distortions` in OpenCV's order, `rotation` (Rodrigues vector, or 3x3) and
`translation`, which map world to camera, and `fisheye`.
"""

import tomllib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tomli_w
from scipy.spatial.transform import Rotation

from calibration.errors import UserError
from calibration.formats import parts
from calibration.formats.found import FoundCamera
from calibration.formats.parts import EXTRAS_KEY, CameraExtras, decode_extras, nearest_rotation
from calibration.found_files import read_found_text
from calibration.rig import RigCamera
from calibration.rotations import make_transform
from calibration.written_files import write_atomic

CAMERA_KEYS = frozenset(
    {"name", "size", "matrix", "distortions", "rotation", "translation", "fisheye", "error", EXTRAS_KEY}
)


def read_toml(path: Path) -> dict[str, Any]:
    """Raises UserError where the file is missing or not TOML."""
    try:
        return tomllib.loads(read_found_text(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Give the path of an existing calibration.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as TOML ({error}). Write it again with its own program.") from None


def camera_from_table(table: dict[str, Any], names: tuple[str, ...], path: Path) -> FoundCamera:
    """A camera from a table. Raises UserError with the file, the camera and the key."""
    place = f"{path}: camera `{names[0]}`"
    T_cam_world, no_pose = None, ""
    try:
        size = None if table.get("size") is None else _numbers(table, "size", 2)
        matrix, distortion = _numbers(table, "matrix", 9).reshape(3, 3), _numbers(table, "distortions")
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
    try:
        T_cam_world = _pose(table)
    except _Missing as missing:
        no_pose = str(missing)
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
    error_px = table.get("error")
    return FoundCamera(
        place=place,
        names=names,
        image_size=None if size is None else parts.image_size(size, place),
        matrix=matrix,
        distortion=distortion,
        fisheye=bool(table.get("fisheye", False)),
        T_cam_world=T_cam_world,
        no_pose=no_pose,
        extras=decode_extras(table.get(EXTRAS_KEY), CameraExtras, place),
        rmse_px=error_px if isinstance(error_px, float) else None,
    )


def _pose(table: dict[str, Any]) -> np.ndarray:
    rotation, translation = _numbers(table, "rotation"), _numbers(table, "translation", 3)
    if rotation.size not in (3, 9):
        raise UserError(f"`rotation` must have 3 or 9 numbers; got {rotation.size}.")
    R_cam_world = rotation.reshape(3, 3) if rotation.size == 9 else cv2.Rodrigues(rotation)[0]
    return make_transform(R_cam_world, translation)


class _Missing(UserError):
    """An entry is not there."""


def _numbers(table: dict[str, Any], key: str, count: int | None = None) -> np.ndarray:
    """The numbers (n,) under a key, however nested they are."""
    value = table.get(key)
    if value is None or value == "null":
        raise _Missing(f"`{key}` is missing: the camera is not calibrated. Calibrate it, or leave it out of the file.")
    try:
        numbers = np.array(value, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"`{key}` must be numbers; got {value!r}. Write the file again with its own program.") from None
    if count is not None and numbers.size != count:
        raise UserError(f"`{key}` must have {count} numbers; got {numbers.size}.")
    return numbers


def table_from_camera(camera: RigCamera, path: Path) -> dict[str, Any]:
    """The table of a camera, translation in metres, without a name and without extras."""
    lens = camera.camera
    rotation = Rotation.from_matrix(nearest_rotation(camera, path)).as_rotvec()
    table: dict[str, Any] = {
        "size": [lens.width, lens.height],
        "matrix": lens.matrix.tolist(),
        "distortions": lens.distortion.tolist(),
        "rotation": rotation.tolist(),
        "translation": camera.T_cam_world[:3, 3].tolist(),
    }
    if lens.lens == "fisheye4":
        table["fisheye"] = True
    return table


def write_toml(path: Path, content: dict[str, Any]) -> None:
    """Write tables in tables atomically; a value of None is left out."""
    write_atomic(path, tomli_w.dumps(_without_none(content)).encode())


def _without_none(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _without_none(each) for key, each in value.items() if each is not None}
