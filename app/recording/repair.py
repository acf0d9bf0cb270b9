"""What a crash, a power loss or a damaged disk left of a recorded session, made whole again.

The videos are the truth: a frame that can be decoded and whose time is known stays. Nothing is deleted: what a file was
before is kept beside it, in `before-repair/`.
"""

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError

from app.recording.take import CLOCK, POSES
from app.run.file_lock import locked_folder
from app.run.pose_rows import finish_poses, has_rows, is_written
from app.sources.video_file import is_video_file
from calibration.camera_source import OpenCvSource, PylonSource, SimulatedSource
from calibration.csv_line import csv_fields
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

    Raises UserError where that cannot be done: it is still being recorded, no `rig.yaml`, fewer than two cameras with
    frames, or no `session.yaml` where that alone knew whether a video is upright.
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
    told = _times_told(path / "frames.csv", done)
    kept: dict[str, np.ndarray] = {}
    for camera_id in session.videos:
        told_ns = told.get(camera_id, np.empty(0, np.int64))
        times = _fitting_times(session.video_path(camera_id), told_ns, session.recorded_camera(camera_id), done)
        if len(times):
            kept[camera_id] = times
    if len(kept) < 2:
        raise UserError(
            f"{path}: {len(kept)} of {len(session.videos)} cameras have frames with times; a session needs two. "
            f"{' '.join(done.notes)} Nothing was changed."
        )
    _recover_poses(path, done)
    done.frames = {camera_id: len(times) for camera_id, times in kept.items()}
    if done.notes:
        _rewrite(session, kept)
    return done


def _rig_of(path: Path) -> tuple[Rig, bool]:
    try:
        return read_rig(path / "rig.yaml"), True
    except UserError:
        return read_uncalibrated_rig(path / "rig.yaml"), False


def _session_of(path: Path, rig: Rig, calibrated: bool, done: Repaired) -> Session:
    try:
        return read_session(path, calibrated)
    except UserError as error:
        done.notes.append(f"{SESSION_FILE} was written anew: {error}")
    videos = _found_videos(path, rig, done)
    return Session(
        path=path,
        rig=rig,
        name=path.resolve().name,
        created="",
        videos=videos,
        clock=CLOCK,
        source="a recording that was repaired",
        calibrated=calibrated,
        upright=frozenset(camera_id for camera_id, name in videos.items() if _is_upright(path / name, rig[camera_id])),
    )


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


def _is_upright(video: Path, camera: RigCamera) -> bool:
    """Whether a recorded video holds images that were turned, as far as that matters and the video can be read."""
    try:
        size = video_properties(video)[:2]
    except UserError:
        return False
    turned_size = (camera.camera.width, camera.camera.height)
    if not camera.turn or turned_size != camera.source_size:
        return bool(camera.turn) and size == turned_size
    codec = _codec(video)
    if isinstance(camera.source, SimulatedSource | PylonSource) or video.suffix == ".mjpeg" or codec == "ffv1":
        return True  # encoded here: what cannot be copied, a capture of the wizard, `--lossless`
    if video.suffix == ".mkv" and codec == "mjpeg":  # no recording is encoded so
        return False
    if video.suffix == ".mkv" and codec == "h264" and _sends_no_h264(camera):
        return True
    raise UserError(
        f"{video}: without {SESSION_FILE} nothing tells whether its images were turned upright before they were "
        f"recorded, or are as the camera sent them (`{camera.turn}` in rig.yaml). Nothing was changed. Put "
        f"{SESSION_FILE} back, or write it as docs/recording.md shows."
    )


def _codec(video: Path) -> str:
    try:
        with av.open(str(video)) as container:
            return container.streams.video[0].codec.name
    except FFmpegError:
        return ""


def _sends_no_h264(camera: RigCamera) -> bool:
    """Whether no copy of its stream can be H.264."""
    source = camera.source
    return isinstance(source, OpenCvSource) and (
        is_video_file(source.device) or (source.fourcc or "H264").upper() != "H264"
    )


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
        camera_id, frame, time_ns = csv_fields(line.decode().strip())
        return camera_id, int(frame), int(np.int64(int(time_ns)))
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


def _rewrite(session: Session, times_ns: Mapping[str, np.ndarray]) -> None:
    path = session.path
    # A part of a copy, on a full disk, would be taken for one the next time.
    with written_together(path / KEPT) as folder:
        for name in (SESSION_FILE, "rig.yaml", "frames.csv"):
            if (path / name).is_file() and not (path / KEPT / name).exists():
                shutil.copy2(path / name, folder / name)
    with written_together(path, last=SESSION_FILE) as folder:
        write_session(
            folder,
            replace(session.rig, cameras=tuple(each for each in session.rig.cameras if each.camera_id in times_ns)),
            {camera_id: session.videos[camera_id] for camera_id in times_ns},
            times_ns,
            name=session.name,
            created=session.created,
            clock=session.clock,
            source=session.source,
            calibrated=session.calibrated,
            upright=session.upright,
        )
