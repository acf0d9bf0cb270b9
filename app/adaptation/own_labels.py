"""A session's own labels, from another program or another detector, as one more voice among those that teach.

Each label is given to the hand that it lies on, and moved from where its definition puts a joint to where the
detector's does. How far its points are off is measured, since what a program says of its own errors is rarely true:
the median of their distances from the hands' joints tells.
"""

from dataclasses import dataclass

import numpy as np

from app.adaptation.teacher import Keypoints, Taught, combine, fuse, teach
from app.labelling.agreement import joint_velocities
from app.labelling.stretch import Stretch
from calibration.hand import JOINTS, hand_size_px
from calibration.rig import Rig
from models.files.labels import Labels
from models.hand.definition import convert

_NS = 1e-9
_MEDIAN_OF_2D = 1.177  # of a distance in the plane whose two parts have standard deviation 1


@dataclass(frozen=True, kw_only=True)
class OwnLabelSettings:
    """`farthest`: a label farther from a hand, in the mean, than this share of the hand's size is of another one.
    `std_of_size`: the error of a point of confidence 1, as a share of that size, where it cannot be measured, and
    `least_std_of_size` the smallest that is believed. `longest_gap_s`: over a longer one a hand's motion is
    not known."""

    farthest: float = 0.6
    std_of_size: float = 0.036
    least_std_of_size: float = 0.01
    longest_gap_s: float = 0.35


def taught_by_views(rig: Rig, hands: Stretch, labels: Labels | None, *more: Keypoints) -> Taught:
    """What all views say of the hands: as the detector sees them, as the labels have them, and as `more` do."""
    own = () if labels is None else (own_keypoints(rig, hands, labels),)
    return teach(rig, hands, [*own, *more])


def taught_by_all(hands: Stretch, by_views: Taught, labels: Labels | None) -> Taught:
    """The network's hands, and what the views say: with labels of its own it is another voice, else it doubts."""
    return fuse(hands, by_views) if labels is None else combine(hands, by_views)


def own_keypoints(rig: Rig, hands: Stretch, labels: Labels, settings: OwnLabelSettings | None = None) -> Keypoints:
    """What a session's labels say of hands that were found in it, in the detector's definition."""
    settings = settings or OwnLabelSettings()
    px = np.zeros((len(hands), len(rig.cameras), JOINTS, 2))
    std_px, seen = np.ones(px.shape[:3]), np.zeros(px.shape[:2], bool)
    off = []
    other_m = convert(hands.joints_m, hands.joint_definition, labels.definition, hands.right)
    velocity_m_s = joint_velocities(hands, settings.longest_gap_s)
    for view, camera in enumerate(rig.cameras):
        lag_s = np.where(hands.frame_time_ns[:, view] > 0, hands.frame_time_ns[:, view] - hands.time_ns, 0) * _NS
        moved_m = lag_s[:, None, None] * velocity_m_s
        there_px, label_px = camera.project(hands.joints_m + moved_m), camera.project(other_m + moved_m)
        by_time = _rows_by_time(labels, view)
        for hand in np.flatnonzero(hands.frame_time_ns[:, view] > 0):
            rows = by_time.get(int(hands.frame_time_ns[hand, view]), [])
            apart = [np.linalg.norm(labels.keypoints_px[row] - label_px[hand], axis=1) for row in rows]
            size_px = max(hand_size_px(label_px[hand]), 1.0)
            means = [each.mean() / size_px for each in apart]
            if not means or not min(means) < settings.farthest:
                continue
            best = int(np.argmin(means))
            trust = np.maximum(labels.confidence[rows[best]], 1e-6)
            px[hand, view] = labels.keypoints_px[rows[best]] + there_px[hand] - label_px[hand]
            std_px[hand, view], seen[hand, view] = size_px / np.sqrt(trust), True
            off.append(apart[best][trust > 0.05] / std_px[hand, view][trust > 0.05])
    share = settings.std_of_size
    if off:
        share = max(float(np.median(np.concatenate(off))) / _MEDIAN_OF_2D, settings.least_std_of_size)
    return Keypoints(px, np.where(seen[..., None], share * std_px, 1.0), seen)


def _rows_by_time(labels: Labels, view: int) -> dict[int, list[int]]:
    rows: dict[int, list[int]] = {}
    for row in np.flatnonzero(labels.camera == view):
        rows.setdefault(int(labels.time_ns[row]), []).append(int(row))
    return rows
