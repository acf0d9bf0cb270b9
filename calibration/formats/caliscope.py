"""caliscope's `camera_array.toml` (https://github.com/mprib/caliscope, caliscope/cameras/camera_array.py).

A table `[cameras.N]` per camera, N being its whole number: `cam_id` (older: `port`), `size`, `matrix`, `distortions`,
`rotation` (a Rodrigues vector; 3x3 in older files) and `translation` in metres, world to camera; `fisheye`; `error`,
the reprojection error of the intrinsics in pixels; `ignore` for cameras to leave out. caliscope passes over other
keys.
"""

import re
from pathlib import Path
from typing import Any

from calibration.errors import UserError
from calibration.formats.parts import (
    EXTRAS_KEY,
    RigExtras,
    camera_extras,
    decode_extras,
    make_rig,
    rig_extras,
    warn_left_out,
)
from calibration.formats.toml_tables import CAMERA_KEYS, camera_from_table, read_toml, table_from_camera, write_toml
from calibration.rig import CalibrationRecord, Rig, RigCamera

FILE_NAME = "camera_array.toml"
_OWN_KEYS = CAMERA_KEYS | {"cam_id", "port", "ignore"}
_NUMBERED = re.compile(r"cam_(0|[1-9]\d{0,8})")


def read(path: Path, unit_mm: float | None = None) -> Rig:
    """Read `camera_array.toml`; camera N is named `cam_N`, and those marked `ignore` are left out.

    `unit_mm` is the length of one unit of the translations where it is not a metre. Raises UserError.
    """
    content = read_toml(path)
    cameras, ignored = cameras_from_content(content, path, 1.0 if unit_mm is None else unit_mm / 1000)
    left_out = [f"camera {number} (ignore)" for number in sorted(ignored)]
    for table in content["cameras"].values():
        left_out += [key for key in table if key not in _OWN_KEYS]
    warn_left_out(path, left_out)
    own = content.get(EXTRAS_KEY)
    extras = decode_extras(own.get("rig") if isinstance(own, dict) else own, RigExtras, str(path))
    return make_rig(path, list(cameras.values()), extras, CalibrationRecord(tool="caliscope"))


def read_cameras(path: Path) -> tuple[dict[int, RigCamera], set[int]]:
    """Cameras by number, in the order of the file, and the numbers of the ignored ones. Raises UserError."""
    return cameras_from_content(read_toml(path), path, 1.0)


def cameras_from_content(content: dict[str, Any], path: Path, unit_m: float) -> tuple[dict[int, RigCamera], set[int]]:
    """As read_cameras, from what a file holds; `unit_m` is the length of one unit of the translations in metres."""
    tables = content.get("cameras")
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()) or not tables:
        raise UserError(f"{path}: no `[cameras.N]` tables. Give caliscope's {FILE_NAME}.")
    cameras: dict[int, RigCamera] = {}
    ignored: set[int] = set()
    for key, table in tables.items():
        value = table.get("cam_id", table.get("port", key))
        try:
            number = int(value)
        except (TypeError, ValueError):
            raise UserError(f"{path}: the cam_id of `[cameras.{key}]` must be a whole number; got {value!r}.") from None
        if number in cameras or number in ignored:
            raise UserError(f"{path}: camera {number} is there twice. Give every camera its own cam_id.")
        if table.get("ignore", False):
            ignored.add(number)
        else:
            cameras[number] = camera_from_table(table, f"cam_{number}", path, unit_m)
    return cameras, ignored


def write(path: Path, rig: Rig) -> None:
    """Write `camera_array.toml`. `cam_N` gets the number N, other names the numbers that are free."""
    numbers = {camera_id: int(match[1]) for camera_id in rig.camera_ids if (match := _NUMBERED.fullmatch(camera_id))}
    free = (number for number in range(len(rig.cameras)) if number not in numbers.values())
    tables: dict[str, Any] = {}
    for camera in rig.cameras:
        named = camera.camera_id in numbers
        number = numbers[camera.camera_id] if named else next(free)
        fields: dict[str, object] = {"rmse_px": None} if isinstance(camera.rmse_px, float) else {}
        tables[str(number)] = {
            "cam_id": number,
            "error": camera.rmse_px,
            **table_from_camera(camera, path),
            EXTRAS_KEY: camera_extras(camera, id=None if named else camera.camera_id, **fields),
        }
    extras = rig_extras(rig)
    write_toml(path, {"cameras": tables, EXTRAS_KEY: {"rig": extras} if extras else None})
