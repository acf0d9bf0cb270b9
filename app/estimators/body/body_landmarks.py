"""The points of a body in its crop, by MediaPipe's pose landmark network, refined by its heatmaps as in its graph.

Source of the numbers: mediapipe/modules/pose_landmark/tensors_to_pose_landmarks_and_segmentation.pbtxt (Apache-2.0) and
the calculator RefineLandmarksFromHeatmap.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.estimators.body.body_crop import CROP_PX, crop_of_points
from app.estimators.detectors.hand_crop import HandCrop
from deploy.image_network import ImageNetwork

BODY_POINTS = 33
_HIPS, _AROUND = 33, 34
_KERNEL = 9
_LEAST_PEAK = 0.5


@dataclass(frozen=True, kw_only=True)
class BodyView:
    """One person in one image.

    `points_px` (33, 2) distorted pixels of the camera's image, in MediaPipe's order; `visibility` (33,) in [0, 1];
    `presence` in [0, 1] that it is a person at all; `next_crop` is where to look for them in the next image.
    """

    points_px: np.ndarray
    visibility: np.ndarray
    presence: float
    next_crop: HandCrop


def read_bodies(
    network: ImageNetwork, crops: Sequence[HandCrop], pictures_rgb: Sequence[np.ndarray]
) -> list[BodyView | None]:
    """The body in each crop's picture (256, 256, 3); None where a number is not finite. `network` is pose_landmark."""
    if not crops:
        return []
    landmarks, presence, heatmaps = network(pictures_rgb)[:3]
    return [_body(*each) for each in zip(crops, landmarks, presence, heatmaps, strict=True)]


def _body(crop: HandCrop, landmarks: np.ndarray, presence: np.ndarray, heatmaps: np.ndarray) -> BodyView | None:
    if not (np.isfinite(landmarks).all() and np.isfinite(presence)):
        return None
    affine = crop.image_from_crop(CROP_PX)
    in_crop_px = refined(landmarks[:, :2].astype(np.float64) / CROP_PX, heatmaps) * CROP_PX
    points_px = in_crop_px @ affine[:, :2].T + affine[:, 2]
    return BodyView(
        points_px=points_px[:BODY_POINTS],
        visibility=_sigmoid(landmarks[:BODY_POINTS, 3].astype(np.float64)),
        presence=float(presence),
        next_crop=crop_of_points(points_px[_HIPS], points_px[_AROUND]),
    )


def refined(places: np.ndarray, heatmaps: np.ndarray) -> np.ndarray:
    """Places (K, 2), as shares of the crop, moved to the middle of the peak that their heatmaps (K, H, W) have."""
    size = np.array(heatmaps.shape[:0:-1])
    out = places.copy()
    middle = np.floor(places * size).astype(int)
    half = _KERNEL // 2
    for index in np.flatnonzero(((places >= 0) & (middle < size)).all(1)):
        low, high = np.maximum(middle[index] - half, 0), np.minimum(middle[index] + half + 1, size)
        confidence = _sigmoid(heatmaps[index, low[1] : high[1], low[0] : high[0]].astype(np.float64))
        if confidence.max() >= _LEAST_PEAK:
            columns, rows = np.arange(low[0], high[0]), np.arange(low[1], high[1])
            out[index] = np.array([confidence.sum(0) @ columns, confidence.sum(1) @ rows]) / confidence.sum() / size
    return out


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(values, -100, 100)))
