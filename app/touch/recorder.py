"""What a touch test saw, set by set, kept in its folder so that a crash loses at most the touch that is being made."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from app.estimators.estimator import Hand
from app.evaluation.touch_track import TouchTrack, track_of
from calibration.board.board import Board
from calibration.board.views import BoardView
from calibration.hand import Definition
from calibration.rig import Rig
from calibration.solve.board_in_rig import PosedInRig, board_poses_at
from models.files.npzfile import read_npz, write_npz

TRACK = "track.npz"
ASKED_AGAIN = -2
"""In place of what was asked for in sets that do not count, since the touch was asked for again."""


class TouchRecorder:
    """Hands and views of the board, set by set; the board's pose in a set is known when the next one is there, since
    cameras are not exposed together and corners are read at the set's very time.

    What a test in this folder saw before, whose process died, is kept: `before`.
    """

    def __init__(self, folder: Path, rig: Rig, board: Board, definition: Definition) -> None:
        self._path, self._rig, self._board = folder / TRACK, rig, board
        self._definition: Definition = definition
        self.before = read_track(folder)
        self._views: deque[Mapping[str, BoardView]] = deque(maxlen=3)
        self._pending: tuple[int, Sequence[Hand], tuple[int, int, int]] | None = None
        self._times_ns: list[int] = []
        self._hands: list[Sequence[Hand]] = []
        self._poses: list[PosedInRig | None] = []
        self._asked: list[tuple[int, int, int]] = []

    def __len__(self) -> int:
        return len(self._times_ns)

    def add(
        self, time_ns: int, hands: Sequence[Hand], views: Mapping[str, BoardView], asked: tuple[int, int, int]
    ) -> None:
        """The next set; `asked` is the side, finger and target that are asked for."""
        stamped = {
            name: replace(view, time_ns=view.time_ns + self._rig[name].time_offset_ns) for name, view in views.items()
        }
        self._views.append(stamped)
        if self._pending is not None:
            self._place(*self._pending)
        self._pending = time_ns, hands, asked

    def _place(self, time_ns: int, hands: Sequence[Hand], asked: tuple[int, int, int]) -> None:
        views = {name: [of_set[name] for of_set in self._views if name in of_set] for name in self._rig.camera_ids}
        (pose,) = board_poses_at(self._rig, self._board, views, np.array([time_ns]))
        self._times_ns.append(time_ns)
        self._hands.append(hands)
        self._poses.append(pose)
        self._asked.append(asked)

    @property
    def newest(self) -> TouchTrack | None:
        """The last set of which the board was looked for."""
        if not self._times_ns:
            return None
        last = slice(len(self._times_ns) - 1, None)
        return track_of(
            self._definition, self._times_ns[last], self._hands[last], self._poses[last], np.array(self._asked[last])
        )

    def forget(self, asked: tuple[int, int, int]) -> None:
        """What was seen of a touch does not count."""
        again = (ASKED_AGAIN, ASKED_AGAIN, ASKED_AGAIN)
        if self.before is not None:
            self.before.asked[(self.before.asked == asked).all(1)] = again
        self._asked = [again if each == asked else each for each in self._asked]

    def write(self) -> None:
        """Bring the file up to date, atomically."""
        if not self._times_ns:
            return
        track = track_of(self._definition, self._times_ns, self._hands, self._poses, np.array(self._asked))
        if self.before is not None:
            track = self.before.joined(track)
        write_npz(self._path, {name: np.asarray(value) for name, value in vars(track).items()})


def read_track(folder: Path) -> TouchTrack | None:
    """What a run wrote; None where it saw nothing. Raises UserError where the file is damaged."""
    path = folder / TRACK
    if not path.is_file():
        return None
    arrays = read_npz(path, "a touch test", "Make the test again.")
    definition: Definition = "detector" if str(arrays.pop("definition")) == "detector" else "anatomical"
    return TouchTrack(definition=definition, **arrays)
