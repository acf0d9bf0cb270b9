"""What the importers share: a recording as read, and cameras, videos and times from other programs' files."""

import re
import tomllib
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from calibration.camera import Camera
from calibration.errors import UserError
from calibration.rig import Rig, RigCamera, check_rigid

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov")


@dataclass(frozen=True)
class ForeignRecording:
    """A recording of another program, read but not yet checked against its videos.

    `frame_times_ns` has the times (n,) int64 of each camera's frames in the order of its video. `calibration_file` and
    `times_file` are where rig and times were read, for errors.
    """

    rig: Rig
    videos: dict[str, Path]
    frame_times_ns: dict[str, np.ndarray]
    calibration_file: Path
    times_file: Path
    clock: str
    source: str
    created: str | None = None


def read_toml(path: Path) -> dict[str, Any]:
    """Raises UserError where the file is missing or not TOML."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Give the calibration with `--calibration FILE`.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as TOML ({error}). Write it again with its own program.") from None


def camera_from_table(table: dict[str, Any], camera_id: str, path: Path, unit_m: float) -> RigCamera:
    """A camera from a table with size, matrix, distortions, rotation (3x3 or Rodrigues vector), translation, fisheye.

    `unit_m` is the length in metres of one unit of `translation`. Rotation and translation map world to camera.
    Raises UserError with the file, the camera and the key.
    """
    name = f"{path}: camera `{camera_id}`"
    try:
        width, height = (int(value) for value in _numbers(table, "size", 2))
        distortion = _numbers(table, "distortions")
        if table.get("fisheye", False):
            lens = "fisheye4"
        else:
            lens = "pinhole8" if len(distortion) == 8 else "pinhole5"
            if len(distortion) == 4:  # OpenCV's shortest form: k3 is 0.
                distortion = np.append(distortion, 0.0)
        camera = Camera(width, height, lens, _numbers(table, "matrix", 9).reshape(3, 3), distortion)
        rotation = _numbers(table, "rotation")
        if rotation.size not in (3, 9):
            raise UserError(f"`rotation` must have 3 or 9 numbers; got {rotation.size}.")
        T_cam_world = np.eye(4)
        T_cam_world[:3, :3] = rotation.reshape(3, 3) if rotation.size == 9 else cv2.Rodrigues(rotation)[0]
        T_cam_world[:3, 3] = _numbers(table, "translation", 3) * unit_m
        check_rigid(T_cam_world)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    error_px = table.get("error")
    return RigCamera(camera_id, camera, T_cam_world, rmse_px=error_px if isinstance(error_px, float) else None)


def _numbers(table: dict[str, Any], key: str, count: int | None = None) -> np.ndarray:
    """The numbers (n,) under a key, however nested they are."""
    value = table.get(key)
    if value is None or value == "null":
        raise UserError(f"`{key}` is missing: the camera is not calibrated. Calibrate it, or leave it out of the file.")
    try:
        numbers = np.array(value, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError):
        raise UserError(f"`{key}` must be numbers; got {value!r}. Write the file again with its own program.") from None
    if count is not None and numbers.size != count:
        raise UserError(f"`{key}` must have {count} numbers; got {numbers.size}.")
    return numbers


def check_camera_count(cameras: list[RigCamera], path: Path) -> tuple[RigCamera, ...]:
    """Raise UserError unless there are as many cameras as a rig may have."""
    if not 2 <= len(cameras) <= 8:
        raise UserError(f"{path}: {len(cameras)} calibrated cameras; a rig has 2 to 8. Choose another calibration.")
    return tuple(cameras)


def find_videos(folder: Path) -> list[Path]:
    """Videos in a folder, sorted by name; hidden files are left out."""
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file() and not path.name.startswith(".")
    )


def camera_number(name: str) -> int | None:
    """The number in `cam_3`, `port_3`, `Camera_003_synchronized` or `name.camera3.timestamps`; None without one."""
    found = re.findall(r"(?:camera|cam|port)[_. -]*(\d+)", name, flags=re.IGNORECASE)
    return int(found[-1]) if found else None


def require_columns(columns: list[str], wanted: list[str], path: Path) -> None:
    """Raise UserError unless the CSV has every wanted column; a wanted `a|b` takes either."""
    for names in wanted:
        if not set(names.split("|")) & set(columns):
            raise UserError(
                f"{path}: no column `{names.replace('|', '` or `')}`; the columns are {', '.join(columns) or 'none'}. "
                "Give a recording whose time stamps have it."
            )


def to_ns(text: str, unit_ns: int, path: Path, line: int) -> int:
    """A decimal time in a CSV, exactly, as nanoseconds. Raises UserError where it is no number."""
    try:
        return round(Decimal(text.strip()) * unit_ns)
    except (InvalidOperation, ValueError, OverflowError):
        raise UserError(f"{path}, line {line}: `{text}` is not a time. Correct or remove the line.") from None


def rate_fps(frame_times_ns: dict[str, np.ndarray]) -> float | None:
    """Frames per second of the fastest camera, from the median time between its frames; None without two frames."""
    steps = [float(np.median(np.diff(times))) for times in frame_times_ns.values() if len(times) > 1]
    fastest = min((step for step in steps if step > 0), default=None)
    return None if fastest is None else round(1e9 / fastest, 3)
