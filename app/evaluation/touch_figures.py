"""What a touch test says of a method: distances of fingertips from the corners that they touch, and the rest."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from app.evaluation.grip import SIDES
from app.evaluation.touch_targets import Target
from app.evaluation.touch_track import TouchTrack
from app.evaluation.touches import Touch
from app.worker.statistics import rounded
from calibration.hand import FINGERS, JOINT_NAMES

_SAMPLES = 2000
_FEWEST_FOR_NORMAL = 2


def touch_figures(track: TouchTrack, touches: Sequence[Touch], targets: Sequence[Target]) -> dict[str, Any]:
    """All figures, in millimetres.

    `all`, and `fingers` by hand and finger, see `_figures`; `jitter_mm`: how far a joint is from its mean while the
    hand rests, root mean square in 3D, over all joints and `jitter_mm_by_joint`; `dropouts`: the share of the sets of
    touches in which the method gives no hand; `board`: what its pose's own noise is.
    """
    pads_mm = pad_thickness_mm(touches)
    groups = _by_finger(touches)
    by_joint = _jitter_mm(touches)
    sets = sum(touch.sets for touch in touches)
    return {
        "all": _figures(touches, pads_mm),
        "fingers": {_title(*key): _figures(of_finger, pads_mm) for key, of_finger in groups.items()},
        "jitter_mm": rounded(float(np.sqrt((by_joint**2).mean()))),
        "jitter_mm_by_joint": {name: rounded(float(mm)) for name, mm in zip(JOINT_NAMES, by_joint, strict=True)},
        "dropouts": rounded(1 - sum(len(touch.rows) for touch in touches) / sets),
        "board": {
            "rmse_px": rounded(float(np.nanmedian(track.rmse_px))) if track.measured.any() else None,
            "noise_mm": rounded(_board_noise_mm(track, touches, targets)),
        },
        "touches": [_one(track, touch, targets, pads_mm) for touch in touches],
    }


def pad_thickness_mm(touches: Sequence[Touch]) -> dict[tuple[int, int], float]:
    """By side and finger: how high over the board its tip is given while it touches, the median of its touches.

    That is the distance from the joint to the skin that lies on the board and, which a touch cannot tell apart, the
    method's constant error along the normal.
    """
    return {
        key: float(np.median([np.median(touch.tip_mm[:, 2]) for touch in of_finger]))
        for key, of_finger in _by_finger(touches).items()
    }


def _by_finger(touches: Sequence[Touch]) -> dict[tuple[int, int], list[Touch]]:
    groups: dict[tuple[int, int], list[Touch]] = {}
    for touch in sorted(touches, key=lambda touch: (-touch.side, touch.finger)):
        groups.setdefault((touch.side, touch.finger), []).append(touch)
    return groups


def _figures(touches: Sequence[Touch], pads_mm: Mapping[tuple[int, int], float]) -> dict[str, Any]:
    """Of some touches, over all their sets.

    `plane_mm`: distance from tip to corner along the board, `plane_mm_p95` its 95th percentile. `along_mm`: the mean of
    it along the finger (towards the tip is positive); `plane_mm_without_constant`: what is left without each finger's
    mean along and across itself. `pad_mm`: see `pad_thickness_mm`, of a single finger. `normal_mm`: mean distance
    from that, of fingers with two touches or more. `error_mm`: both together. `*_ci95`: the mean's 95 % interval, from
    drawing touches anew.
    """
    plane = [np.linalg.norm(touch.tip_mm[:, :2], axis=1) for touch in touches]
    groups = _by_finger(touches)
    normal_of = {
        id(touch): np.abs(touch.tip_mm[:, 2] - pads_mm[key])
        for key, of_finger in groups.items()
        if len(of_finger) >= _FEWEST_FOR_NORMAL
        for touch in of_finger
    }
    normal = list(normal_of.values())
    error = [np.hypot(each, normal_of[id(t)]) for each, t in zip(plane, touches, strict=True) if id(t) in normal_of]
    along, rest = _constant_removed(groups)
    return {
        "touches": len(touches),
        "sets": sum(len(touch.rows) for touch in touches),
        "plane_mm": _mean(plane),
        "plane_mm_ci95": _interval(plane),
        "plane_mm_median": rounded(float(np.median(np.concatenate(plane)))),
        "plane_mm_p95": rounded(float(np.percentile(np.concatenate(plane), 95))),
        "along_mm": along,
        "plane_mm_without_constant": rest,
        "pad_mm": rounded(pads_mm[next(iter(groups))]) if len(groups) == 1 else None,
        "normal_mm": _mean(normal),
        "normal_mm_ci95": _interval(normal),
        "error_mm": _mean(error),
        "error_mm_ci95": _interval(error),
    }


def _constant_removed(groups: Mapping[tuple[int, int], Sequence[Touch]]) -> tuple[float | None, float | None]:
    """Mean offset along the finger, and the mean distance without each finger's mean offset in its own frame."""
    along_all, left = [], []
    for of_finger in groups.values():
        # Along the finger, and to its side.
        frames = [np.stack([t.along, t.along[:, ::-1] * [-1, 1]], axis=1) for t in of_finger]
        own = np.concatenate([np.einsum("nab,nb->na", f, t.tip_mm[:, :2])
                              for f, t in zip(frames, of_finger, strict=True)])  # fmt: skip
        told = np.concatenate([t.along.any(1) for t in of_finger])
        if told.any() and len(of_finger) >= _FEWEST_FOR_NORMAL:
            along_all.append(own[told, 0])
            left.append(np.linalg.norm(own[told] - own[told].mean(0), axis=1))
    return _mean(along_all), _mean(left)


def _jitter_mm(touches: Sequence[Touch]) -> np.ndarray:
    """(21,)"""
    squares, freedom = np.zeros(len(JOINT_NAMES)), 0
    for touch in touches:
        squares += ((touch.joints_mm - touch.joints_mm.mean(0)) ** 2).sum((0, 2))
        freedom += len(touch.rows) - 1
    return np.sqrt(squares / freedom)


def _board_noise_mm(track: TouchTrack, touches: Sequence[Touch], targets: Sequence[Target]) -> float | None:
    """How far a touched corner is from its own steady motion, root mean square: the noise of the board's pose, and the
    trembling of a board that is held."""
    squares, freedom = 0.0, 0
    for touch in touches:
        rows = touch.rows[track.measured[touch.rows]]
        if len(rows) < 4:
            continue
        times_s = (track.times_ns[rows] - track.times_ns[rows[0]]) * 1e-9
        corner = np.append(targets[touch.target].place_board_m, 1.0)
        places_mm = 1e3 * (track.T_world_board[rows] @ corner)[:, :3]
        line = np.stack([np.ones(len(rows)), times_s], axis=1)
        rest = places_mm - line @ np.linalg.lstsq(line, places_mm, rcond=None)[0]
        squares, freedom = squares + float((rest**2).sum()), freedom + len(rows) - 2
    return float(np.sqrt(squares / freedom)) if freedom else None


def _one(
    track: TouchTrack, touch: Touch, targets: Sequence[Target], pads_mm: Mapping[tuple[int, int], float]
) -> dict[str, Any]:
    tip_mm = np.median(touch.tip_mm, axis=0)
    start_ns = track.times_ns[touch.rows[0]] - track.times_ns[0]
    return {
        "hand": SIDES[touch.side],
        "finger": FINGERS[touch.finger],
        "corner": targets[touch.target].name,
        "start_s": rounded(float(start_ns * 1e-9), 5),
        "sets": touch.sets,
        "sets_with_hand": len(touch.rows),
        "x_mm": rounded(float(tip_mm[0])),
        "y_mm": rounded(float(tip_mm[1])),
        "height_mm": rounded(float(tip_mm[2])),
        "from_pad_mm": rounded(float(tip_mm[2] - pads_mm[touch.side, touch.finger])),
    }


def _mean(values: Sequence[np.ndarray]) -> float | None:
    return rounded(float(np.concatenate(values).mean())) if values else None


def _interval(values: Sequence[np.ndarray]) -> list[float | None] | None:
    """95 % of the means of as many touches, drawn with replacement; None of fewer than three."""
    if len(values) < 3:
        return None
    sums, counts = np.array([each.sum() for each in values]), np.array([len(each) for each in values])
    drawn = np.random.default_rng(0).integers(0, len(values), (_SAMPLES, len(values)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    return [rounded(float(each)) for each in np.percentile(means, [2.5, 97.5])]


def _title(side: int, finger: int) -> str:
    return f"{SIDES[side]} {FINGERS[finger]}"
