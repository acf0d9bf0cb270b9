"""People in whole images: MediaPipe's pose detector with what its graph does around it.

Source of the numbers: mediapipe/modules/pose_detection/pose_detection_cpu.pbtxt (Apache-2.0).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from app.estimators.body.body_crop import crop_of_points
from app.estimators.detectors.hand_crop import HandCrop
from app.estimators.detectors.ssd import anchors, decode, in_image, letterbox
from deploy.image_network import ImageNetwork

SEARCH_PX = 224
_ANCHORS = anchors([(28, 2), (14, 2), (7, 6)])
"""Of the strides 8, 16 and 32."""
_ON_CIRCLE = slice(2)
"""Of the four points: the middle of the hips and one on the circle around the body."""


class SearchImage(NamedTuple):
    """A whole image in the middle of a square, SEARCH_PX wide, RGB, black around it, and its own width and height."""

    square_rgb: np.ndarray
    size_px: tuple[int, int]


def search_image(image_bgr: np.ndarray) -> SearchImage:
    return SearchImage(letterbox(image_bgr, SEARCH_PX), (image_bgr.shape[1], image_bgr.shape[0]))


def find_bodies(network: ImageNetwork, images: Sequence[SearchImage], most: int) -> list[list[HandCrop]]:
    """The crops around at most so many people of each image, the likeliest first; `network` is pose_detection.onnx."""
    if not images:
        return []
    boxes, scores = network(image.square_rgb for image in images)[:2]
    return [
        [
            crop_of_points(*body.points[_ON_CIRCLE])
            for body in in_image(decode(box, score, _ANCHORS, SEARCH_PX)[:most], image.size_px)
        ]
        for box, score, image in zip(boxes, scores, images, strict=True)
    ]
