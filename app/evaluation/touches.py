"""Touches: stretches of time in which one fingertip rests at a named corner of the board."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.evaluation.grip import TIPS
from app.evaluation.touch_targets import Target, spacing_m
from app.evaluation.touch_track import TouchTrack
from calibration.errors import UserError
from calibration.hand import FINGER_JOINTS

_NOTHING = -1
_FEWEST_SETS = 3


@dataclass(frozen=True, kw_only=True)
class TouchSettings:
    """What is a touch.

    `share_of_spacing`, `most_m`: how far beside a corner a fingertip may be given, so that no other corner is nearer
    and so that a method's error is not taken for another touch. `reach_m`: how far from the plane. `least_s`: how
    long it lasts; `trim_s`: what at its beginning and end is still movement. `longest_gap_s`: for so long the tip may
    be elsewhere or not given, and `longest_pause_s` there may be no frame set at all. `most_drift_m`: between the
    medians of its halves, else it does not rest. `least_share` of the sets in which the tip is given it is at the
    corner.
    """

    share_of_spacing: float = 0.45
    most_m: float = 0.04
    reach_m: float = 0.04
    least_s: float = 0.8
    trim_s: float = 0.2
    longest_gap_s: float = 0.35
    longest_pause_s: float = 1.5
    most_drift_m: float = 0.01
    least_share: float = 0.5

    def capture_m(self, targets: Sequence[Target]) -> float:
        return min(self.share_of_spacing * spacing_m(targets), self.most_m)


@dataclass(frozen=True, kw_only=True)
class Touch:
    """A fingertip at a corner. `side` 0 left, 1 right; `finger` 0 thumb to 4 little; `target` its index.

    `rows` (n,): the sets of it in which the hand is given and the board known; `sets`, of all that it lasts in which
    the board is known. `joints_mm` (n, 21, 3): the hand from the corner: x and y along the board, and the height
    before the printed face. `along` (n, 2): the finger's direction in the plane, towards its tip, zero where it has
    none.
    """

    side: int
    finger: int
    target: int
    rows: np.ndarray
    sets: int
    joints_mm: np.ndarray
    along: np.ndarray

    @property
    def tip_mm(self) -> np.ndarray:
        """(n, 3)"""
        return self.joints_mm[:, TIPS[self.finger]]


def find_touches(track: TouchTrack, targets: Sequence[Target], settings: TouchSettings | None = None) -> list[Touch]:
    """The touches, in order of time.

    Where nobody asked for a touch, the finger is that of a hand whose tip is nearest to any corner. Raises UserError
    where there is none, saying how near the nearest was.
    """
    settings = settings or TouchSettings()
    places_m = np.stack([target.place_board_m for target in targets])
    tips_m = track.joints_board_m[:, :, list(TIPS)]
    offset_m = tips_m[:, :, :, None] - places_m
    touches = []
    for side in range(2):
        state = _states(track, offset_m[:, side], side, settings.capture_m(targets), settings)
        for value in np.unique(state[state != _NOTHING]):
            finger, target = divmod(int(value), len(targets))
            for first, last in _runs(track.times_ns, np.flatnonzero(state == value), settings):
                rows = np.arange(first, last + 1)
                touch = _touch(track, rows, state[rows] == value, (side, finger, target), places_m[target], settings)
                touches += [] if touch is None else [touch]
    if not touches:
        distance_m = np.linalg.norm(offset_m, axis=-1)
        near = f"{1e3 * np.nanmin(distance_m):.0f} mm" if np.isfinite(distance_m).any() else "unknown"
        raise UserError(
            f"no touch was found: the nearest that a fingertip came to one of the corners "
            f"{', '.join(target.name for target in targets)} was {near}. Rest one fingertip on a corner for two "
            "seconds, the other fingers away from the board; name other corners with `--corners`."
        )
    return sorted(touches, key=lambda touch: int(touch.rows[0]))


def _states(
    track: TouchTrack, offset_m: np.ndarray, side: int, capture_m: float, settings: TouchSettings
) -> np.ndarray:
    """For each set the number of the finger and target (finger * targets + target) that touch; _NOTHING where none.

    `offset_m` (S, 5, K, 3): each tip from each target.
    """
    count = offset_m.shape[2]
    distance_m = np.linalg.norm(offset_m, axis=-1)
    distance_m = np.where(np.isfinite(distance_m), distance_m, np.inf).reshape(len(track), -1)
    nearest = distance_m.argmin(1)
    asked = track.asked[:, 0] != -1
    wanted = np.where(track.asked[:, 0] == side, track.asked[:, 1] * count + track.asked[:, 2], _NOTHING)
    chosen = np.where(asked, wanted, nearest)
    at = offset_m.reshape(len(track), -1, 3)[np.arange(len(track)), np.maximum(chosen, 0)]
    with np.errstate(invalid="ignore"):
        there = (np.linalg.norm(at[:, :2], axis=1) < capture_m) & (np.abs(at[:, 2]) < settings.reach_m)
    return np.where(there & (chosen != _NOTHING), chosen, _NOTHING)


def _runs(times_ns: np.ndarray, rows: np.ndarray, settings: TouchSettings) -> list[tuple[int, int]]:
    """First and last set of each run of the rows, trimmed, of those that are long enough."""
    gaps_s = np.diff(times_ns[rows]) * 1e-9
    allowed_s = np.where(np.diff(rows) == 1, settings.longest_pause_s, settings.longest_gap_s)
    runs = []
    for run in np.split(rows, np.flatnonzero(gaps_s > allowed_s) + 1):
        start_ns, end_ns = times_ns[run[0]], times_ns[run[-1]]
        if (end_ns - start_ns) * 1e-9 < settings.least_s:
            continue
        trim_ns = settings.trim_s * 1e9
        first = int(np.searchsorted(times_ns, start_ns + trim_ns))
        last = int(np.searchsorted(times_ns, end_ns - trim_ns, side="right")) - 1
        if last > first:
            runs.append((first, last))
    return runs


def _touch(
    track: TouchTrack,
    rows: np.ndarray,
    there: np.ndarray,
    which: tuple[int, int, int],
    place_m: np.ndarray,
    settings: TouchSettings,
) -> Touch | None:
    """The touch in these sets; `there` says in which of them the tip is at the corner. None where it does not rest."""
    side, finger, target = which
    known = np.isfinite(track.T_world_board[rows, 0, 0])
    rows, there = rows[known], there[known]
    given = rows[track.given[rows, side]]
    if len(given) < _FEWEST_SETS or there.sum() < settings.least_share * len(given):
        return None
    joints_mm = 1e3 * (track.joints_board_m[given, side] - place_m) * [1, 1, -1]
    tips_mm = joints_mm[:, TIPS[finger]]
    half = len(given) // 2
    if np.linalg.norm(np.median(tips_mm[:half], 0) - np.median(tips_mm[half:], 0)) > 1e3 * settings.most_drift_m:
        return None
    before, tip = FINGER_JOINTS[finger][-2:]
    bone = joints_mm[:, tip] - joints_mm[:, before]
    flat = np.linalg.norm(bone[:, :2], axis=1, keepdims=True)
    upright = flat < 0.2 * np.linalg.norm(bone, axis=1, keepdims=True)
    along = np.where(upright, 0.0, bone[:, :2] / np.maximum(flat, 1e-9))
    return Touch(side=side, finger=finger, target=target, rows=given, sets=len(rows), joints_mm=joints_mm, along=along)
