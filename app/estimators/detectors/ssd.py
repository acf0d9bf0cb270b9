"""What MediaPipe's graphs do around their single-shot detectors: images become squares, and answers boxes with points.

Source: its calculators ImageToTensor, SsdAnchors, TensorsToDetections and NonMaxSuppression (of the kind WEIGHTED),
Apache-2.0. W. Liu et al., "SSD: Single Shot MultiBox Detector", 2016.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

_OVERLAP = 0.3


class BoxWithPoints(NamedTuple):
    """`score` in [0, 1]; `box` (left, top, width, height); `points` (P, 2) that go with it."""

    score: float
    box: np.ndarray
    points: np.ndarray


def letterbox(image_bgr: np.ndarray, side_px: int) -> np.ndarray:
    """The image in the middle of a square, `side_px` wide, RGB, black around it."""
    height, width = image_bgr.shape[:2]
    scale = side_px / max(height, width)
    shift = (side_px - scale * np.array([width, height])) / 2
    affine = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    return cv2.cvtColor(cv2.warpAffine(image_bgr, affine, (side_px, side_px)), cv2.COLOR_BGR2RGB)


def in_image(found: Sequence[BoxWithPoints], size_px: tuple[int, int]) -> list[BoxWithPoints]:
    """What is found in a letterbox, whose side is 1, in the pixels of its image of that width and height."""
    size = np.array(size_px)
    side, corner = size.max(), (size - size.max()) / 2
    return [
        BoxWithPoints(score, np.concatenate([box[:2] * side + corner, box[2:] * side]), points * side + corner)
        for score, box, points in found
    ]


def anchors(cells_and_anchors: Sequence[tuple[int, int]]) -> np.ndarray:
    """Centres (A, 2) in a square whose side is 1, of cells a side and anchors a cell, for each stride."""
    centres = []
    for cells, of_cell in cells_and_anchors:
        y, x = np.divmod(np.arange(cells * cells), cells)
        centres.append(np.repeat((np.stack([x, y], 1) + 0.5) / cells, of_cell, axis=0))
    return np.concatenate(centres)


def decode(boxes: np.ndarray, scores: np.ndarray, centres: np.ndarray, side_px: int) -> list[BoxWithPoints]:
    """What is found in one letterbox, `side_px` wide, the likeliest first, in units of its side.

    From the network's `boxes` (A, 4 + 2 P), pixels from the anchors' centres (A, 2), and `scores` (A,) before the
    sigmoid. Boxes that overlap are averaged by their scores; the likeliest box's score stays.
    """
    # Not NaN, and a probability of at least a half.
    likely = np.flatnonzero((scores >= 0) & np.isfinite(boxes).all(1))
    order = likely[np.argsort(-scores[likely], kind="stable")]
    certainty = 1 / (1 + np.exp(-np.minimum(scores[order], 100).astype(np.float64)))
    values = boxes[order].astype(np.float64) / side_px
    size = values[:, 2:4]
    low = centres[order] + values[:, :2] - size / 2
    points = np.tile(centres[order], values[:, 4:].shape[1] // 2) + values[:, 4:]
    flat = np.concatenate([low, low + size, points], axis=1)
    found = []
    left = np.arange(len(order))
    while len(left):
        same = _overlap(flat[left, :4], flat[left[0], :4]) > _OVERLAP
        same[0] = True
        group = left[same]
        mean = certainty[group] @ flat[group] / certainty[group].sum()
        box = np.concatenate([mean[:2], mean[2:4] - mean[:2]])
        found.append(BoxWithPoints(float(certainty[left[0]]), box, mean[4:].reshape(-1, 2)))
        left = left[~same]
    return found


def _overlap(corners: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (n, 4), left, top, right, bottom, with one (4,)."""
    both = np.minimum(corners[:, 2:], other[2:]) - np.maximum(corners[:, :2], other[:2])
    shared = np.maximum(both, 0).prod(1)
    area, other_area = (corners[:, 2:] - corners[:, :2]).prod(1), (other[2:] - other[:2]).prod()
    return shared / np.maximum(area + other_area - shared, 1e-12)
