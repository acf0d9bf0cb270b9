"""Recordings that are a folder of videos, one of each camera, and Pose2Sim's.

Pose2Sim (https://github.com/perfanalytics/pose2sim): a trial has `videos/`; `calibration/` lies in it, or above it,
with a `Calib*.toml` once it is calibrated, and in `extrinsics/` one folder of each camera with the video of the board.
Neither has times of frames: they are counted from the frame rate.
"""

from collections.abc import Iterable
from pathlib import Path

from calibration.errors import UserError
from calibration.formats import detect_format
from calibration.importers.recording import (
    FROM_RATE,
    ForeignRecording,
    find_videos,
    listed,
    name_videos,
    times_from_rates,
)
from calibration.importers.videos_and_rig import join

_VIDEOS, _BOARD = "videos", "extrinsics"


def video_folders(folder: Path) -> list[Path]:
    """The folder itself, where two videos or more are in it."""
    return [folder] if len(find_videos(folder)) > 1 else []


def read_videos(folder: Path, calibration: Path | None = None, unit_mm: float | None = None) -> ForeignRecording:
    """Read the videos of a folder; without `calibration` they are to be calibrated. Raises UserError."""
    return _recording(find_videos(folder), folder, calibration, unit_mm, "videos")


def pose2sim_recordings(folder: Path) -> list[Path]:
    """The folders of videos in a trial: its `videos`, and those of the board."""
    places = [folder / _VIDEOS, folder / "calibration" / _BOARD, folder]
    if folder.name == _VIDEOS and (folder.parent / "calibration").is_dir():
        return video_folders(folder)
    return [place for place in places if (place != folder and video_folders(place)) or len(_of_board(place)) > 1]


def _of_board(folder: Path) -> list[Path]:
    """Of each camera the one video in its folder."""
    if folder.name != _BOARD or not folder.is_dir():
        return []
    inside = [find_videos(path) for path in sorted(folder.iterdir()) if path.is_dir()]
    return [videos[0] for videos in inside if len(videos) == 1]


def read_pose2sim(folder: Path, calibration: Path | None = None, unit_mm: float | None = None) -> ForeignRecording:
    """Read one folder of videos, and the calibration of its trial or session where there is one. Raises UserError."""
    videos = _of_board(folder) or find_videos(folder)
    return _recording(videos, folder, calibration or _find_calibration(folder), unit_mm, "Pose2Sim")


def _find_calibration(folder: Path) -> Path | None:
    above = folder.resolve().parents[:3]
    found = [path for place in above for path in sorted((place / "calibration").glob("*.toml")) if _is_rig(path)]
    if len(found) > 1:
        raise UserError(f"{folder}: calibrations {listed(found)}. Give the right one with `--calibration FILE`.")
    return found[0] if found else None


def _is_rig(path: Path) -> bool:
    try:
        return bool(detect_format(path))
    except UserError:
        return False


def _recording(
    videos: Iterable[Path], folder: Path, calibration: Path | None, unit_mm: float | None, program: str
) -> ForeignRecording:
    joined = join(name_videos(videos), calibration, unit_mm)
    return ForeignRecording(
        rig=joined.rig,
        videos=joined.videos,
        frame_times_ns=times_from_rates(joined.videos),
        calibration_file=joined.calibration,
        lenses_file=joined.lenses,
        times_file=folder,
        clock=FROM_RATE,
        source=f"{program} recording {folder.resolve()}",
    )
