"""What the formats share: what other programs' files have no place for, and what a rig is written with.

Other formats know nothing of time offsets, sources and the like. Their files carry it in an entry named `usthand`, a
line of JSON that other programs pass over: one per camera (CameraExtras) and one per rig (RigExtras). It never repeats
what the format itself holds, so a file edited elsewhere is read as it stands.
"""

import logging
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np

from calibration.camera import Camera, LensModel
from calibration.camera_source import CameraSource
from calibration.errors import UserError
from calibration.measured_latency import MeasuredLatency
from calibration.plain_json import parse_json
from calibration.rig import CalibrationRecord, Rig, RigCamera, SyncSettings

EXTRAS_KEY = "usthand"
_ORTHONORMAL = 1e-9
_MOST_PX = 65_535
_log = logging.getLogger(__name__)
E = TypeVar("E", bound=msgspec.Struct)


class CameraExtras(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """What a camera has beyond a foreign format. `id` and `lens` only where the format cannot tell them."""

    id: str | None = None
    lens: LensModel | None = None
    time_offset_ns: int = 0
    source: CameraSource | None = None
    rmse_px: float | None = None
    remote: bool = False
    mirrored: bool = False
    rotate: Literal[0, 90, 180, 270] = 0
    latency: MeasuredLatency | None = None


class RigExtras(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """What a rig has beyond a foreign format."""

    sync: SyncSettings | None = None
    calibration: CalibrationRecord | None = None
    time_offsets_known: bool = False


def camera_extras(camera: RigCamera, **fields: object) -> str | None:
    """The `usthand` entry of a camera, with `id` and `lens` as given in `fields`; None where there is nothing."""
    extras = CameraExtras(
        time_offset_ns=camera.time_offset_ns,
        source=camera.source,
        rmse_px=camera.rmse_px,
        remote=camera.remote,
        mirrored=camera.turn.mirrored,
        rotate=camera.turn.rotate,  # pyright: ignore[reportArgumentType]
        latency=camera.latency,
    )
    return _encode(msgspec.structs.replace(extras, **fields))


def rig_extras(rig: Rig, *, time_offsets_known: bool = True) -> str | None:
    """The `usthand` entry of a rig; None where there is nothing. `time_offsets_known` False leaves that out."""
    sync = None if rig.sync == SyncSettings() else rig.sync
    return _encode(RigExtras(sync, rig.calibration, time_offsets_known and rig.time_offsets_known))


def _encode(extras: msgspec.Struct) -> str | None:
    text = msgspec.json.encode(extras).decode()
    return None if text == "{}" else text


def decode_extras(text: object, struct: type[E], name: str) -> E:
    """Read a `usthand` entry, None being an empty one; `name` is how errors call its place. Raises UserError."""
    if text is None:
        return struct()
    try:
        return parse_json(str(text), struct)
    except ValueError as error:
        raise UserError(
            f"{name}: the entry `{EXTRAS_KEY}` cannot be read ({error}). Correct it, or remove it with what it holds."
        ) from None


def pinhole(width: int, height: int, intrinsics: np.ndarray, distortion: np.ndarray) -> Camera:
    """A pinhole camera from fx, fy, cx, cy, or a 3x3 matrix, with 0, 4, 5, 8, 12 or 14 of OpenCV's coefficients.

    Raises UserError for another count, and where a thin prism or a tilted sensor (the last of 12 or 14) is not zero.
    """
    count = len(distortion)
    if count not in (0, 4, 5, 8, 12, 14):
        raise UserError(f"a pinhole lens has 0, 4, 5, 8, 12 or 14 distortion coefficients; got {count}.")
    if distortion[8:].any():
        raise UserError(
            f"the thin prism or tilt coefficients {distortion[8:].tolist()} are not zero, and a rig has no such lens. "
            "Calibrate this camera without them."
        )
    coefficients = np.zeros(8 if count >= 8 else 5)
    coefficients[: min(count, 8)] = distortion[:8]
    return Camera(
        width=width,
        height=height,
        lens="pinhole8" if count >= 8 else "pinhole5",
        matrix=intrinsic_matrix(intrinsics),
        distortion=coefficients,
    )


def image_size(size: Iterable[Any], place: str) -> tuple[int, int]:
    """Width and height as whole numbers; `place` is how errors call where they stand. Raises UserError."""
    width, height = size
    try:
        sides = float(width), float(height)
    except (TypeError, ValueError, OverflowError):
        sides = math.nan, math.nan
    if not all(1 <= side <= _MOST_PX and side.is_integer() for side in sides):
        raise UserError(
            f"{place}: an image of {width} x {height}; expected whole pixels, at most {_MOST_PX}. Correct it."
        )
    return int(sides[0]), int(sides[1])


def intrinsic_matrix(intrinsics: np.ndarray) -> np.ndarray:
    """3x3 from fx, fy, cx, cy; a 3x3 comes back as it is."""
    if intrinsics.size == 9:
        return intrinsics.reshape(3, 3)
    fx, fy, cx, cy = intrinsics
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def nearest_rotation(camera: RigCamera, path: Path) -> np.ndarray:
    """The rotation (3, 3) world to camera for formats that keep three or four numbers of it.

    Warns where the camera's matrix is not orthonormal to 1e-9, since what is written is then not quite the same.
    """
    matrix = camera.T_cam_world[:3, :3]
    left, _, right = np.linalg.svd(matrix)
    rotation = left @ right
    off = float(np.abs(matrix - rotation).max())
    if off > _ORTHONORMAL:
        _log.warning(
            f"{path}: camera `{camera.camera_id}`: `T_cam_world` is no exact rotation (off by {off:.2g}); the nearest "
            "is written."
        )
    return rotation


def warn_left_out(path: Path, what: list[str]) -> None:
    """Say which entries of a file have no place in a rig."""
    if what:
        names = ", ".join(f"`{name}`" for name in sorted(set(what)))
        _log.warning(f"{path}: {names}: a rig has no place for this; left out.")
