"""A hand's joints from each view's 2D points alone: robustly triangulated, every point as sure as the network says.

The network's own result knows what it learned of hands, on rendered ones. On real hands it errs where these points do
not, and they where it does not: half-way between the two is nearer than either (docs/training.md).
"""

import numpy as np

from calibration.hand import hand_size_px
from calibration.triangulation import Observations, triangulate

STD_OF_SIZE = 0.036
"""Of a point that is as sure as most, as a share of the hand's size in the crop: the size is twice the root mean square
spread of its points. It says how far off a point may lie before it counts less."""
SHARE_OF_POINTS = 0.5
"""Of the way from a landmark network's result to its points' own joints, that what is published goes."""
LEAST_VIEWS = 3
_LEAST_CONFIDENCE = 1e-3
_ITERATIONS = 3


def crop_observations(
    P_crop: np.ndarray, keypoints_px: np.ndarray, std_px: np.ndarray, seen: np.ndarray | bool = True
) -> Observations:
    """Keypoints (V, J, 2) with deviations (V, J), crop pixels, of the views (V,) that are `seen`, as one group of
    points in units of the crops' focal lengths, which is what triangulation takes; P_crop (V, 3, 4)."""
    focal_px = np.linalg.norm(P_crop[:, 0, :3], axis=1)
    scale = np.stack([np.diag([1 / f, 1 / f, 1.0]) for f in focal_px])
    points = np.swapaxes(keypoints_px / focal_px[:, None, None], 0, 1)[None]
    P_all = np.broadcast_to((scale @ P_crop)[None, None], (*points.shape[:3], 3, 4))
    return Observations(P_all, points, (std_px / focal_px[:, None]).T[None], np.isfinite(points).all(-1) & seen)


def triangulate_points(P_crop: np.ndarray, keypoints_px: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Joints (J, 3) in hand-centred metres from keypoints (V, J, 2), crop pixels, with `confidence` (V, J) in 0..1."""
    doubt = 1 / np.sqrt(np.maximum(confidence, _LEAST_CONFIDENCE))
    std_px = STD_OF_SIZE * hand_size_px(keypoints_px)[:, None] * doubt / np.median(doubt)
    return triangulate(crop_observations(P_crop, keypoints_px, std_px), iterations=_ITERATIONS).points_m[0]


def towards_points(joints_m: np.ndarray, points_m: np.ndarray, views: int) -> np.ndarray:
    """Joints (J, 3) half-way to the points' own (J, 3) of so many views; as they are where a point has none, and of two
    views, between which only what is learned of hands can decide."""
    there = np.isfinite(points_m) & (views >= LEAST_VIEWS)
    return np.where(there, (1 - SHARE_OF_POINTS) * joints_m + SHARE_OF_POINTS * points_m, joints_m)
