"""Poses of a run as one NPZ file, kept on disk while the run goes on.

While it runs, rows lie in a folder `.NAME.npz.part` beside the file; at its end they become the file, whoever ends it:
the worker, or the supervisor after a worker that died.
"""

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import FileIO
from pathlib import Path

import numpy as np

from app.estimators.estimator import Estimate, Hand
from app.run.file_lock import lock_file
from app.run.pose_rows import (
    AHEAD_ROW,
    ARM_ROW,
    HAND_ROW,
    SET_ROW,
    finish_poses,
    has_rows,
    is_written,
    keep_rows,
    mend_rows,
    part_of,
)
from app.transport.messages import AheadPose, ArmPose, HandPose, PoseSet
from calibration.errors import UserError, WriteError, write_error
from calibration.frames import FrameSet
from calibration.hand import Definition
from calibration.written_files import write_atomic

log = logging.getLogger(__name__)

_ROOM_S = 0.5
# What a file has besides its rows: the names of its arrays, a few hundred bytes each.
_ROOM = 65536
_UNKNOWN_POINT, _UNKNOWN_COVARIANCE = [float("nan")] * 3, [[float("nan")] * 3] * 3


class PoseFile:
    """Writes rows as they come, so that memory stays flat and a crash loses nothing, and `path` at the end.

    Arrays, one row a hand: `time` (n,) nanoseconds of the recording's clock, `hand` (n,) "left" or "right", `track`
    (n,), `joints` (n, 21, 3) world metres, `covariance` (n, 21, 3, 3) square metres, `confidence` (n, 21), `views`
    (n, V) whether a camera saw it. One row a set: `set_time` (s,), `set_views` (s, V) whether a camera took part,
    `set_held` and `set_predicted` (s,) hands that were followed and not measured. `cameras` (V,) their names.
    With `--predict` one row a forecast: `ahead_time` (p,), which it is of, `ahead_seen_time` when the hand was measured
    last, `ahead_hand`, `ahead_track`, `ahead_joints` (p, 21, 3), `ahead_covariance` (p, 21, 3, 3).
    With `--body` one row an arm: `arm_time`, `arm_hand`, `arm_track` of its hand, `arm_side` (a,) whose it is by the
    body, `arm_elbow` and `arm_shoulder` (a, 3) world metres, NaN where it is not known, `arm_elbow_covariance` and
    `arm_shoulder_covariance` (a, 3, 3).
    `definition`, a text: where on the hand the joints lie, and `version` of the file.
    """

    def __init__(self, path: Path, cameras: Sequence[str], goes_on: bool = False) -> None:
        """`goes_on`: after the rows of a worker of the same run that died; hands have further numbers then. Those of
        another run that was killed are made a file of their own. Raises UserError where another run writes there."""
        self.path = Path(path)
        self._part = part_of(self.path)
        self._bits = {camera_id: 1 << number for number, camera_id in enumerate(cameras)}
        self._room_s = time.monotonic()
        self._more: dict[str, FileIO] = {}
        """Of rows that not every run has: opened with the first one."""
        self._first_track = self._next_track = 0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if is_written(self.path):
                raise UserError(f"{self.path}: another run writes its poses there. End that, or give another path.")
            if goes_on and has_rows(self.path):
                self._first_track = self._next_track = mend_rows(self.path)
            else:
                self._keep_others()
                shutil.rmtree(self._part, ignore_errors=True)
                self._part.mkdir()
            self._hands = (self._part / "hands").open("ab", buffering=0)
            lock_file(self._hands.fileno())
            self._sets = (self._part / "sets").open("ab", buffering=0)
            # Room for the file itself, so that a full disk is noticed while what was written can still become one.
            self._room = os.open(self._part / "room", os.O_CREAT | os.O_RDWR)
        except OSError as error:
            raise write_error(
                f"{self.path}: cannot write there ({error.strerror}). Give another path.", error
            ) from None

    def _keep_others(self) -> None:
        if not has_rows(self.path):
            return
        try:
            kept, hands = keep_rows(self.path)
        except UserError as error:
            log.warning("%s", error)
        else:
            log.warning("%s: what a run that was killed had written is kept in %s: %d hands", self.path, kept, hands)

    def go_on(self) -> None:
        """What follows is of a worker that was started again: its hands have further numbers."""
        self._first_track = self._next_track

    def begin(self, definition: Definition) -> None:
        """Before the first set."""
        about = {"definition": definition, "cameras": list(self._bits)}
        self._write(lambda: write_atomic(self._part / "about.json", json.dumps(about).encode()))

    def add(
        self,
        frame_set: FrameSet,
        estimate: Estimate,
        ahead: Sequence[AheadPose] = (),
        arms: Mapping[int, ArmPose] | None = None,
    ) -> None:
        """`arms` by track. Raises UserError where the disk is full."""
        for hand in estimate.hands:
            self._add_hand(hand.side, hand, hand.detections_px)
            self._add_arm(hand.side, hand, (arms or {}).get(hand.track_id))
        self._add_ahead(ahead)
        self._add_set(frame_set.reference_time_ns, frame_set.frames, [hand.state for hand in estimate.unseen])

    def add_message(self, poses: PoseSet) -> None:
        """The same of a set as it was published."""
        for hand in poses.hands:
            self._add_hand(hand.hand, hand, hand.views)
            self._add_arm(hand.hand, hand, hand.arm)
        self._add_ahead(poses.ahead)
        self._add_set(poses.reference_time_ns, poses.views, [hand.state for hand in poses.unseen])

    def _add_hand(self, side: str, hand: Hand | HandPose, views: Iterable[str]) -> None:
        track = self._first_track + hand.track_id
        self._next_track = max(self._next_track, track + 1)
        row = (hand.capture_time_ns, side, track, hand.joints_world_m, hand.covariance_m2, hand.confidence)
        row = np.array((*row, self._mask(views)), HAND_ROW)
        self._write(lambda: self._hands.write(row.tobytes()))

    def _add_arm(self, side: str, hand: Hand | HandPose, arm: ArmPose | None) -> None:
        if arm is None:
            return
        elbow = arm.elbow_world_m, arm.elbow_covariance_m2
        shoulder = arm.shoulder_world_m or _UNKNOWN_POINT, arm.shoulder_covariance_m2 or _UNKNOWN_COVARIANCE
        row = (hand.capture_time_ns, side, self._first_track + hand.track_id, arm.side, *elbow, *shoulder)
        self._add_row("arms", np.array(row, ARM_ROW))

    def _add_ahead(self, ahead: Iterable[AheadPose]) -> None:
        for hand in ahead:
            track = self._first_track + hand.track_id
            row = (hand.time_ns, hand.seen_time_ns, hand.hand, track, hand.joints_world_m, hand.covariance_m2)
            self._add_row("ahead", np.array(row, AHEAD_ROW))

    def _add_row(self, name: str, row: np.ndarray) -> None:
        def add() -> None:
            if name not in self._more:
                self._more[name] = (self._part / name).open("ab", buffering=0)
            self._more[name].write(row.tobytes())

        self._write(add)

    def _add_set(self, time_ns: int, views: Iterable[str], states: Sequence[str]) -> None:
        row = np.array((time_ns, self._mask(views), states.count("held"), states.count("predicted")), SET_ROW)
        self._write(lambda: self._sets.write(row.tobytes()))
        if time.monotonic() - self._room_s > _ROOM_S:
            self._make_room()

    def close(self) -> None:
        """Make the file. Raises UserError where it cannot be written."""
        self._make_room()
        for file in (self._hands, self._sets, *self._more.values()):
            file.close()
        os.close(self._room)
        self._write(lambda: finish_poses(self.path))

    def _make_room(self) -> None:
        self._room_s = time.monotonic()

        def make_room() -> None:
            rows = self._hands.tell() // HAND_ROW.itemsize
            more = sum(file.tell() for file in self._more.values())
            wider = len(self._bits) * (rows + self._sets.tell() // SET_ROW.itemsize)
            os.posix_fallocate(self._room, 0, self._hands.tell() + self._sets.tell() + more + wider + _ROOM)

        self._write(make_room)

    def _write(self, write: Callable[[], object]) -> None:
        try:
            write()
        except OSError as error:
            if not has_rows(self.path):  # the first words did not fit
                shutil.rmtree(self._part, ignore_errors=True)
            raise WriteError(
                f"{self.path}: the poses could not be written ({error.strerror}). Make room, or give another path."
            ) from None

    def _mask(self, cameras: Iterable[str]) -> int:
        return sum(self._bits.get(camera_id, 0) for camera_id in cameras)
