"""Recordings of other programs, turned into sessions."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from calibration.errors import UserError, pasted
from calibration.importers.caliscope import caliscope_recordings, read_caliscope
from calibration.importers.freemocap import freemocap_recordings, read_freemocap
from calibration.importers.recording import FROM_RATE, VIDEO_SUFFIXES, ForeignRecording, check_time_unit
from calibration.importers.videos import pose2sim_recordings, read_pose2sim, read_videos, video_folders
from calibration.rig_backup import keep_backup
from calibration.session import SESSION_FILE, Session, read_session, write_session
from calibration.video import check_decodes, check_times, check_video
from calibration.written_together import written_together

Layout = Literal["auto", "caliscope", "freemocap", "pose2sim", "videos"]
LAYOUTS: tuple[Layout, ...] = ("auto", "caliscope", "freemocap", "pose2sim", "videos")
_FIND = {
    "caliscope": caliscope_recordings,
    "freemocap": freemocap_recordings,
    "pose2sim": pose2sim_recordings,
    "videos": video_folders,
}
_READ = {"caliscope": read_caliscope, "freemocap": read_freemocap, "pose2sim": read_pose2sim, "videos": read_videos}


def import_recording(
    folder: Path,
    session_path: Path,
    layout: Layout = "auto",
    *,
    calibration: Path | None = None,
    unit_mm: float | None = None,
    copy: bool = False,
    force: bool = False,
    retime: Callable[[ForeignRecording], ForeignRecording] = lambda recording: recording,
    on_video: Callable[[str], object] = lambda camera_id: None,
    on_note: Callable[[str], object] = lambda note: None,
) -> Session:
    """Make a session from a recording in another program's layout; its videos are linked, or copied with `copy`.

    `calibration`, in any format of rigs, replaces the file that is looked for in the recording; `unit_mm` is the length
    of one unit of its translations where the file does not tell. A recording without one becomes a session that is yet
    to be calibrated, as `read_session` reads it with `calibrated` False. Everything is checked before the session is
    touched. A session that is there already is only replaced where it came from the same recording, or with `force`.
    Without `force` its `rig.yaml` stays where it is calibrated and the recording is not; one that is replaced is kept
    beside it.
    `retime` is given the recording as it was read, and gives it with the times that it is to have. `on_video` is
    called after each video, `on_note` with what a person should know of the recording.

    Raises UserError with what is wrong and what to do.
    """
    recording = read_recording(Path(folder), layout, calibration, unit_mm)
    session_path = Path(session_path)
    _check_target(session_path, recording, force)
    for video in recording.videos.values():
        check_decodes(video)
    recording = retime(recording)
    for camera in recording.rig.cameras:
        times_ns = recording.frame_times_ns[camera.camera_id]
        check_times(times_ns, camera.camera_id, recording.times_file)
        video = recording.videos[camera.camera_id]
        size_from = recording.calibration_file or video
        check_video(video, camera, size_from, len(times_ns), recording.times_file)
        check_time_unit(times_ns, camera.camera_id, video, recording.times_file)
    for note in _notes(recording):
        on_note(note)
    names = {camera_id: f"{camera_id}{video.suffix.lower()}" for camera_id, video in recording.videos.items()}
    calibrated = recording.calibration_file is not None
    stays = not force and not calibrated and _has_calibration_of(session_path, recording)
    with written_together(session_path, last=SESSION_FILE) as folder:
        for camera_id, video in recording.videos.items():
            _place(video, folder / names[camera_id], copy)
            on_video(camera_id)
        write_session(
            folder,
            recording.rig,
            names,
            recording.frame_times_ns,
            name=session_path.resolve().name,
            created=recording.created,
            clock=recording.clock,
            source=recording.source,
            calibrated=calibrated,
        )
        if stays:
            (folder / "rig.yaml").unlink()
            on_note(
                f"{session_path / 'rig.yaml'}: stays, for it is calibrated. `--force` puts one to be calibrated there."
            )
        else:
            _keep_other(session_path / "rig.yaml", folder / "rig.yaml", on_note)
    return read_session(session_path, calibrated or stays)


def read_recording(
    folder: Path, layout: Layout = "auto", calibration: Path | None = None, unit_mm: float | None = None
) -> ForeignRecording:
    """Find the one recording in `folder` and read it. Raises UserError where there is none, or more than one."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such directory. Give the directory of a recording.")
    if layout == "auto" and (folder / SESSION_FILE).is_file():
        other = f"usthand rig convert {pasted(calibration or 'RIG')} {pasted(folder / 'rig.yaml')}"
        raise UserError(
            f"{folder}: is a session already, with the times of its frames, and needs no import: `usthand replay "
            f"{pasted(folder)}`. With another rig: `{other}`, which keeps the one before beside it. `--layout videos` "
            "takes its videos without their times."
        )
    # Other layouts hold folders of videos, too.
    tried = (LAYOUTS[1:4], LAYOUTS[4:]) if layout == "auto" else ((layout,),)
    found = next((some for names in tried if (some := [(n, path) for n in names for path in _FIND[n](folder)])), [])
    if not found:
        raise UserError(
            f"{folder}: no recording in {' or '.join(LAYOUTS[1:] if layout == 'auto' else (layout,))} layout. Expected "
            "the videos of two cameras or more: `cam_0.mp4`, `cam_1.mp4` and so on in the directory itself, in "
            "`calibration/extrinsic` or in `recordings/NAME` (caliscope), in `synchronized_videos` (FreeMoCap), in "
            "`videos` (Pose2Sim), or under any names in the directory itself, ending in "
            f"{', '.join(VIDEO_SUFFIXES[:-1])} or {VIDEO_SUFFIXES[-1]}. Give such a directory."
        )
    if len(found) > 1:
        listed = "\n".join(f"  {path} ({name})" for name, path in found)
        raise UserError(f"{folder}: {len(found)} recordings:\n{listed}\nGive one of these directories.")
    name, path = found[0]
    return _READ[name](path, calibration, unit_mm)


def _notes(recording: ForeignRecording) -> list[str]:
    notes = []
    if recording.clock == FROM_RATE:
        notes.append(f"Times of the frames: none recorded; {FROM_RATE}.")
    if recording.lenses_file is not None:
        notes.append(
            f"{recording.lenses_file}: not all cameras have poses. Its lenses can be used: `usthand calibrate "
            "--session DIR --intrinsics FILE`."
        )
    return notes


def _check_target(path: Path, recording: ForeignRecording, force: bool) -> None:
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: is a file. Give a new directory for the session.")
    if not path.is_dir() or not any(path.iterdir()):
        return
    if not (path / "session.yaml").is_file():
        raise UserError(f"{path}: is not empty and not a session. Give a new directory for the session.")
    own = next((video for video in recording.videos.values() if video.resolve().is_relative_to(path.resolve())), None)
    if own is not None:
        raise UserError(f"{own}: lies in the session that is to be replaced. Give another directory for the session.")
    if force:
        return
    source = read_session(path, calibrated=False).source
    # Which program's it is may look otherwise now, as without its time stamps.
    if _folder_in(source) != _folder_in(recording.source):
        raise UserError(
            f"{path}: is a session already, from {source or 'another source'}. Give another directory, or `--force` to "
            "replace it."
        )


def _folder_in(source: str) -> str:
    return source.partition(" recording ")[2]


def _has_calibration_of(path: Path, recording: ForeignRecording) -> bool:
    """Whether a session is there that is calibrated, with this recording's cameras and times: offsets are of them."""
    try:
        there = read_session(path)
        sizes = [(camera.camera_id, camera.source_size) for camera in there.rig.cameras]
        return sizes == [(camera.camera_id, camera.source_size) for camera in recording.rig.cameras] and all(
            np.array_equal(there.frame_times_ns(camera_id), times_ns)
            for camera_id, times_ns in recording.frame_times_ns.items()
        )
    except UserError:
        return False


def _keep_other(there: Path, new: Path, on_note: Callable[[str], object]) -> None:
    """Keep a copy of a rig that another one is to replace."""
    if there.is_file() and there.read_bytes() != new.read_bytes():
        backup = keep_backup(there)
        on_note(f"{there}: replaced; the one before is kept as {backup}.")


def _place(video: Path, target: Path, copy: bool) -> None:
    """Put the video, or a link to it, at `target`. Raises OSError, which names it."""
    try:
        if copy:
            shutil.copyfile(video, target)
        else:
            target.symlink_to(video.resolve())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from None
