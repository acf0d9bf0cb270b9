"""Hands in the frame of a calibration board, set by set: what touches are looked for in."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from app.assembly.recorded_sets import recorded_sets
from app.estimators.estimator import Estimator, Hand
from app.evaluation.evaluation import Recording, board_views
from app.evaluation.grip import SIDES
from calibration.board.board import Board
from calibration.errors import UserError
from calibration.hand import JOINTS, Definition
from calibration.rig import Rig
from calibration.rotations import inverse_transform
from calibration.solve.board_in_rig import PosedInRig, board_poses_at

_HIDDEN_S = 2.0
_SAME_PLACE_M = 1e-3


@dataclass(frozen=True, kw_only=True)
class TouchTrack:
    """S frame sets, `times_ns` (S,).

    `joints_board_m` (S, 2, 21, 3): left and right hand in the board's frame, NaN where there is none or the board is
    not known; `given` (S, 2) which hands there are. `T_world_board` (S, 4, 4), NaN where it is not known; `measured`
    (S,) where it was seen in this very set, and `rmse_px` (S,) of its corners there. `asked` (S, 3): the side, finger
    and target that were asked for, -1 where nobody asked, -2 in sets that do not count.
    """

    definition: Definition
    times_ns: np.ndarray
    joints_board_m: np.ndarray
    given: np.ndarray
    T_world_board: np.ndarray
    measured: np.ndarray
    rmse_px: np.ndarray
    asked: np.ndarray

    def __len__(self) -> int:
        return len(self.times_ns)

    def joined(self, later: "TouchTrack") -> "TouchTrack":
        """With what came later."""
        names = [field.name for field in fields(self) if field.name != "definition"]
        arrays = {name: np.concatenate([getattr(self, name), getattr(later, name)]) for name in names}
        return TouchTrack(definition=self.definition, **arrays)


def touch_track(
    recording: Recording, board: Board, make: Callable[[Rig], Estimator], progress: Callable[[], object] = lambda: None
) -> TouchTrack:
    """Run a method over a session. Raises UserError where no hand is found and, before it runs, where the board is
    not seen."""
    seen = board_views(recording, board)
    times_ns: list[int] = []
    hands: list[Sequence[Hand]] = []
    seeing: set[str] = set()
    estimator = make(recording.rig)
    try:
        for frame_set in recorded_sets(recording.session, recording.rig, recording.phases_ns):
            estimate = estimator.estimate(frame_set)
            times_ns.append(frame_set.reference_time_ns)
            hands.append(estimate.hands)
            seeing.update(name for hand in estimate.hands for name in hand.detections_px)
            progress()
    finally:
        estimator.close()
    if not any(hands):
        raise UserError(
            f"{recording.session.path}: no hand is found in two views at once. Give a session in which at least two "
            "cameras, better three, see a hand that touches the board."
        )
    poses = board_poses_at(recording.rig, board, seen, np.array(times_ns, dtype=np.int64))
    asked = np.full((len(times_ns), 3), -1)
    return track_of(estimator.definition, times_ns, hands, poses, asked)


def track_of(
    definition: Definition,
    times_ns: Sequence[int],
    hands: Iterable[Sequence[Hand]],
    poses: Sequence[PosedInRig | None],
    asked: np.ndarray,
) -> TouchTrack:
    """Hands and the board's poses, an entry for each set. A board that is hidden for a moment, and lies after it where
    it lay before, was there all the time."""
    times = np.asarray(times_ns, dtype=np.int64)
    measured = np.array([pose is not None for pose in poses], dtype=bool)
    T_world_board = np.stack([np.full((4, 4), np.nan) if pose is None else pose.T_world_board for pose in poses])
    _fill(T_world_board, times, measured)
    joints_m = np.full((len(times), 2, JOINTS, 3), np.nan)
    given = np.zeros((len(times), 2), dtype=bool)
    for number, of_set in enumerate(hands):
        T_board_world = inverse_transform(T_world_board[number])
        for hand in sorted(of_set, key=lambda hand: float(hand.confidence.mean())):
            side = SIDES.index(hand.side)
            given[number, side] = True
            joints_m[number, side] = hand.joints_world_m @ T_board_world[:3, :3].T + T_board_world[:3, 3]
    return TouchTrack(
        definition=definition,
        times_ns=times,
        joints_board_m=joints_m,
        given=given,
        T_world_board=T_world_board,
        measured=measured,
        rmse_px=np.array([np.nan if pose is None else pose.rmse_px for pose in poses]),
        asked=asked,
    )


def _fill(T_world_board: np.ndarray, times_ns: np.ndarray, measured: np.ndarray) -> None:
    known = np.flatnonzero(measured)
    for before, after in zip(known[:-1], known[1:], strict=True):
        if after == before + 1 or (times_ns[after] - times_ns[before]) * 1e-9 > _HIDDEN_S:
            continue
        # Points at the ends of the axes, a decimetre long, tell of a turn as well.
        apart_m = (T_world_board[after] - T_world_board[before])[:3] @ np.array(
            [[0.1, 0, 0, 0], [0, 0.1, 0, 0], [0, 0, 0.1, 0], [1, 1, 1, 1]]
        )
        if np.linalg.norm(apart_m, axis=0).max() < _SAME_PLACE_M:
            T_world_board[before + 1 : after] = T_world_board[before]
