"""aniposelib's calibration (https://github.com/lambdaloop/aniposelib, aniposelib/cameras.py), also FreeMoCap's.

A table `[cam_N]` per camera with `name`, `size`, `matrix`, `distortions`, `rotation` (Rodrigues vector) and
`translation`, world to camera, and `fisheye = true` where it is one; `[metadata]` for everything else. The format has
no unit: aniposelib's translations are in that of its board. FreeMoCap tells the side of a square in millimetres in
`metadata.charuco_square_size`, or 1 where translations are in squares. Written are metres, told in `metadata.unit`.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from calibration.errors import UserError
from calibration.formats.found import FoundRig
from calibration.formats.parts import EXTRAS_KEY, RigExtras, camera_extras, decode_extras, rig_extras
from calibration.formats.toml_tables import CAMERA_KEYS, camera_from_table, read_toml, table_from_camera, write_toml
from calibration.rig import CalibrationRecord, Rig

# Tables of other programs' files that are no cameras.
_NO_CAMERAS = ("metadata", "capture_volume", "charuco", "checkerboard", EXTRAS_KEY)
_OWN_METADATA = ("adjusted", "error", "unit", EXTRAS_KEY, "charuco_square_size", "date_time_calibrated")


def read(path: Path) -> FoundRig:
    """Read a calibration; a camera goes by its `name`, else by the name of its table. Raises UserError."""
    content = read_toml(path)
    metadata = metadata_table(content, path)
    unit, ask = (
        metadata.get("unit"),
        "the unit of its translations is not known: `metadata` has no `charuco_square_size`.",
    )
    square = metadata.get("charuco_square_size")
    if "unit" not in metadata and isinstance(square, int | float):
        unit = 0.001
        if square == 1:
            unit, ask = None, "`charuco_square_size` is 1, so translations are in squares of the board."
    return replace(rig_from_content(content, path, "aniposelib"), unit=unit, told_by="metadata.unit", ask_unit=ask)


def rig_from_content(content: dict[str, Any], path: Path, tool: str) -> FoundRig:
    """The cameras of a file, in metres."""
    tables, metadata = camera_tables(content), metadata_table(content, path)
    if not tables:
        raise UserError(f"{path}: no table of a camera, with `matrix`, `distortions`, `rotation` and so on.")
    left_out = [key for table in tables.values() for key in table if key not in CAMERA_KEYS]
    left_out += [f"metadata.{key}" for key in metadata if key not in _OWN_METADATA]
    left_out += [key for key in content if key not in tables and key not in ("metadata", EXTRAS_KEY)]
    error, date = metadata.get("error"), metadata.get("date_time_calibrated")
    rmse_px = float(error) if isinstance(error, int | float) and 0 < error < 1e6 else None
    return FoundRig(
        path=path,
        cameras=tuple(
            camera_from_table(table, (str(table.get("name", key)), key), path) for key, table in tables.items()
        ),
        extras=decode_extras(metadata.get(EXTRAS_KEY), RigExtras, str(path)),
        record=CalibrationRecord(str(date)[:10] if date else None, tool, rmse_px=rmse_px),
        left_out=tuple(left_out),
    )


def camera_tables(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The tables of cameras by their name, in the order of the file."""
    return {
        key: table
        for key, table in content.items()
        if isinstance(table, dict) and key not in _NO_CAMERAS and {"matrix", "distortions", "rotation"} & set(table)
    }


def metadata_table(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """The table `metadata`, empty where there is none. Raises UserError where it is something else."""
    metadata = content.get("metadata", {})
    if not isinstance(metadata, dict):
        raise UserError(f"{path}: `metadata` must be a table; got {metadata!r}. Correct it.")
    return metadata


def write(path: Path, rig: Rig) -> None:
    """Write a calibration that aniposelib reads, translations in metres."""
    tables: dict[str, Any] = {}
    for index, camera in enumerate(rig.cameras):
        table = table_from_camera(camera, path)
        tables[f"cam_{index}"] = {"name": camera.camera_id, **table, EXTRAS_KEY: camera_extras(camera)}
    tables["metadata"] = {**result_metadata(rig), "unit": "m", EXTRAS_KEY: rig_extras(rig)}
    write_toml(path, tables)


def result_metadata(rig: Rig) -> dict[str, Any]:
    """What Anipose and Pose2Sim say of a calibration in `metadata`."""
    rmse_px = rig.calibration.rmse_px if rig.calibration else None
    return {"adjusted": False, "error": float(rmse_px or 0.0)}
