"""People in whole images: MediaPipe's pose detector with what its graph does around it.

Source of the numbers: mediapipe/modules/pose_detection/pose_detection_cpu.pbtxt (Apache-2.0), and its calculators
SsdAnchors, TensorsToDetections and NonMaxSuppression (of the kind WEIGHTED).
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from app.estimators.body.body_crop import crop_of_points
from app.estimators.detectors.hand_crop import HandCrop
from deploy.image_network import ImageNetwork

SEARCH_PX = 224
_CELLS = ((28, 2), (14, 2), (7, 6))
"""Cells a side, and anchors a cell, of the strides 8, 16 and 32."""
_OVERLAP = 0.3
_LEAST_SCORE = 0.5


class SearchImage(NamedTuple):
    """A whole image in the middle of a square, SEARCH_PX wide, RGB, black around it, and its own width and height."""

    square_rgb: np.ndarray
    size_px: tuple[int, int]


def search_image(image_bgr: np.ndarray) -> SearchImage:
    height, width = image_bgr.shape[:2]
    scale = SEARCH_PX / max(height, width)
    shift = (SEARCH_PX - scale * np.array([width, height])) / 2
    affine = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    square_bgr = cv2.warpAffine(image_bgr, affine, (SEARCH_PX, SEARCH_PX))
    return SearchImage(cv2.cvtColor(square_bgr, cv2.COLOR_BGR2RGB), (width, height))


def find_bodies(network: ImageNetwork, images: Sequence[SearchImage], most: int) -> list[list[HandCrop]]:
    """The crops around at most so many people of each image, the likeliest first; `network` is pose_detection.onnx."""
    if not images:
        return []
    boxes, scores = network(image.square_rgb for image in images)[:2]
    return [
        [crop_of_points(*_in_image(points, image.size_px)) for points in _decode(*answer)[:most]]
        for *answer, image in zip(boxes, scores, images, strict=True)
    ]


def _in_image(points: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    """Points (..., 2) in the square, whose side is 1, in the image's pixels."""
    longer = max(size_px)
    return points * longer + (np.array(size_px) - longer) / 2


def _anchors() -> np.ndarray:
    """Centres (2254, 2) of the anchors in a square whose side is 1."""
    centres = []
    for cells, of_cell in _CELLS:
        y, x = np.divmod(np.arange(cells * cells), cells)
        centres.append(np.repeat((np.stack([x, y], 1) + 0.5) / cells, of_cell, axis=0))
    return np.concatenate(centres)


_ANCHORS = _anchors()


def _decode(boxes: np.ndarray, scores: np.ndarray) -> list[np.ndarray]:
    """The middle of the hips and a point on the circle around the body, (2, 2), of each person of one image.

    From the network's `boxes` (2254, 12) and `scores` (2254,) before the sigmoid. Boxes that overlap are averaged by
    their scores.
    """
    certainty = 1 / (1 + np.exp(-np.clip(scores.astype(np.float64), -100, 100)))
    likely = np.flatnonzero((certainty >= _LEAST_SCORE) & np.isfinite(boxes).all(1))
    order = likely[np.argsort(-certainty[likely], kind="stable")]
    values = boxes[order].astype(np.float64) / SEARCH_PX
    low = _ANCHORS[order] + values[:, :2] - values[:, 2:4] / 2
    points = _ANCHORS[order][:, None] + values[:, 4:].reshape(-1, 4, 2)
    corners = np.concatenate([low, low + values[:, 2:4]], axis=1)
    people, left = [], np.arange(len(order))
    while len(left):
        same = _overlap(corners[left], corners[left[0]]) > _OVERLAP
        same[0] = True
        weights = certainty[order[left[same]]]
        people.append(np.einsum("n,nab->ab", weights, points[left[same], :2]) / weights.sum())
        left = left[~same]
    return people


def _overlap(corners: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (n, 4), left, top, right, bottom, with one (4,)."""
    both = np.minimum(corners[:, 2:], other[2:]) - np.maximum(corners[:, :2], other[:2])
    shared = np.maximum(both, 0).prod(1)
    area, other_area = (corners[:, 2:] - corners[:, :2]).prod(1), (other[2:] - other[:2]).prod()
    return shared / np.maximum(area + other_area - shared, 1e-12)
