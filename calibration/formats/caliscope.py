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
from calibration.formats.found import FoundRig
from calibration.formats.parts import EXTRAS_KEY, RigExtras, camera_extras, decode_extras, rig_extras
from calibration.formats.toml_tables import CAMERA_KEYS, camera_from_table, read_toml, table_from_camera, write_toml
from calibration.rig import CalibrationRecord, Rig

FILE_NAME = "camera_array.toml"
_OWN_KEYS = CAMERA_KEYS | {"cam_id", "port", "ignore"}
_NUMBERED = re.compile(r"cam_(0|[1-9]\d{0,8})")


def read(path: Path) -> FoundRig:
    """Read `camera_array.toml`; camera N is named `cam_N`, and those marked `ignore` are left out. Raises UserError."""
    content = read_toml(path)
    tables = _tables_by_number(content, path)
    left_out = [f"camera {number} (ignore)" for number in sorted(ignored_cameras(path))]
    left_out += [key for table in tables.values() for key in table if key not in _OWN_KEYS]
    own = content.get(EXTRAS_KEY)
    return FoundRig(
        path=path,
        cameras=tuple(
            camera_from_table(table, (f"cam_{number}",), path)
            for number, table in tables.items()
            if not table.get("ignore", False)
        ),
        extras=decode_extras(own.get("rig") if isinstance(own, dict) else own, RigExtras, str(path)),
        record=CalibrationRecord(tool="caliscope"),
        left_out=tuple(left_out),
    )


def ignored_cameras(path: Path) -> set[int]:
    """The numbers of the cameras that are marked `ignore`. Raises UserError."""
    return {number for number, table in _tables_by_number(read_toml(path), path).items() if table.get("ignore", False)}


def _tables_by_number(content: dict[str, Any], path: Path) -> dict[int, dict[str, Any]]:
    """Tables of cameras by number, in the order of the file."""
    tables = content.get("cameras")
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()) or not tables:
        raise UserError(f"{path}: no `[cameras.N]` tables. Give caliscope's {FILE_NAME}.")
    numbered: dict[int, dict[str, Any]] = {}
    for key, table in tables.items():
        value = table.get("cam_id", table.get("port", key))
        try:
            number = int(value)
        except (TypeError, ValueError, OverflowError):
            raise UserError(f"{path}: the cam_id of `[cameras.{key}]` must be a whole number; got {value!r}.") from None
        if number in numbered:
            raise UserError(f"{path}: camera {number} is there twice. Give every camera its own cam_id.")
        numbered[number] = table
    return numbered


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
