"""A recorded session: a directory with `session.yaml`, `rig.yaml`, one video per camera and `frames.csv`.

`frames.csv` has the columns camera, frame and time_ns: `frame` counts from 0 in the order of the camera's video, and
`time_ns` is on the recording's clock, which `session.yaml` describes in `clock`. A recorder appends to it, so a crash
may tear the last line: a last line without a newline is not read.
"""

import csv
import datetime
import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np

from calibration.csv_line import csv_fields
from calibration.errors import UserError, reason_of
from calibration.found_files import read_found_text
from calibration.image_turn import ImageTurn
from calibration.rig import Rig, RigCamera, read_rig, read_uncalibrated_rig, write_rig, write_uncalibrated_rig
from calibration.video import UprightVideo, check_times, check_video, video_properties
from calibration.written_files import write_atomic
from calibration.yamlfile import read_yaml, write_yaml

SESSION_VERSION = 1
SESSION_FILE = "session.yaml"
FRAME_COLUMNS = ["camera", "frame", "time_ns"]


class SessionCamera(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """One camera in `session.yaml`. `video` is a path relative to the session. `upright`: its images were turned
    upright before they were recorded, whatever the rig says of the camera's source."""

    video: str
    upright: bool = False


class _SessionFile(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    version: int
    name: str
    created: str
    cameras: dict[str, SessionCamera]
    clock: str = ""
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Session:
    """A recording of a rig, which is nominal unless it was read as `calibrated`.

    `created` is an ISO date; `clock` and `source` are notes for a person. `upright` names cameras whose videos hold
    upright images although their sources are mirrored or turned.
    """

    path: Path
    rig: Rig
    name: str
    created: str
    videos: Mapping[str, str]
    clock: str = ""
    source: str = ""
    calibrated: bool = True
    upright: frozenset[str] = frozenset()

    @property
    def camera_ids(self) -> tuple[str, ...]:
        """In the order of the rig."""
        return self.rig.camera_ids

    @property
    def image_sizes(self) -> dict[str, tuple[int, int]]:
        """Width and height of each camera's upright images."""
        return {camera.camera_id: (camera.camera.width, camera.camera.height) for camera in self.rig.cameras}

    def video_path(self, camera_id: str) -> Path:
        """Raises KeyError for a camera that the session does not have."""
        return self.path / self.videos[camera_id]

    def recorded_camera(self, camera_id: str) -> RigCamera:
        """The camera with what is to be done to its video's images, instead of its source's. Raises KeyError."""
        camera = self.rig[camera_id]
        return replace(camera, turn=ImageTurn()) if camera_id in self.upright else camera

    def open_video(self, camera_id: str) -> UprightVideo:
        """The camera's video, which gives upright images. Raises UserError, and KeyError as `video_path`."""
        return UprightVideo(self.video_path(camera_id), self.recorded_camera(camera_id).turn)

    def frame_times_ns(self, camera_id: str) -> np.ndarray:
        """Times (n,) int64 of the camera's frames in the order of its video, nanoseconds on the recording's clock.

        Raises UserError where `frames.csv` is missing, cannot be read or has no row of this camera.
        """
        times = self._times_ns.get(camera_id)
        if times is None:
            raise UserError(
                f"{self.path / 'frames.csv'}: no row of camera `{camera_id}`; it has {_listed(self._times_ns)}. "
                "Record or import the session again."
            )
        return times

    @cached_property
    def _times_ns(self) -> dict[str, np.ndarray]:
        return read_frames_csv(self.path / "frames.csv")


def read_session(path: Path, calibrated: bool = True) -> Session:
    """Read a session's `session.yaml` and `rig.yaml`; frame times are read when first asked for.

    With `calibrated` False, `rig.yaml` is read as by `read_uncalibrated_rig`, whether it is calibrated or not.

    Raises UserError where a file is missing or does not fit, or the two do not list the same cameras.
    """
    path = Path(path)
    if not (path / SESSION_FILE).is_file():
        what = "is not a session: it has no session.yaml" if path.is_dir() else "no such directory"
        raise UserError(f"{path}: {what}. Give a recorded session, or make one with `usthand import DIR SESSION`.")
    file = read_yaml(path / SESSION_FILE, _SessionFile, "Give a recorded session.")
    if file.version != SESSION_VERSION:
        raise UserError(
            f"{path / 'session.yaml'}: version is {file.version}; this program reads version {SESSION_VERSION}."
        )
    rig = read_rig(path / "rig.yaml") if calibrated else read_uncalibrated_rig(path / "rig.yaml")
    _same_cameras(set(rig.camera_ids), set(file.cameras), path / "rig.yaml", path / SESSION_FILE)
    videos = {camera_id: camera.video for camera_id, camera in file.cameras.items()}
    return Session(
        path=path,
        rig=rig,
        name=file.name,
        created=file.created,
        videos=videos,
        clock=file.clock,
        source=file.source,
        calibrated=calibrated,
        upright=frozenset(camera_id for camera_id, camera in file.cameras.items() if camera.upright),
    )


def write_session(
    path: Path,
    rig: Rig,
    videos: Mapping[str, str],
    frame_times_ns: Mapping[str, np.ndarray],
    *,
    name: str | None = None,
    created: str | None = None,
    clock: str = "",
    source: str = "",
    calibrated: bool = True,
    upright: Collection[str] = (),
) -> Session:
    """Write `session.yaml`, `rig.yaml` and `frames.csv` into `path`, where the videos are or will be put.

    With `calibrated` False, `rig.yaml` is written without lenses and poses.

    `videos` maps camera ids to paths relative to `path`, `frame_times_ns` to the times (n,) of their frames. `upright`
    names cameras whose videos hold upright images although the rig's sources are mirrored or turned.
    `session.yaml` is written last: a directory that has it is complete.
    """
    path = Path(path)
    _same_cameras(set(rig.camera_ids), set(videos), Path("the rig"), Path("the videos"))
    _same_cameras(set(rig.camera_ids), set(frame_times_ns), Path("the rig"), Path("the frame times"))
    rows = [
        (int(time_ns), camera_id, frame)
        for camera_id in rig.camera_ids
        for frame, time_ns in enumerate(frame_times_ns[camera_id])
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FRAME_COLUMNS)
    writer.writerows((camera_id, frame, time_ns) for time_ns, camera_id, frame in sorted(rows))
    write_atomic(path / "frames.csv", text.getvalue().encode())
    (write_rig if calibrated else write_uncalibrated_rig)(path / "rig.yaml", rig)
    created = created or datetime.datetime.now(datetime.UTC).date().isoformat()
    cameras = {camera_id: SessionCamera(videos[camera_id], camera_id in upright) for camera_id in rig.camera_ids}
    file = _SessionFile(
        version=SESSION_VERSION,
        name=name or path.resolve().name,
        created=created,
        cameras=cameras,
        clock=clock,
        source=source,
    )
    write_yaml(path / SESSION_FILE, file)
    return read_session(path, calibrated)


def read_frames_csv(path: Path) -> dict[str, np.ndarray]:
    """Frame times (n,) int64 in nanoseconds per camera, in the order of their videos.

    Raises UserError where the file is missing, has other columns, or its frames do not count 0, 1, 2 and on.
    """
    try:
        text = read_found_text(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. A session needs it; record or import the session again.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({reason_of(error)}).") from None
    lines = text[: text.rfind("\n") + 1].splitlines()
    header = csv_fields(lines[0]) if lines else []
    if header != FRAME_COLUMNS:
        raise UserError(f"{path}: the first line must be `{','.join(FRAME_COLUMNS)}`; got `{','.join(header)}`.")
    times: dict[str, list[int]] = {}
    for number, line in enumerate(lines[1:], start=2):
        row = csv_fields(line)
        try:
            camera_id, frame, time_ns = row[0], int(row[1]), int(np.int64(int(row[2])))
        except (ValueError, IndexError, OverflowError):
            raise UserError(
                f"{path}, line {number}: expected a camera id and two whole numbers; got `{line[:100]}`. "
                "Correct or remove the line."
            ) from None
        of_camera = times.setdefault(camera_id, [])
        if frame != len(of_camera):
            raise UserError(
                f"{path}, line {number}: frame {frame} of camera `{camera_id}`; expected frame {len(of_camera)}. "
                "Frames count from 0 in the order of the video, without a gap; keep a camera's rows in that order."
            )
        of_camera.append(time_ns)
    return {camera_id: np.array(values, dtype=np.int64) for camera_id, values in times.items()}


def check_session(path: Path, deep: bool = False, calibrated: bool = True) -> Session:
    """Read a session as `read_session` and compare its files; `deep` decodes every video to count its frames.

    Raises UserError that names the file, what was got and expected: a video that is missing or cannot be read, whose
    size is not that of `rig.yaml`, or that has more or fewer frames than `frames.csv` has rows; times that do not
    rise; a camera that one file has and another has not.
    """
    session = read_session(path, calibrated)
    rig_yaml, frames_csv = session.path / "rig.yaml", session.path / "frames.csv"
    times = read_frames_csv(frames_csv)
    _same_cameras(set(session.camera_ids), set(times), rig_yaml, frames_csv)
    for camera_id in session.camera_ids:
        camera = session.recorded_camera(camera_id)
        check_times(times[camera_id], camera_id, frames_csv)
        video = session.video_path(camera_id)
        try:
            check_video(video, camera, rig_yaml, len(times[camera_id]), frames_csv, deep, True)
        except UserError as error:
            raise UserError(f"{error}{_exchanged_with(session, camera_id, times)}") from None
    return session


def _exchanged_with(session: Session, camera_id: str, times: Mapping[str, np.ndarray]) -> str:
    """A sentence where this camera's video fits another camera, and that one's this."""
    try:
        told = {each: video_properties(session.video_path(each)) for each in session.camera_ids}
    except UserError:
        return ""
    wanted = {each: (*session.recorded_camera(each).source_size, len(times[each])) for each in session.camera_ids}
    for other in session.camera_ids:
        if told[camera_id] == wanted[other] and told[other] == wanted[camera_id] and told[other] != told[camera_id]:
            return f" The videos of `{camera_id}` and `{other}` fit each other's places: they look exchanged."
    return ""


def _same_cameras(expected: set[str], got: set[str], expected_in: Path, got_in: Path) -> None:
    for missing, there, absent in ((expected - got, expected_in, got_in), (got - expected, got_in, expected_in)):
        if missing:
            raise UserError(
                f"{there} has camera {_listed(missing)}, which {absent} has not. Both must list the same cameras."
            )


def _listed(names: "Mapping[str, object] | set[str]") -> str:
    return ", ".join(f"`{name}`" for name in sorted(names)) or "none"
