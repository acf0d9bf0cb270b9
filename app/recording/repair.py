"""What a crash, a power loss or a damaged disk left of a recorded session, made whole again.

The videos are the truth: a frame that can be decoded and whose time is known stays. Nothing is deleted: what a file was
before is kept beside it, in `before-repair/`.
"""

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from app.recording.take import CLOCK, POSES
from app.run.file_lock import locked_folder
from app.run.pose_rows import finish_poses, has_rows, is_written
from calibration.errors import UserError
from calibration.found_files import read_found
from calibration.rig import Rig, RigCamera, read_rig, read_uncalibrated_rig
from calibration.session import FRAME_COLUMNS, SESSION_FILE, Session, read_session, write_session
from calibration.video import count_frames, video_properties
from calibration.written_together import written_together

KEPT = "before-repair"
_VIDEO_ENDINGS = (".mkv", ".mp4", ".avi", ".mjpeg")


@dataclass
class Repaired:
    """`frames` by camera that the session has now; `notes` say what was done, none where it was whole; `remarks`, what
    is there and not used."""

    path: Path
    frames: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def repair_session(path: Path) -> Repaired:
    """Bring `frames.csv`, `rig.yaml` and `session.yaml` to what the videos hold, and poses to `poses.npz`.

    Raises UserError where that cannot be done: it is still being recorded, no `rig.yaml`, or fewer than two cameras
    with frames.
    """
    path = Path(path)
    if not path.is_dir():
        raise UserError(f"{path}: no such directory. Give the session to repair.")
    with ExitStack() as held:
        try:
            ours = held.enter_context(locked_folder(path))
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}). Give a session of your own.") from None
        if not ours or is_written(path / POSES):
            raise UserError(f"{path}: is being recorded or repaired, or poses are written there. End that first.")
        return _repair(path)


def _repair(path: Path) -> Repaired:
    done = Repaired(path)
    rig, calibrated = _rig_of(path)
    session = _session_of(path, rig, calibrated, done)
    videos = dict(session.videos) if session else _found_videos(path, rig, done)
    told = _times_told(path / "frames.csv", done)
    kept: dict[str, np.ndarray] = {}
    for camera_id, video in videos.items():
        camera = session.recorded_camera(camera_id) if session else rig[camera_id]
        times = _fitting_times(path / video, told.get(camera_id, np.empty(0, np.int64)), camera, done)
        if len(times):
            kept[camera_id] = times
    if len(kept) < 2:
        raise UserError(
            f"{path}: {len(kept)} of {len(videos)} cameras have frames with times; a session needs two. "
            f"{' '.join(done.notes)} Nothing was changed."
        )
    _recover_poses(path, done)
    done.frames = {camera_id: len(times) for camera_id, times in kept.items()}
    if session is None or done.notes:
        _rewrite(path, rig, session, videos, kept, calibrated)
    return done


def _rig_of(path: Path) -> tuple[Rig, bool]:
    try:
        return read_rig(path / "rig.yaml"), True
    except UserError:
        return read_uncalibrated_rig(path / "rig.yaml"), False


def _session_of(path: Path, rig: Rig, calibrated: bool, done: Repaired) -> Session | None:
    try:
        return read_session(path, calibrated)
    except UserError as error:
        done.notes.append(f"{SESSION_FILE} was written anew: {error}")
        return None


def _found_videos(path: Path, rig: Rig, done: Repaired) -> dict[str, str]:
    """By the cameras' names."""
    found = {}
    for camera_id in rig.camera_ids:
        names = [f"{camera_id}{ending}" for ending in _VIDEO_ENDINGS if (path / f"{camera_id}{ending}").is_file()]
        if names:
            found[camera_id] = names[0]
        else:
            done.notes.append(f"camera {camera_id} has no video.")
    return found


def _times_told(path: Path, done: Repaired) -> dict[str, np.ndarray]:
    """Of `frames.csv`, line by line: what is no row, or not the next one of its camera, ends that camera's rows."""
    try:
        lines = read_found(path).split(b"\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}), and only it has the frames' times.") from None
    times: dict[str, list[int]] = {}
    ended: set[str] = set()
    bad = 0
    for line in lines[1:-1] if lines[0].decode(errors="replace").strip() == ",".join(FRAME_COLUMNS) else lines[:-1]:
        row = _row(line)
        if row is None:
            bad += 1
            continue
        camera_id, frame, time_ns = row
        of_camera = times.setdefault(camera_id, [])
        if camera_id in ended or frame != len(of_camera) or (of_camera and time_ns <= of_camera[-1]):
            ended.add(camera_id)
            bad += 1
            continue
        of_camera.append(time_ns)
    if bad or lines[-1]:
        done.notes.append(f"{path.name}: {bad + bool(lines[-1])} lines that do not fit were left out.")
    return {camera_id: np.array(values, dtype=np.int64) for camera_id, values in times.items()}


def _row(line: bytes) -> tuple[str, int, int] | None:
    try:
        camera_id, frame, time_ns = line.decode().strip().split(",")
        return camera_id.strip('"'), int(frame), int(np.int64(int(time_ns)))
    except (ValueError, OverflowError):
        return None


def _fitting_times(video: Path, times_ns: np.ndarray, camera: RigCamera, done: Repaired) -> np.ndarray:
    """The times of the frames that the video has."""
    if not video.is_file() or not video.stat().st_size:
        done.notes.append(f"{video.name}: there is no such video, or nothing in it.")
        return times_ns[:0]
    try:
        size = video_properties(video)[:2]
        frames = count_frames(video)
    except UserError as error:
        done.notes.append(str(error))
        return times_ns[:0]
    expected = camera.source_size
    if size != expected:
        raise UserError(
            f"{video}: is {size[0]}x{size[1]}, but rig.yaml says {expected[0]}x{expected[1]}: it is not the rig of "
            "this session. Put the session's own rig.yaml back."
        )
    if frames < len(times_ns):
        done.notes.append(f"{video.name}: has {frames} frames, so the times of {len(times_ns) - frames} were left out.")
    elif frames > len(times_ns):
        done.remarks.append(f"{video.name}: its last {frames - len(times_ns)} frames have no times and are not played.")
    return times_ns[:frames]


def _recover_poses(path: Path, done: Repaired) -> None:
    if has_rows(path / POSES):
        finish_poses(path / POSES)
        done.notes.append(f"{POSES} was written from what was kept of the poses.")


def _rewrite(
    path: Path,
    rig: Rig,
    session: Session | None,
    videos: Mapping[str, str],
    times_ns: Mapping[str, np.ndarray],
    calibrated: bool,
) -> None:
    # A part of a copy, on a full disk, would be taken for one the next time.
    with written_together(path / KEPT) as folder:
        for name in (SESSION_FILE, "rig.yaml", "frames.csv"):
            if (path / name).is_file() and not (path / KEPT / name).exists():
                shutil.copy2(path / name, folder / name)
    with written_together(path, last=SESSION_FILE) as folder:
        write_session(
            folder,
            replace(rig, cameras=tuple(camera for camera in rig.cameras if camera.camera_id in times_ns)),
            {camera_id: videos[camera_id] for camera_id in times_ns},
            times_ns,
            name=session.name if session else path.resolve().name,
            created=session.created if session else None,
            clock=session.clock if session else CLOCK,
            source=session.source if session else "a recording that was repaired",
            calibrated=calibrated,
            upright=session.upright if session else [camera.camera_id for camera in rig.cameras if camera.turn],
        )
