"""One take: a session that grows while it is recorded, and that can be replayed at any moment, however it ends."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from app.run.file_lock import locked_folder
from app.run.logs import without_passwords
from app.transport.messages import PoseSet, RecordedCamera
from app.worker.pose_file import PoseFile
from calibration.camera_source import OpenCvSource
from calibration.errors import UserError, write_error
from calibration.published_sets import SET_COLUMNS, SETS
from calibration.rig import Rig
from calibration.session import Session, read_frames_csv, read_session, write_session

MARKS = "marks.csv"
POSES = "poses.npz"
CLOCK = "monotonic clock of the recording computer"


@dataclass
class _Lane:
    """A camera in the take. `open`: its video is being written."""

    counts: RecordedCamera
    open: bool = True


class _AppendedTable:
    """A CSV file of which every line is in the file at once, whole or torn at its end."""

    def __init__(self, path: Path, columns: Sequence[str] | None = None) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        if columns is not None:
            self.add([columns])

    def add(self, rows: Sequence[Sequence[object]]) -> None:
        """Raises OSError."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        left = memoryview(text.getvalue().encode())
        while left:
            left = left[os.write(self._fd, left) :]

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


class Take:
    """Made as a whole session without a frame; its folder is locked until `close`, so that no repair replaces a table
    while rows are appended to it. `add` and the others raise OSError where the disk is full.

    `sizes` are the images' (width, height); where they are not those of the rig, its lenses do not hold and are left
    out, as where it is not `calibrated`. `upright`: the images are recorded as they are turned, not as the cameras
    send them. Raises UserError where `path` is there already or cannot be made.
    """

    def __init__(
        self,
        path: Path,
        rig: Rig,
        sizes: Mapping[str, tuple[int, int]],
        *,
        calibrated: bool,
        upright: bool,
        source: str,
    ) -> None:
        self.path, self.name = path, path.name
        self._rig, self._source = _to_be_shared(_resized(rig, sizes)), source
        self._calibrated = calibrated and all(
            (camera.camera.width, camera.camera.height) == sizes[camera.camera_id] for camera in rig.cameras
        )
        self.lanes = {camera_id: _Lane(RecordedCamera()) for camera_id in rig.camera_ids}
        self.marks = 0
        self._poses: PoseFile | None = None
        self._sets: _AppendedTable | None = None
        self._marks: _AppendedTable | None = None
        self._first_set, self._last_set = 0, -1
        self._locked = ExitStack()
        begin_folder(path)
        try:
            self._locked.enter_context(locked_folder(path))
            times = {camera_id: np.empty(0, np.int64) for camera_id in rig.camera_ids}
            videos = {camera_id: self.video(camera_id).name for camera_id in rig.camera_ids}
            write_session(
                path,
                self._rig,
                videos,
                times,
                clock=CLOCK,
                source=source,
                calibrated=self._calibrated,
                upright=[camera.camera_id for camera in rig.cameras if camera.turn] if upright else (),
            )
            self._rows = _AppendedTable(path / "frames.csv")
        except OSError as error:
            self._locked.close()
            raise write_error(f"{path}: cannot be written ({error.strerror}). Give another folder.", error) from None

    def video(self, camera_id: str) -> Path:
        return self.path / f"{camera_id}.mkv"

    @property
    def ended(self) -> bool:
        """Every camera's video is."""
        return not any(lane.open for lane in self.lanes.values())

    @property
    def frames(self) -> int:
        """Of all cameras."""
        return sum(lane.counts.frames for lane in self.lanes.values())

    def add(self, camera_id: str, times_ns: Sequence[int]) -> None:
        """Frames that are in the camera's video now."""
        counts = self.lanes[camera_id].counts
        self._rows.add([(camera_id, counts.frames + n, time_ns) for n, time_ns in enumerate(times_ns)])
        counts.frames += len(times_ns)

    def add_poses(self, poses: PoseSet) -> None:
        """What the worker published of a set, and which frames the set had. One that was started again counts its sets
        and hands anew; here they go on."""
        if self._first_set + poses.set_index <= self._last_set:
            self._first_set = self._last_set + 1
            if self._poses is not None:
                self._poses.go_on()
        self._last_set = self._first_set + poses.set_index
        if self._sets is None and self._rig.sync.mode == "time":  # a trigger's sets have one time for all
            self._sets = _AppendedTable(self.path / SETS, SET_COLUMNS)
        if self._sets is not None:
            self._sets.add(
                [
                    (self._last_set, camera_id, report.capture_time_ns + self._rig[camera_id].time_offset_ns)
                    for camera_id, report in poses.cameras.items()
                    if report.slot is not None
                ]
            )
        if self._poses is None:
            self._poses = PoseFile(self.path / POSES, self._rig.camera_ids)
            self._poses.begin(poses.definition)
        self._poses.add_message(poses)

    def mark(self, time_ns: int, text: str) -> None:
        if self._marks is None:
            self._marks = _AppendedTable(self.path / MARKS, ["time_ns", "text"])
        self._marks.add([(time_ns, text)])
        self.marks += 1

    def sync(self) -> None:
        """Have it on the disk itself."""
        with suppress(OSError):
            for table in (self._rows, self._sets, self._marks):
                if table is not None:
                    table.sync()

    def close(self) -> None:
        """Bring the session's files to their last state: without cameras of which nothing came. Raises OSError."""
        self.sync()
        try:
            if self._poses is not None:
                self._poses.close()
            finish_session(self.path, self._calibrated)
        finally:
            for table in (self._rows, self._sets, self._marks):
                if table is not None:
                    table.close()
            self._locked.close()


def begin_folder(path: Path) -> None:
    """Make the folder of a session; one that is there must be empty. Raises UserError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        taken = any(path.iterdir())
    except OSError as error:
        raise write_error(f"{path}: cannot be made ({error.strerror}). Give another folder.", error) from None
    if taken:
        raise UserError(f"{path}: is there already. Give another name, or remove it first.")


def finish_session(path: Path, calibrated: bool) -> Session:
    """Leave out cameras without a frame, where two others have some. Raises UserError, OSError."""
    session = read_session(path, calibrated)
    times = read_frames_csv(path / "frames.csv")
    seen = [camera for camera in session.rig.cameras if len(times.get(camera.camera_id, ()))]
    if len(seen) in (0, 1, len(session.rig.cameras)):
        return session
    return write_session(
        path,
        replace(session.rig, cameras=tuple(seen)),
        {camera.camera_id: session.videos[camera.camera_id] for camera in seen},
        {camera.camera_id: times[camera.camera_id] for camera in seen},
        name=session.name,
        created=session.created,
        clock=session.clock,
        source=session.source,
        calibrated=calibrated,
        upright=session.upright,
    )


def _to_be_shared(rig: Rig) -> Rig:
    """As a recording keeps it: without the passwords of its cameras."""
    cameras = []
    for camera in rig.cameras:
        source = camera.source
        if isinstance(source, OpenCvSource) and isinstance(source.device, str):
            camera = replace(camera, source=msgspec.structs.replace(source, device=without_passwords(source.device)))
        cameras.append(camera)
    return replace(rig, cameras=tuple(cameras))


def _resized(rig: Rig, sizes: Mapping[str, tuple[int, int]]) -> Rig:
    cameras = []
    for camera in rig.cameras:
        width, height = sizes[camera.camera_id]
        cameras.append(replace(camera, camera=replace(camera.camera, width=width, height=height)))
    return replace(rig, cameras=tuple(cameras))
