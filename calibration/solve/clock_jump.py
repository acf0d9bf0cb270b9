"""A clock that jumps amid a recording, or frames that are lost while their times go on: found from how the board turns.

The turn between two cameras is always the same. Where it is so at one shift of their clocks at first and at another one
in the end, a clock jumped: a camera that moved turned against the other, and a clock that is fast goes evenly from one
shift to the other. What a quadratic says of jumps that are long against the board's motion is nothing.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from calibration.rotations import rotation_angle
from calibration.solve.start_times import (
    LEAST_MOMENTS,
    alike,
    best_shift,
    nearest_views,
    posed_views,
    shortest_period_s,
    turns_between,
)
from calibration.solve.view_poses import ViewPoses

# Of a camera's views, the first and the last of which the shifts are found; how much alike their turns must be.
_PART, _ALIKE = 1 / 4, 0.8
# Frames by which shifts differ at least; less is found, and to less than a frame, by the fit.
_LEAST_FRAMES = 2.5
# Turns between cameras that differ by less, in radians, are one, as single views tell; by more they say no more.
_SAME_RAD, _MOST_RAD = 0.1, 0.5


@dataclass(frozen=True)
class ClockJump:
    """Of cameras by index, one of which it is: how much `late_s` the first one's stamps are from `time_s` on.

    `share`: of the squared differences of the turns between two cameras, how much is gone without the jump."""

    cameras: tuple[int, ...]
    time_s: float
    late_s: float
    share: float


def find_jump(poses: ViewPoses) -> ClockJump | None:
    """The jump that most cameras agree on; None where there is none."""
    cameras = range(len(poses.table.camera_ids))
    views = [posed_views(poses, camera) for camera in cameras]
    found = {
        (a, b): jump
        for a, b in combinations(cameras, 2)
        if (jump := _jump_of(poses, (a, b), views[a], views[b])) is not None
    }
    if not found:
        return None
    counts = [sum(camera in pair for pair in found) for camera in cameras]
    likely = tuple(camera for camera in cameras if counts[camera] == max(counts))
    (a, _), jump = max(found.items(), key=lambda item: (likely[0] in item[0], item[1].share))
    return ClockJump(likely, jump.time_s, jump.late_s if likely[0] == a else -jump.late_s, jump.share)


def _jump_of(poses: ViewPoses, pair: tuple[int, int], own: np.ndarray, other: np.ndarray) -> ClockJump | None:
    part = round(_PART * len(own))
    if not part or not len(other):
        return None
    shifts = [_shift(poses, views, other) for views in (own[:part], own[-part:])]
    period, (first, last) = shortest_period_s(poses, own, other), (shift for _, shift in shifts)
    if min(likeness for likeness, _ in shifts) < _ALIKE or abs(last - first) < _LEAST_FRAMES * period:
        return None
    time_s, other_s = poses.table.time_s[own], poses.table.time_s[other]

    def off_rad(shift: np.ndarray | float) -> np.ndarray:
        """By how much the turn is another than most are, (V,); NaN of views without one of their moment."""
        nearest, both = nearest_views(time_s + shift, other_s, period)
        off = np.full(len(own), np.nan)
        turns = turns_between(poses, own[both], other[nearest[both]])
        off[both] = np.minimum(rotation_angle(turns @ usual.T), _MOST_RAD)
        return off

    usual = _usual_turn(poses, own[:part], other, first, period)
    before, after = off_rad(first), off_rad(last)
    known = np.flatnonzero(np.isfinite(before) & np.isfinite(after))
    if not np.nanmedian(after[-part:]) < _SAME_RAD or len(known) < 2:
        return None
    # The moment that leaves least, of all between two views.
    left = np.append(0.0, np.cumsum(before[known] ** 2)) + np.append(np.cumsum(after[known][::-1] ** 2)[::-1], 0.0)
    at = int(np.clip(np.argmin(left), 1, len(known) - 1))
    moment_s = float(time_s[known[at - 1 : at + 1]].mean())
    evenly = np.interp(time_s, time_s[[part // 2, -1 - part // 2]], [first, last])
    of_jump, of_rate = (np.nanmean(off_rad(shift) ** 2) for shift in (np.where(time_s < moment_s, first, last), evenly))
    if of_rate < of_jump:
        return None
    late_s = first - last  # by how much a is late, against b
    return ClockJump(pair, moment_s, late_s, 1 - float(left.min() / (before[known] ** 2).sum()))


def _shift(poses: ViewPoses, own: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """As `best_shift`, which searches them all: the one that is taken for theirs, where the turns are alike at it."""
    table = poses.table
    as_is = float(np.diff(table.offset_s[table.camera[[own[0], other[0]]]])[0])
    period = shortest_period_s(poses, own, other)
    nearest, both = nearest_views(table.time_s[own] + as_is, table.time_s[other], period)
    if both.sum() >= LEAST_MOMENTS:
        likeness = alike(turns_between(poses, own[both], other[nearest[both]]))
        if likeness > _ALIKE:
            return likeness, as_is
    return best_shift(poses, own, other)


def _usual_turn(poses: ViewPoses, own: np.ndarray, other: np.ndarray, shift: float, period: float) -> np.ndarray:
    """The turn (3, 3) that most are like, of views at a shift."""
    nearest, both = nearest_views(poses.table.time_s[own] + shift, poses.table.time_s[other], period)
    turns = turns_between(poses, own[both], other[nearest[both]])
    angles = rotation_angle(turns[:, None] @ np.swapaxes(turns, 1, 2)[None])
    return turns[int(np.argmin(np.median(angles, axis=1)))]
