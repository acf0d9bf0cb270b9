"""Recordings in FreeMoCap's layout (https://github.com/freemocap/freemocap).

A recording has `synchronized_videos/*.mp4`, all with the same number of frames, and `*_camera_calibration.toml` in
aniposelib's format: a table per camera with name, size, matrix, distortions, rotation (Rodrigues vector), translation
and, where it is one, fisheye; and `metadata` with the side of a board's square, `charuco_square_size`, in millimetres,
or 1 where translations are in squares. Times are in `synchronized_videos/timestamps`: a CSV or NumPy file per camera,
or one CSV for all; older recordings have none and go by the frame rate of the videos.
"""

import csv
from pathlib import Path

import cv2
import numpy as np

from calibration.errors import UserError
from calibration.formats.anipose import camera_tables, length_unit_m, metadata_table
from calibration.formats.parts import check_camera_count
from calibration.formats.toml_tables import camera_from_table, read_toml
from calibration.importers.recording import (
    ForeignRecording,
    camera_number,
    find_videos,
    require_columns,
    to_ns,
)
from calibration.rig import CalibrationRecord, Rig, RigCamera
from calibration.video import video_properties

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
    UserError for a missing calibration or column, a calibration of unknown unit, and videos that do not go with it.
    """
    calibration = calibration or _find_calibration(folder)
    content = read_toml(calibration)
    metadata = metadata_table(content, calibration)
    unit_m = length_unit_m(content, calibration, unit_mm)
    tables = camera_tables(content)
    cameras = [camera_from_table(table, key, calibration, unit_m) for key, table in tables.items()]
    names = {key: str(table.get("name", key)) for key, table in tables.items()}
    videos = _match_videos(cameras, names, find_videos(folder / _VIDEOS), calibration)
    times_file, frame_times_ns, clock = _read_times(folder / _VIDEOS, videos)
    date = metadata.get("date_time_calibrated")
    rig = Rig(
        check_camera_count(cameras, calibration),
        calibration=CalibrationRecord(date=str(date)[:10] if date else None, tool="FreeMoCap"),
    )
    source = f"FreeMoCap recording {folder.resolve()}"
    return ForeignRecording(
        rig=rig,
        videos=videos,
        frame_times_ns=frame_times_ns,
        calibration_file=calibration,
        times_file=times_file,
        clock=clock,
        source=source,
    )


def _find_calibration(folder: Path) -> Path:
    found = sorted(path for path in folder.glob(_CALIBRATION) if path.is_file())
    if not found:
        raise UserError(
            f"{folder}: no {_CALIBRATION}. Give the recording's calibration with `--calibration FILE`, or calibrate in "
            "FreeMoCap."
        )
    if len(found) > 1:
        raise UserError(
            f"{folder}: {len(found)} calibrations: {', '.join(path.name for path in found)}. Give the right one with "
            "`--calibration FILE`."
        )
    return found[0]


def _match_videos(
    cameras: list[RigCamera], names: dict[str, str], videos: list[Path], calibration: Path
) -> dict[str, Path]:
    """Videos by camera: by the camera's name, else by the number in both names, else in order, as FreeMoCap does."""
    ids = [camera.camera_id for camera in cameras]
    if len(videos) != len(ids):
        missing = "is missing" if len(videos) < len(ids) else "is not calibrated"
        raise UserError(
            f"{videos[0].parent}: {len(videos)} videos ({', '.join(path.name for path in videos)}) for {len(ids)} "
            f"cameras ({', '.join(names[key] for key in ids)}) in {calibration}: one {missing}. Give the calibration "
            "of this recording, or put the missing video back."
        )
    for camera_key, video_key in (
        ([names[key] for key in ids], lambda path: path.stem),
        ([camera_number(names[key]) for key in ids], lambda path: camera_number(path.stem)),
    ):
        by_key = {video_key(path): path for path in videos}
        if None not in by_key and len(by_key) == len(ids) and set(by_key) == set(camera_key):
            return {key: by_key[wanted] for key, wanted in zip(ids, camera_key, strict=True)}
    return dict(zip(ids, videos, strict=True))


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
    times_ns = _times_from_rate(list(videos.values()))
    return folder, dict.fromkeys(videos, times_ns), "counted from the frame rate of the synchronized videos"


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
            return np.load(path, allow_pickle=False).reshape(-1).astype(np.int64)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read as an array of times ({error}). Remove or replace it.") from None
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        columns = list(rows.fieldnames or [])
        require_columns(columns, ["|".join(_TIME_COLUMNS)], path)
        column = next(name for name in _TIME_COLUMNS if name in columns)
        times = [to_ns(row[column] or "", _TIME_COLUMNS[column], path, rows.line_num) for row in rows]
    return np.array(times, dtype=np.int64)


def _times_from_rate(videos: list[Path]) -> np.ndarray:
    """Times of the frames from the median frame rate of the videos, from 0."""
    rates = []
    for video in videos:
        capture = cv2.VideoCapture(str(video))
        rates.append(capture.get(cv2.CAP_PROP_FPS) if capture.isOpened() else 0.0)
        capture.release()
    fps = float(np.median(rates))
    if not fps > 0:
        raise UserError(f"{videos[0].parent}: no timestamps, and the videos tell no frame rate. Record again.")
    return np.round(np.arange(video_properties(videos[0])[2]) * (1e9 / fps)).astype(np.int64)
