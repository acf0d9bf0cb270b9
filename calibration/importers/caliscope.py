"""Recordings in caliscope's layout (https://github.com/mprib/caliscope).

A workspace has `camera_array.toml`; its recordings are `calibration/extrinsic` and the folders of `recordings`. Each
holds `cam_0.mp4`, `cam_1.mp4`, ... (older: `port_0.mp4`) and `timestamps.csv` (older: `frame_time_history.csv`) with
the columns sync_index, cam_id (older: port), frame_index and frame_time (seconds). Pixels are those of the stored
video: `rotation_count` only turns the picture on caliscope's screen.
"""

import csv
import re
from pathlib import Path

import numpy as np

from calibration.errors import UserError
from calibration.formats.caliscope import FILE_NAME, read_cameras
from calibration.formats.parts import check_camera_count
from calibration.importers.recording import (
    ForeignRecording,
    find_videos,
    require_columns,
    to_ns,
)
from calibration.rig import CalibrationRecord, Rig

_TIMES = ("timestamps.csv", "frame_timestamps.csv", "frame_time_history.csv")
_VIDEO = re.compile(r"(?:cam|port)_(\d+)", re.IGNORECASE)


def caliscope_recordings(folder: Path) -> list[Path]:
    """The recordings in `folder`: itself, or those of the workspace that it is."""
    if _videos(folder):
        return [folder]
    recordings = folder / "recordings"
    inside = sorted(path for path in recordings.iterdir() if path.is_dir()) if recordings.is_dir() else []
    return [path for path in (folder / "calibration" / "extrinsic", *inside) if _videos(path)]


def read_caliscope(folder: Path, calibration: Path | None = None) -> ForeignRecording:
    """Read one recording folder and the `camera_array.toml` of its workspace.

    Cameras that the calibration marks with `ignore` are left out. Raises UserError for a missing file, column, video
    or calibration.
    """
    calibration = calibration or _find_calibration(folder)
    cameras, ignored = read_cameras(calibration)
    videos = _videos(folder)
    unknown = sorted(set(videos) - set(cameras) - ignored)
    if unknown:
        raise UserError(
            f"{calibration}: no camera for the video {videos[unknown[0]].name}. Calibrate it too, or mark it with "
            "`ignore = true`."
        )
    for number in sorted(cameras):
        if number not in videos:
            raise UserError(
                f"{folder}: no video of the calibrated camera {number}; expected `cam_{number}.mp4` or "
                f"`port_{number}.mp4`. Put it there, or mark the camera with `ignore = true` in {calibration}."
            )
    times_file, times = _read_times(folder, set(cameras))
    ordered = sorted(cameras)
    frame_times_ns = {cameras[number].camera_id: times[number] for number in ordered}
    rig = Rig(
        check_camera_count([cameras[number] for number in ordered], calibration),
        calibration=CalibrationRecord(tool="caliscope"),
    )
    return ForeignRecording(
        rig=rig,
        videos={cameras[number].camera_id: videos[number] for number in ordered},
        frame_times_ns=frame_times_ns,
        calibration_file=calibration,
        times_file=times_file,
        clock="caliscope's frame_time: seconds of the recording computer's performance counter",
        source=f"caliscope recording {folder.resolve()}",
    )


def _videos(folder: Path) -> dict[int, Path]:
    named = [(_VIDEO.fullmatch(path.stem), path) for path in find_videos(folder)]
    return {int(match[1]): path for match, path in named if match}


def _find_calibration(folder: Path) -> Path:
    places = [folder, *folder.resolve().parents[:2]]
    for place in places:
        if (place / FILE_NAME).is_file():
            return place / FILE_NAME
    raise UserError(
        f"{folder}: no {FILE_NAME} in it or in the two directories above. Give it with `--calibration FILE`, or "
        "calibrate the rig in caliscope."
    )


def _read_times(folder: Path, numbers: set[int]) -> tuple[Path, dict[int, np.ndarray]]:
    path = next((folder / name for name in _TIMES if (folder / name).is_file()), None)
    if path is None:
        raise UserError(f"{folder}: no {_TIMES[0]} (or {_TIMES[2]}), which has the frames' times. Put it there.")
    found: dict[int, list[tuple[int, int]]] = {number: [] for number in numbers}
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        columns = list(rows.fieldnames or [])
        require_columns(columns, ["cam_id|port", "frame_index", "frame_time"], path)
        camera_column = "cam_id" if "cam_id" in columns else "port"
        for row in rows:
            try:
                number, frame = int(row[camera_column]), int(row["frame_index"])
            except (TypeError, ValueError):
                raise UserError(
                    f"{path}, line {rows.line_num}: expected whole numbers for {camera_column} and frame_index; got "
                    f"`{row[camera_column]}` and `{row['frame_index']}`. Correct or remove the line."
                ) from None
            if number in found:
                found[number].append((frame, to_ns(row["frame_time"] or "", 10**9, path, rows.line_num)))
    for number in sorted(numbers):
        if not found[number]:
            raise UserError(f"{path}: no rows of camera {number}. Add its times, or leave the camera out.")
        frames = [frame for frame, _ in found[number]]
        if len(set(frames)) != len(frames):
            raise UserError(f"{path}: camera {number} has a frame_index twice. Remove one of the rows.")
    # The recording may start in the middle of the numbering: the video's first frame is the lowest frame_index.
    return path, {number: np.array([ns for _, ns in sorted(rows)], dtype=np.int64) for number, rows in found.items()}
