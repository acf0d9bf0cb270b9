"""Palms in whole images: MediaPipe's palm detector with what its graph does around it.

Source of the numbers: mediapipe/modules/palm_detection/palm_detection_cpu.pbtxt (Apache-2.0), and its calculators
SsdAnchors, TensorsToDetections and NonMaxSuppression (of the kind WEIGHTED).
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from app.estimators.detectors.hand_crop import HandCrop, crop_of_palm
from deploy.image_network import ImageNetwork

SIDE_PX = 192
_CELLS = ((24, 2), (12, 6))
"""Cells a side, and anchors a cell, of the strides 8 and 16."""
_OVERLAP = 0.3
_WRIST, _MIDDLE = 0, 2
_MOST_PALMS = 8
_WIDE = 1.2


class Palm(NamedTuple):
    """`score` in [0, 1]; `box` (left, top, width, height); `points` (7, 2), the wrist and knuckles among them."""

    score: float
    box: np.ndarray
    points: np.ndarray


class PalmSearch:
    """Finds palms in images; `network` is palm_detection.onnx."""

    def __init__(self, network: ImageNetwork) -> None:
        self._network = network

    def find(self, images_bgr: Sequence[np.ndarray]) -> list[list[HandCrop]]:
        """For each image the crops of at most eight palms; of at most 24 where fewer than two are found at once.

        There the image is searched again in two squares that overlap, for palms that are too small or too near the
        border for the whole.
        """
        if not images_bgr:
            return []
        found = [crops_of_palms(palms) for palms in self.detect(images_bgr)]
        again, parts, offsets = [], [], []
        for index, image in enumerate(images_bgr):
            height, width = image.shape[:2]
            side = max(height, (width + 1) // 2)
            if len(found[index]) < 2 and width >= _WIDE * side:
                again += [index, index]
                offsets += [0, width - side]
                parts += [image[:, :side], image[:, width - side :]]
        for index, offset, palms in zip(again, offsets, self.detect(parts), strict=True):
            found[index] += [
                HandCrop(crop.centre_px + [offset, 0], crop.side_px, crop.angle) for crop in crops_of_palms(palms)
            ]
        return found

    def detect(self, images_bgr: Sequence[np.ndarray]) -> list[list[Palm]]:
        """Each image's palms in its pixels, the likeliest first."""
        if not images_bgr:
            return []
        boxes, scores = self._network(_letterbox(image) for image in images_bgr)[:2]
        return [_in_image(_decode(*each), image) for *each, image in zip(boxes, scores, images_bgr, strict=True)]


def _letterbox(image_bgr: np.ndarray) -> np.ndarray:
    """The image in the middle of a square, SIDE_PX wide, RGB, black around it."""
    height, width = image_bgr.shape[:2]
    scale = SIDE_PX / max(height, width)
    shift = (SIDE_PX - scale * np.array([width, height])) / 2
    affine = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    return cv2.cvtColor(cv2.warpAffine(image_bgr, affine, (SIDE_PX, SIDE_PX)), cv2.COLOR_BGR2RGB)


def _in_image(palms: list[Palm], image_bgr: np.ndarray) -> list[Palm]:
    """Palms in the square, whose side is 1, as palms in the image's pixels."""
    size = np.array([image_bgr.shape[1], image_bgr.shape[0]])
    side, corner = size.max(), (size - size.max()) / 2
    return [
        Palm(
            palm.score, np.concatenate([palm.box[:2] * side + corner, palm.box[2:] * side]), palm.points * side + corner
        )
        for palm in palms
    ]


def _anchors() -> np.ndarray:
    """Centres (2016, 2) of the anchors in a square whose side is 1."""
    centres = []
    for cells, of_cell in _CELLS:
        y, x = np.divmod(np.arange(cells * cells), cells)
        centres.append(np.repeat((np.stack([x, y], 1) + 0.5) / cells, of_cell, axis=0))
    return np.concatenate(centres)


_ANCHORS = _anchors()


def _decode(boxes: np.ndarray, scores: np.ndarray) -> list[Palm]:
    """The palms of one image, from the network's `boxes` (2016, 18) and `scores` (2016,) before the sigmoid.

    Boxes that overlap are averaged by their scores; the likeliest box's score stays.
    """
    # Not NaN, and a probability of at least a half.
    likely = np.flatnonzero((scores >= 0) & np.isfinite(boxes).all(1))
    order = likely[np.argsort(-scores[likely], kind="stable")]
    certainty = 1 / (1 + np.exp(-np.minimum(scores[order], 100).astype(np.float64)))
    values = boxes[order].astype(np.float64) / SIDE_PX
    size = values[:, 2:4]
    low = _ANCHORS[order] + values[:, :2] - size / 2
    points = _ANCHORS[order][:, None] + values[:, 4:].reshape(-1, 7, 2)
    flat = np.concatenate([low, low + size, points.reshape(-1, 14)], axis=1)
    palms = []
    left = np.arange(len(order))
    while len(left):
        same = _overlap(flat[left, :4], flat[left[0], :4]) > _OVERLAP
        same[0] = True
        group = left[same]
        mean = certainty[group] @ flat[group] / certainty[group].sum()
        box = np.concatenate([mean[:2], mean[2:4] - mean[:2]])
        palms.append(Palm(float(certainty[left[0]]), box, mean[4:].reshape(7, 2)))
        left = left[~same]
    return palms


def _overlap(corners: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (n, 4), left, top, right, bottom, with one (4,)."""
    both = np.minimum(corners[:, 2:], other[2:]) - np.maximum(corners[:, :2], other[:2])
    shared = np.maximum(both, 0).prod(1)
    area, other_area = (corners[:, 2:] - corners[:, :2]).prod(1), (other[2:] - other[:2]).prod()
    return shared / np.maximum(area + other_area - shared, 1e-12)


def crops_of_palms(palms: Sequence[Palm]) -> list[HandCrop]:
    """The crops of the likeliest palms, at most eight."""
    return [crop_of_palm(palm.box, palm.points[_WRIST], palm.points[_MIDDLE]) for palm in palms[:_MOST_PALMS]]
