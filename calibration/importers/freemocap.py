"""Recordings in FreeMoCap's layout (https://github.com/freemocap/freemocap).

A recording has `synchronized_videos/*.mp4`, all with the same number of frames, and, once it is calibrated,
`*_camera_calibration.toml` in aniposelib's format: a table per camera with name, size, matrix, distortions, rotation
(Rodrigues vector), translation and, where it is one, fisheye; and `metadata` with the side of a board's square,
`charuco_square_size`, in millimetres, or 1 where translations are in squares. Times are in
`synchronized_videos/timestamps`: a CSV or NumPy file per camera, or one CSV for all; older recordings have none and go
by the frame rate of the videos.
"""

from pathlib import Path

import numpy as np

from calibration.camera_names import camera_number
from calibration.errors import UserError
from calibration.found_files import check_file
from calibration.importers.recording import (
    FROM_RATE,
    ForeignRecording,
    find_videos,
    listed,
    name_videos,
    require_columns,
    table_rows,
    times_at,
    to_ns,
    video_fps,
)
from calibration.importers.videos_and_rig import join
from calibration.video import stamped_times_s

_VIDEOS = "synchronized_videos"
_CALIBRATION = "*_camera_calibration.toml"
# Column and length of its unit in nanoseconds, the most exact first.
_TIME_COLUMNS = {
    "timestamp.perf_counter_ns.ns": 1,
    "timestamp.from_recording_start.sec": 10**9,
    "timestamp.from_recording_start.ms": 10**6,
    "timestamp.utc.seconds": 10**9,
}


def freemocap_recordings(folder: Path) -> list[Path]:
    """The recordings in `folder`: itself, the one whose `synchronized_videos` it is, or those right inside."""
    if folder.name == _VIDEOS and find_videos(folder):
        return [folder.parent]
    if find_videos(folder / _VIDEOS):
        return [folder]
    return sorted(path for path in folder.iterdir() if path.is_dir() and find_videos(path / _VIDEOS))


def read_freemocap(folder: Path, calibration: Path | None = None, unit_mm: float | None = None) -> ForeignRecording:
    """Read one recording folder.

    `unit_mm` is the length of one unit of the calibration's translations, where the file does not tell. Raises
    UserError for a missing column, a calibration of unknown unit, and videos that do not go with it.
    """
    calibration = calibration or _find_calibration(folder)
    named = name_videos(find_videos(folder / _VIDEOS))
    joined = join(named, calibration, unit_mm, by_table=True)
    times_file, frame_times_ns, clock = _read_times(folder / _VIDEOS, joined.videos)
    return ForeignRecording(
        rig=joined.rig,
        videos=joined.videos,
        frame_times_ns=frame_times_ns,
        calibration_file=joined.calibration,
        lenses_file=joined.lenses,
        times_file=times_file,
        clock=clock,
        source=f"FreeMoCap recording {folder.resolve()}",
    )


def _find_calibration(folder: Path) -> Path | None:
    found = sorted(path for path in folder.glob(_CALIBRATION) if path.is_file())
    if len(found) > 1:
        raise UserError(
            f"{folder}: {len(found)} calibrations: {listed(found)}. Give the right one with `--calibration FILE`."
        )
    return found[0] if found else None


def _read_times(folder: Path, videos: dict[str, Path]) -> tuple[Path, dict[str, np.ndarray], str]:
    stamps = folder / "timestamps"
    csv_files = sorted(path for path in stamps.rglob("*timestamps*.csv") if path.is_file())
    for files in (csv_files, sorted(path for path in stamps.rglob("*.npy") if path.is_file())):
        of_cameras = _per_camera(videos, files)
        if of_cameras:
            times = {camera_id: _read_time_file(path) for camera_id, path in of_cameras.items()}
            return stamps, times, "the recording computer's performance counter, per camera"
    for_all = [path for path in csv_files if path.parent == stamps]
    if len(for_all) == 1:
        times_ns = _read_time_file(for_all[0])
        clock = "the recording computer's performance counter, mean of the cameras"
        return for_all[0], dict.fromkeys(videos, times_ns), clock
    # They are synchronized: frame by frame at one moment.
    fps = float(np.median([video_fps(video) for video in videos.values()]))
    times = {camera_id: times_at(fps, video, stamped_times_s(video)) for camera_id, video in videos.items()}
    return folder, times, FROM_RATE


def _per_camera(videos: dict[str, Path], files: list[Path]) -> dict[str, Path] | None:
    """The file of each camera by the number in its name; None unless each camera has exactly one."""
    matched = {}
    for camera_id, video in videos.items():
        number = camera_number(video.stem)
        of_camera = [path for path in files if camera_number(path.stem) == number]
        if number is None or len(of_camera) != 1:
            return None
        matched[camera_id] = of_camera[0]
    return matched if len(set(matched.values())) == len(matched) else None


def _read_time_file(path: Path) -> np.ndarray:
    if path.suffix == ".npy":
        try:
            check_file(path)
            times = np.lib.format.open_memmap(path, mode="r")  # never more than the file has, whatever its header says
            if times.dtype.kind not in "iuf" or not np.isfinite(times).all():
                raise ValueError
            return times.reshape(-1).astype(np.int64)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}). Remove or replace it.") from None
        except Exception:  # numpy's parser may fail in any way, and its text is of pickles
            raise UserError(f"{path}: is no array of times, as numpy saves it. Remove or replace it.") from None
    columns, rows = table_rows(path)
    require_columns(columns, ["|".join(_TIME_COLUMNS)], path)
    column = next(name for name in _TIME_COLUMNS if name in columns)
    times = [to_ns(row[column] or "", _TIME_COLUMNS[column], path, line) for line, row in rows]
    return np.array(times, dtype=np.int64)
