"""What the importers share: a recording as read, and videos and times from other programs' files."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path

import cv2
import numpy as np

from calibration.camera_names import camera_number, is_camera_id
from calibration.camera_source import MAX_CAMERAS
from calibration.csv_line import csv_fields
from calibration.errors import UserError, reason_of
from calibration.found_files import read_found_text
from calibration.rig import Rig
from calibration.video import count_frames, open_video, stamped_times_s

log = logging.getLogger(__name__)

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".m4v", ".webm", ".mts", ".m2ts")
# What these containers have in their index can be decoded.
_COUNTED = (".mp4", ".mov", ".m4v")
FROM_RATE = "the videos' own, by their rate or, where frames are of unequal length, as stored; all begin at 0"
UNTIMED = (FROM_RATE, "counted from the frame rate of the videos, all of which begin at 0")
"""What sessions say whose recording had no times, those of earlier versions too."""
# Between the rate of a video and that of its times. A webcam at 6 frames/s is stored as 30; no unit is within 50.
_MOST_TIMES_OFF = 50.0
# Frames of equal length lie nearer to where the rate says, in frames: containers round their times.
_MOST_UNEVEN = 0.5
_UNITS = {1e3: "milliseconds", 1e6: "microseconds", 1e9: "nanoseconds", 1e-3: "thousands of them", 60.0: "minutes"}


@dataclass(frozen=True, kw_only=True)
class ForeignRecording:
    """A recording of another program, read but not yet checked against its videos.

    `frame_times_ns` has the times (n,) int64 of each camera's frames in the order of its video. `calibration_file` and
    `times_file` are where rig and times were read, for errors; `calibration_file` is None where `rig` is nominal, for
    the recording is yet to be calibrated. `lenses_file` has lenses for that.
    """

    rig: Rig
    videos: dict[str, Path]
    frame_times_ns: dict[str, np.ndarray]
    calibration_file: Path | None
    times_file: Path
    clock: str
    source: str
    created: str | None = None
    lenses_file: Path | None = None


def find_videos(folder: Path) -> list[Path]:
    """Videos in a folder, sorted by name; hidden files are left out."""
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file() and not path.name.startswith(".")
    )


def name_videos(videos: Sequence[Path], names: Sequence[str] | None = None) -> dict[str, Path]:
    """Videos by camera id: their names, where those can be ids and differ, else cam_N by the number in them.

    Where they have no numbers, N counts them. `names` default to those of the files. Raises UserError where there are
    fewer than two videos or more than MAX_CAMERAS.
    """
    check_count(len(videos), videos[0].parent if videos else Path("the recording"))
    own = list(names or [path.stem for path in videos])
    numbered = [f"cam_{number}" for number in map(camera_number, own) if number is not None]
    for ids in (own, numbered):
        if len(set(ids)) == len(videos) and all(map(is_camera_id, ids)):
            return dict(zip(ids, videos, strict=True))
    return {f"cam_{index}": path for index, path in enumerate(videos)}


def check_count(videos: int, folder: Path) -> None:
    """Raise UserError unless there are as many videos as a rig may have cameras."""
    if not 2 <= videos <= MAX_CAMERAS:
        raise UserError(
            f"{folder}: {videos} videos; a rig has 2 to {MAX_CAMERAS} cameras. Give a directory with one video of each."
        )


def table_rows(path: Path) -> tuple[list[str], Iterator[tuple[int, dict[str, str | None]]]]:
    """The columns of a CSV, and of each line its number and values, None where it has fewer. Raises UserError."""
    try:
        lines = read_found_text(path).splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({reason_of(error)}).") from None
    columns = csv_fields(lines[0]) if lines else []
    rows = ((number, csv_fields(line)[: len(columns)]) for number, line in enumerate(lines[1:], start=2) if line)
    return columns, ((number, dict(zip_longest(columns, fields))) for number, fields in rows)


def require_columns(columns: list[str], wanted: list[str], path: Path) -> None:
    """Raise UserError unless the CSV has every wanted column; a wanted `a|b` takes either."""
    for names in wanted:
        if not set(names.split("|")) & set(columns):
            raise UserError(
                f"{path}: no column `{names.replace('|', '` or `')}`; the columns are {', '.join(columns) or 'none'}. "
                "Give a recording whose time stamps have it."
            )


def to_ns(text: str, unit_ns: int, path: Path, line: int) -> int:
    """A decimal time in a CSV, exactly, as nanoseconds. Raises UserError where it is no number, or none of 64 bits."""
    try:
        time_ns = Decimal(text.strip()) * unit_ns
        if not abs(time_ns) < 2**63:
            raise ValueError
        return round(time_ns)
    except (ArithmeticError, ValueError):
        raise UserError(f"{path}, line {line}: `{text}` is not a time. Correct or remove the line.") from None


def video_fps(video: Path) -> float:
    """The frame rate that the container states, 0 where it states none. Raises UserError where it cannot be read."""
    capture = open_video(video)
    try:
        fps = capture.get(cv2.CAP_PROP_FPS)
    finally:
        capture.release()
    return fps if np.isfinite(fps) and fps > 0 else 0.0


def times_of_videos(videos: Mapping[str, Path]) -> dict[str, np.ndarray]:
    """Times (n,) of each video's frames, nanoseconds from 0: from its own frame rate or, where frames are of unequal
    length, as phones make them in changing light, as the container has them. Raises UserError."""
    return {camera_id: _times_of(video) for camera_id, video in videos.items()}


def _times_of(video: Path) -> np.ndarray:
    fps, stamped_s = video_fps(video), stamped_times_s(video)
    even_ns = times_at(fps, video, stamped_s)
    if stamped_s is None or len(stamped_s) != len(even_ns):
        return even_ns
    stamped_ns = np.round(stamped_s * 1e9).astype(np.int64)
    is_even = np.abs(stamped_ns - even_ns).max(initial=0) < _MOST_UNEVEN * 1e9 / fps
    if is_even or (np.diff(stamped_ns) <= 0).any():
        return even_ns
    log.warning("%s: its frames are of unequal length; their times are the file's own", video)
    return stamped_ns


def times_at(fps: float, video: Path, stamped_s: np.ndarray | None) -> np.ndarray:
    """Times (n,) of a video's frames at a rate, nanoseconds from 0; `stamped_s`: its `stamped_times_s`.

    Raises UserError for a rate of 0.
    """
    if not fps > 0:
        raise UserError(f"{video}: no times of its frames, and it tells no frame rate. Record again.")
    frames = count_frames(video) if stamped_s is None or video.suffix.lower() not in _COUNTED else len(stamped_s)
    return np.round(np.arange(frames) * (1e9 / fps)).astype(np.int64)


def check_time_unit(times_ns: np.ndarray, camera_id: str, video: Path, times_file: Path) -> None:
    """Raise UserError for times (n,) that are in another unit than they were read in, by the rate of their video."""
    fps = video_fps(video)
    if len(times_ns) < 2 or not fps:
        return
    seconds, of_video = (times_ns[-1] - times_ns[0]) / 1e9, (len(times_ns) - 1) / fps
    # The mean tells nothing where there was a pause, the median where frames came in bursts.
    factor = float(np.median(np.diff(times_ns))) * fps / 1e9
    if any(1 / _MOST_TIMES_OFF < each < _MOST_TIMES_OFF for each in (factor, seconds / of_video)):
        return
    ratio = min(_UNITS, key=lambda unit: abs(np.log(unit / factor)))
    raise UserError(
        f"{times_file}: the times of camera `{camera_id}` span {seconds:,.6g} s, but so many frames of "
        f"{video.name} at {fps:g} frames/s are {of_video:,.6g} s: they are in another unit, likely {_UNITS[ratio]}. "
        f"{f'Divide them by {ratio:,.0f}' if ratio > 1 else f'Multiply them by {1 / ratio:,.0f}'}, or remove the file: "
        "then they are counted from the frame rate."
    )


def listed(paths: Sequence[Path]) -> str:
    """The names of files, for errors."""
    return ", ".join(path.name for path in paths)
