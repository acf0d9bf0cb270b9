"""Recordings that are a folder of videos, one of each camera, and Pose2Sim's.

Pose2Sim (https://github.com/perfanalytics/pose2sim): a trial has `videos/`; `calibration/` lies in it, or above it,
with a `Calib*.toml` once it is calibrated, and in `extrinsics/` one folder of each camera with the video of the board.
Neither has times of frames: they are counted from the frame rate.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from calibration.errors import UserError
from calibration.formats import detect_format
from calibration.importers.recording import (
    FROM_RATE,
    ForeignRecording,
    find_videos,
    listed,
    name_videos,
    times_of_videos,
)
from calibration.importers.videos_and_rig import join

_VIDEOS, _BOARD = "videos", "extrinsics"


def video_folders(folder: Path) -> list[Path]:
    """The folder itself, where two videos or more are in it."""
    return [folder] if len(find_videos(folder)) > 1 else []


def read_videos(folder: Path, calibration: Path | None = None, unit_mm: float | None = None) -> ForeignRecording:
    """Read the videos of a folder; without `calibration` they are to be calibrated. Raises UserError."""
    return _recording(name_videos(find_videos(folder)), folder, calibration, unit_mm, "videos")


def pose2sim_recordings(folder: Path) -> list[Path]:
    """The folders of videos in a trial, or the folder that is one: its `videos`, and those of the board."""
    above = folder.resolve().parents[:3]
    if folder.name == _VIDEOS and any((place / "calibration").is_dir() for place in above):
        return video_folders(folder)
    boards = [place for place in (folder, folder / "calibration" / _BOARD) if len(_of_board(place)) > 1]
    return video_folders(folder / _VIDEOS) + boards


def _of_board(folder: Path) -> dict[str, Path]:
    """The one video in each camera's folder, `ext_cam01_img`, by what the folder calls the camera."""
    if folder.name != _BOARD or not folder.is_dir():
        return {}
    inside = {path.name: find_videos(path) for path in sorted(folder.iterdir()) if path.is_dir()}
    return {re.sub("^ext_|_img$", "", name): videos[0] for name, videos in inside.items() if len(videos) == 1}


def read_pose2sim(folder: Path, calibration: Path | None = None, unit_mm: float | None = None) -> ForeignRecording:
    """Read one folder of videos, and the calibration of its trial or session where there is one. Raises UserError."""
    of_board = _of_board(folder)
    named = name_videos(list(of_board.values()), list(of_board)) if of_board else name_videos(find_videos(folder))
    return _recording(named, folder, calibration or _find_calibration(folder), unit_mm, "Pose2Sim")


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
    named: Mapping[str, Path], folder: Path, calibration: Path | None, unit_mm: float | None, program: str
) -> ForeignRecording:
    joined = join(named, calibration, unit_mm)
    return ForeignRecording(
        rig=joined.rig,
        videos=joined.videos,
        frame_times_ns=times_of_videos(joined.videos),
        calibration_file=joined.calibration,
        lenses_file=joined.lenses,
        times_file=folder,
        clock=FROM_RATE,
        source=f"{program} recording {folder.resolve()}",
    )
