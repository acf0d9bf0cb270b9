"""What the formats share: what other programs' files have no place for, and putting a rig together.

Other formats know nothing of time offsets, sources and the like. Their files carry it in an entry named `usthand`, a
line of JSON that other programs pass over: one per camera (CameraExtras) and one per rig (RigExtras). It never repeats
what the format itself holds, so a file edited elsewhere is read as it stands.
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from calibration.camera import Camera, LensModel
from calibration.camera_source import MAX_CAMERAS, CameraSource
from calibration.errors import UserError
from calibration.rig import CalibrationRecord, Rig, RigCamera, SyncSettings, check_rigid

EXTRAS_KEY = "usthand"
_UNITS_M = {"m": 1.0, "cm": 0.01, "mm": 0.001}
_ORTHONORMAL = 1e-9
_LARGEST_RIG_M = 100.0
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


class RigExtras(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """What a rig has beyond a foreign format."""

    sync: SyncSettings | None = None
    calibration: CalibrationRecord | None = None
    time_offsets_known: bool = False


def camera_extras(camera: RigCamera, **fields: object) -> str | None:
    """The `usthand` entry of a camera, with `id` and `lens` as given in `fields`; None where there is nothing."""
    extras = CameraExtras(
        time_offset_ns=camera.time_offset_ns, source=camera.source, rmse_px=camera.rmse_px, remote=camera.remote
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
        return msgspec.json.decode(str(text), type=struct)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise UserError(
            f"{name}: the entry `{EXTRAS_KEY}` cannot be read ({error}). Correct it, or remove it with what it holds."
        ) from None


def make_camera(
    name: str,
    camera_id: str,
    camera: Camera,
    T_cam_world: np.ndarray,
    extras: CameraExtras,
    rmse_px: float | None = None,
) -> RigCamera:
    """A camera of a rig from what a file and its extras tell. Raises UserError, which calls the camera `name`."""
    camera_id = extras.id or camera_id
    if not camera_id or any(char in camera_id for char in "/\\\0\n") or camera_id in (".", ".."):
        raise UserError(f"{name}: `{camera_id}` cannot name a file. Use letters, digits, `_`, `-` and `.`.")
    try:
        if extras.lens == "pinhole8" and camera.lens == "pinhole5":
            camera = replace(camera, lens="pinhole8", distortion=np.append(camera.distortion, [0] * 3))
        elif extras.lens == "pinhole5" and camera.lens == "pinhole8" and not camera.distortion[5:].any():
            camera = replace(camera, lens="pinhole5", distortion=camera.distortion[:5])
        check_rigid(T_cam_world)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    rmse_px = rmse_px if extras.rmse_px is None else extras.rmse_px
    return RigCamera(
        camera_id=camera_id,
        camera=camera,
        T_cam_world=T_cam_world,
        time_offset_ns=extras.time_offset_ns,
        source=extras.source,
        rmse_px=rmse_px,
        remote=extras.remote,
    )


def make_rig(path: Path, cameras: list[RigCamera], extras: RigExtras, found: CalibrationRecord | None = None) -> Rig:
    """A rig from a file's cameras; `found` is what the file itself tells of its calibration.

    Raises UserError for fewer than two cameras or more than eight, an id that is there twice, and a rig so large that
    the file must be in another unit.
    """
    check_camera_count(cameras, path)
    ids = [camera.camera_id for camera in cameras]
    for camera_id in ids:
        if ids.count(camera_id) > 1:
            raise UserError(f"{path}: camera `{camera_id}` is there twice. Give every camera its own name.")
    centres = np.array([camera.centre_world_m for camera in cameras])
    largest_m = float(np.linalg.norm(centres[:, None] - centres, axis=-1).max())
    if largest_m > _LARGEST_RIG_M:
        raise UserError(
            f"{path}: cameras are {largest_m:.4g} m apart, so its lengths cannot be in the unit they were read in. Say "
            "the unit: `--unit-mm 1` if they are millimetres."
        )
    sync = extras.sync or SyncSettings()
    return Rig(tuple(cameras), sync, extras.calibration or found, extras.time_offsets_known)


def check_camera_count(cameras: list[RigCamera], path: Path) -> tuple[RigCamera, ...]:
    """Raise UserError unless there are as many cameras as a rig may have."""
    if not 2 <= len(cameras) <= MAX_CAMERAS:
        raise UserError(
            f"{path}: {len(cameras)} calibrated cameras; a rig has 2 to {MAX_CAMERAS}. Choose another calibration."
        )
    return tuple(cameras)


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


def unit_m(unit: object, unit_mm: float | None, path: Path, told_by: str) -> float:
    """Metres in one unit of a file's translations, from the user's `--unit-mm` or from the file itself.

    `unit` is the value of the file's entry `told_by`: m, cm or mm. Raises UserError where neither tells.
    """
    if unit_mm is not None:
        return unit_mm / 1000
    if unit is None:
        raise UserError(
            f"{path}: the unit of its translations is not known. Say it: `--unit-mm 1` for millimetres, "
            "`--unit-mm 1000` for metres, or the side of a square of the board where lengths are in squares."
        )
    if not isinstance(unit, str) or unit not in _UNITS_M:
        raise UserError(f"{path}: `{told_by}` is {unit!r}; expected one of {', '.join(_UNITS_M)}.")
    return _UNITS_M[unit]


def warn_left_out(path: Path, what: list[str]) -> None:
    """Say which entries of a file have no place in a rig."""
    if what:
        names = ", ".join(f"`{name}`" for name in sorted(set(what)))
        _log.warning(f"{path}: {names}: a rig has no place for this; left out.")
