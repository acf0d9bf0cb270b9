"""What the importers share: a recording as read, and videos and times from other programs' files."""

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from calibration.errors import UserError
from calibration.rig import Rig

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov")


@dataclass(frozen=True, kw_only=True)
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
