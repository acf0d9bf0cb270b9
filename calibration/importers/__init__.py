"""Recordings of other programs, turned into sessions."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from calibration.errors import UserError
from calibration.importers.caliscope import caliscope_recordings, read_caliscope
from calibration.importers.freemocap import freemocap_recordings, read_freemocap
from calibration.importers.recording import ForeignRecording
from calibration.session import Session, read_session, write_session
from calibration.video import check_times, check_video

Layout = Literal["auto", "caliscope", "freemocap"]
LAYOUTS: tuple[Layout, ...] = ("auto", "caliscope", "freemocap")
_FIND = {"caliscope": caliscope_recordings, "freemocap": freemocap_recordings}


def import_recording(
    folder: Path,
    session_path: Path,
    layout: Layout = "auto",
    *,
    calibration: Path | None = None,
    unit_mm: float | None = None,
    copy: bool = False,
    force: bool = False,
    on_video: Callable[[str], object] = lambda camera_id: None,
) -> Session:
    """Make a session from a recording in another program's layout; its videos are linked, or copied with `copy`.

    `calibration` replaces the calibration file that is looked for in the recording; `unit_mm` is the length of one
    unit of its translations where the file does not tell (FreeMoCap). Everything is checked before the session is
    touched. A session that is there already is only replaced where it came from the same recording, or with `force`.
    `on_video` is called after each video.

    Raises UserError with what is wrong and what to do.
    """
    recording = read_recording(Path(folder), layout, calibration, unit_mm)
    session_path = Path(session_path)
    _check_target(session_path, recording, force)
    for camera in recording.rig.cameras:
        times_ns = recording.frame_times_ns[camera.camera_id]
        check_times(times_ns, camera.camera_id, recording.times_file)
        video = recording.videos[camera.camera_id]
        check_video(video, camera, recording.calibration_file, len(times_ns), recording.times_file)
    session_path.mkdir(parents=True, exist_ok=True)
    names = {camera_id: f"{camera_id}{video.suffix.lower()}" for camera_id, video in recording.videos.items()}
    for camera_id, video in recording.videos.items():
        _place(video, session_path / names[camera_id], copy)
        on_video(camera_id)
    return write_session(
        session_path,
        recording.rig,
        names,
        recording.frame_times_ns,
        created=recording.created,
        clock=recording.clock,
        source=recording.source,
    )


def read_recording(
    folder: Path, layout: Layout = "auto", calibration: Path | None = None, unit_mm: float | None = None
) -> ForeignRecording:
    """Find the one recording in `folder` and read it. Raises UserError where there is none, or more than one."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such directory. Give the directory of a recording.")
    tried = LAYOUTS[1:] if layout == "auto" else (layout,)
    found = [(name, path) for name in tried for path in _FIND[name](folder)]
    if not found:
        raise UserError(
            f"{folder}: no recording in {' or '.join(tried)} layout. Expected `cam_0.mp4`, `cam_1.mp4` and so on "
            "beside `timestamps.csv`, in the directory itself, in `calibration/extrinsic` or in `recordings/NAME` "
            "(caliscope), or a directory `synchronized_videos` (FreeMoCap). Give such a directory."
        )
    if len(found) > 1:
        listed = "\n".join(f"  {path} ({name})" for name, path in found)
        raise UserError(f"{folder}: {len(found)} recordings:\n{listed}\nGive one of these directories.")
    name, path = found[0]
    if name == "caliscope":
        if unit_mm is not None:
            raise UserError("`--unit-mm` is for FreeMoCap's calibrations; caliscope's are in metres. Leave it out.")
        return read_caliscope(path, calibration)
    return read_freemocap(path, calibration, unit_mm)


def _check_target(path: Path, recording: ForeignRecording, force: bool) -> None:
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: is a file. Give a new directory for the session.")
    if not path.is_dir() or not any(path.iterdir()):
        return
    if not (path / "session.yaml").is_file():
        raise UserError(f"{path}: is not empty and not a session. Give a new directory for the session.")
    if force:
        return
    source = read_session(path).source
    if source != recording.source:
        raise UserError(
            f"{path}: is a session already, from {source or 'another source'}. Give another directory, or `--force` to "
            "replace it."
        )


def _place(video: Path, target: Path, copy: bool) -> None:
    """Put the video, or a link to it, at `target` without a moment in which `target` is missing or half there."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        if copy:
            shutil.copyfile(video, temporary)
        else:
            temporary.symlink_to(video.resolve())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
