"""A hand's joints from each view's 2D points alone: robustly triangulated, every point as sure as the network says.

The network's own result knows what it learned of hands, on rendered ones. On real hands it errs where these points do
not, and they where it does not: half-way between the two is nearer than either (docs/training.md).
"""

from typing import NamedTuple

import numpy as np

from calibration.hand import hand_size_px
from calibration.triangulation import Observations, triangulate, triangulate_without_each
from models.hand.crop import to_pixels

STD_OF_SIZE = 0.036
"""Of a point that is as sure as most, as a share of the hand's size in the crop: the size is twice the root mean square
spread of its points. It says how far off a point may lie before it counts less."""
SHARE_OF_POINTS = 0.5
"""Of the way from a landmark network's result to its points' own joints, that what is published goes."""
LEAST_VIEWS = 3
_LEAST_CONFIDENCE = 1e-3
_ITERATIONS = 3


class SeenJoints(NamedTuple):
    """A hand's joints of its views' points alone, hand-centred metres, NaN where fewer than two views have one.

    `joints_m` (J, 3) as `triangulate_points` gives them; `alike_m` (J, 3) where every point is as sure as any other;
    `blind_m` (V, J, 3) from all views but each, a point's deviation being one over the root of its confidence, pixels;
    `residuals` (V, J) how far each view's point is from the joint, in deviations of a point that is as sure as most.
    """

    joints_m: np.ndarray
    alike_m: np.ndarray
    blind_m: np.ndarray
    residuals: np.ndarray


def crop_observations(
    P_crop: np.ndarray, keypoints_px: np.ndarray, std_px: np.ndarray, seen: np.ndarray | bool = True
) -> Observations:
    """Keypoints (V, J, 2) of the views (V,) that are `seen`, crop pixels, as groups of points, one for each of the
    deviations `std_px` (..., V, J), in units of the crops' focal lengths, which is what triangulation takes; P_crop
    (V, 3, 4)."""
    focal_px = np.linalg.norm(P_crop[:, 0, :3], axis=1)
    std = np.swapaxes(std_px / focal_px[:, None], -2, -1).reshape(-1, keypoints_px.shape[1], len(P_crop))
    scale = np.stack([np.diag([1 / f, 1 / f, 1.0]) for f in focal_px])
    points = np.swapaxes(keypoints_px / focal_px[:, None, None], 0, 1)
    there = np.isfinite(points).all(-1) & seen

    def of_each(values: np.ndarray, *end: int) -> np.ndarray:
        return np.broadcast_to(values, (*std.shape, *end))

    return Observations(of_each(scale @ P_crop, 3, 4), of_each(points, 2), std, of_each(there))


def triangulate_points(P_crop: np.ndarray, keypoints_px: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Joints (J, 3) in hand-centred metres from keypoints (V, J, 2), crop pixels, with `confidence` (V, J) in 0..1."""
    std_px = _std_px(_usual_px(keypoints_px), _doubt(confidence))
    return triangulate(crop_observations(P_crop, keypoints_px, std_px), iterations=_ITERATIONS).points_m[0]


def triangulate_seen(
    P_crop: np.ndarray, keypoints_px: np.ndarray, confidence: np.ndarray, alike_px: float, std_scale: np.ndarray
) -> SeenJoints:
    """As `triangulate_points`, with what else a hand is judged by, at once; `alike_px` is the deviation of points that
    are all alike, `std_scale` (V,) what those of each view are multiplied with otherwise."""
    usual_px, doubt = _usual_px(keypoints_px), _doubt(confidence) * std_scale[:, None]
    std_px = np.stack([_std_px(usual_px, doubt), np.full_like(doubt, alike_px), doubt])
    of_views = triangulate_without_each(crop_observations(P_crop, keypoints_px, std_px), _ITERATIONS)
    joints_m = of_views[0, 0]
    apart_px = np.stack([to_pixels(P, joints_m) for P in P_crop]) - keypoints_px
    return SeenJoints(joints_m, of_views[1, 0], of_views[2, 1:], np.linalg.norm(apart_px, axis=-1) / usual_px)


def _doubt(confidence: np.ndarray) -> np.ndarray:
    return 1 / np.sqrt(np.maximum(confidence, _LEAST_CONFIDENCE))


def _usual_px(keypoints_px: np.ndarray) -> np.ndarray:
    """Deviation (V, 1) of a point that is as sure as most, in each view."""
    return STD_OF_SIZE * hand_size_px(keypoints_px)[:, None]


def _std_px(usual_px: np.ndarray, doubt: np.ndarray) -> np.ndarray:
    return usual_px * doubt / np.median(doubt)


def towards_points(joints_m: np.ndarray, points_m: np.ndarray, views: int) -> np.ndarray:
    """Joints (J, 3) half-way to the points' own (J, 3) of so many views; as they are where a point has none, and of two
    views, between which only what is learned of hands can decide."""
    there = np.isfinite(points_m) & (views >= LEAST_VIEWS)
    return np.where(there, (1 - SHARE_OF_POINTS) * joints_m + SHARE_OF_POINTS * points_m, joints_m)
