"""Recordings in caliscope's layout (https://github.com/mprib/caliscope).

A workspace has `camera_array.toml`; its recordings are `calibration/extrinsic` and the folders of `recordings`. Newer
versions keep the calibrated cameras in `capture_volume` in the former and only lenses in the workspace. A
recording holds `cam_0.mp4`, `cam_1.mp4`, ... (older: `port_0.mp4`) and `timestamps.csv` (older:
`frame_time_history.csv`) with the columns cam_id (older: port), frame_time (seconds) and, in some, sync_index and
frame_index. Pixels are those of the stored video: `rotation_count` only turns the picture on caliscope's screen.
"""

import re
from pathlib import Path

import numpy as np

from calibration.errors import UserError
from calibration.formats import caliscope, detect_format, read_found_rig
from calibration.importers.recording import (
    FROM_RATE,
    ForeignRecording,
    find_videos,
    require_columns,
    table_rows,
    times_of_videos,
    to_ns,
)
from calibration.importers.videos_and_rig import has_poses, join

_TIMES = ("timestamps.csv", "frame_timestamps.csv", "frame_time_history.csv")
_VIDEO = re.compile(r"(?:cam|port)_(\d+)", re.IGNORECASE)


def caliscope_recordings(folder: Path) -> list[Path]:
    """The recordings in `folder`: itself, or those of the workspace that it is."""
    if _videos(folder):
        return [folder]
    recordings = folder / "recordings"
    inside = sorted(path for path in recordings.iterdir() if path.is_dir()) if recordings.is_dir() else []
    return [path for path in (folder / "calibration" / "extrinsic", *inside) if _videos(path)]


def read_caliscope(folder: Path, calibration: Path | None = None, unit_mm: float | None = None) -> ForeignRecording:
    """Read one recording folder and the `camera_array.toml` of its workspace, where there is one.

    Cameras that the calibration marks with `ignore` are left out. Raises UserError for a missing column or video.
    """
    found = None if calibration else _find_calibration(folder)
    calibration = calibration or found
    videos = _videos(folder)
    if calibration is not None and detect_format(calibration) == "caliscope":
        ignored = caliscope.ignored_cameras(calibration)
        videos = {number: video for number, video in videos.items() if number not in ignored}
        if has_poses(calibration):
            _check_videos(folder, videos, calibration)
    joined = join({f"cam_{number}": videos[number] for number in sorted(videos)}, calibration, unit_mm)
    numbers = {video: number for number, video in videos.items()}
    of_camera = {camera_id: numbers[video] for camera_id, video in joined.videos.items()}
    times_file = next((folder / name for name in _TIMES if (folder / name).is_file()), None)
    if times_file is None:
        times, clock = times_of_videos(joined.videos), FROM_RATE
    else:
        times = _read_times(times_file, of_camera)
        clock = "caliscope's frame_time: seconds of the recording computer's performance counter"
    return ForeignRecording(
        rig=joined.rig,
        videos=joined.videos,
        frame_times_ns=times,
        calibration_file=joined.calibration,
        lenses_file=joined.lenses,
        times_file=times_file or folder,
        clock=clock,
        # Other cameras call their videos so, too.
        source=f"{'caliscope' if times_file or found else 'videos'} recording {folder.resolve()}",
    )


def _check_videos(folder: Path, videos: dict[int, Path], calibration: Path) -> None:
    """Raise UserError unless there is a video of every camera and a camera of every video."""
    cameras = {int(camera_id.removeprefix("cam_")) for camera_id in read_found_rig(calibration).own_names}
    unknown = sorted(set(videos) - cameras)
    if unknown:
        raise UserError(
            f"{calibration}: no camera for the video {videos[unknown[0]].name}. Calibrate it too, or mark it with "
            "`ignore = true`."
        )
    for number in sorted(cameras - set(videos)):
        raise UserError(
            f"{folder}: no video of the calibrated camera {number}; expected `cam_{number}.mp4` or "
            f"`port_{number}.mp4`. Put it there, or mark the camera with `ignore = true` in {calibration}."
        )


def _videos(folder: Path) -> dict[int, Path]:
    named = [(_VIDEO.fullmatch(path.stem), path) for path in find_videos(folder)]
    return {int(match[1]): path for match, path in named if match}


def _find_calibration(folder: Path) -> Path | None:
    """The calibration of the workspace: one with poses, else one with lenses."""
    folder = folder.resolve()
    places = [folder, folder / "capture_volume"]
    for workspace in folder.parents[:2]:
        places += [workspace, workspace / "calibration" / "extrinsic" / "capture_volume"]
    found = [place / caliscope.FILE_NAME for place in places if (place / caliscope.FILE_NAME).is_file()]
    return next((path for path in found if has_poses(path)), found[0] if found else None)


def _read_times(path: Path, numbers: dict[str, int]) -> dict[str, np.ndarray]:
    """Times (n,) by camera id, whose numbers are `numbers`, in the order of their videos."""
    found: dict[int, list[tuple[int, int]]] = {number: [] for number in numbers.values()}
    columns, rows = table_rows(path)
    require_columns(columns, ["cam_id|port", "frame_time"], path)
    camera_column = "cam_id" if "cam_id" in columns else "port"
    for line, row in rows:
        try:
            number, frame = int(row[camera_column] or ""), int(row.get("frame_index", "0") or "")
        except ValueError:
            raise UserError(
                f"{path}, line {line}: expected whole numbers for {camera_column} and frame_index; got "
                f"`{row[camera_column]}` and `{row.get('frame_index')}`. Correct or remove the line."
            ) from None
        if number in found:
            found[number].append((frame, to_ns(row["frame_time"] or "", 10**9, path, line)))
    for number in sorted(found):
        if not found[number]:
            raise UserError(f"{path}: no rows of camera {number}. Add its times, or leave the camera out.")
        frames = [frame for frame, _ in found[number]]
        if "frame_index" in columns and len(set(frames)) != len(frames):
            raise UserError(f"{path}: camera {number} has a frame_index twice. Remove one of the rows.")
    # The recording may start in the middle of the numbering: the video's first frame is the lowest frame_index.
    return {
        camera_id: np.array([ns for _, ns in sorted(found[number])], dtype=np.int64)
        for camera_id, number in numbers.items()
    }
