"""Palms in whole images: MediaPipe's palm detector with what its graph does around it.

Source of the numbers: mediapipe/modules/palm_detection/palm_detection_cpu.pbtxt (Apache-2.0).
"""

from collections.abc import Sequence

import numpy as np

from app.estimators.detectors.hand_crop import HandCrop, crop_of_palm
from app.estimators.detectors.ssd import BoxWithPoints, anchors, decode, in_image, letterbox
from deploy.image_network import ImageNetwork

SIDE_PX = 192
_ANCHORS = anchors([(24, 2), (12, 6)])
"""Of the strides 8 and 16."""
_WRIST, _MIDDLE = 0, 2
_MOST_PALMS = 8
_WIDE = 1.2


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

    def detect(self, images_bgr: Sequence[np.ndarray]) -> list[list[BoxWithPoints]]:
        """Each image's palms in its pixels, the likeliest first, with seven points, wrist and knuckles among them."""
        if not images_bgr:
            return []
        boxes, scores = self._network(letterbox(image, SIDE_PX) for image in images_bgr)[:2]
        return [
            in_image(decode(box, score, _ANCHORS, SIDE_PX), (image.shape[1], image.shape[0]))
            for box, score, image in zip(boxes, scores, images_bgr, strict=True)
        ]


def crops_of_palms(palms: Sequence[BoxWithPoints]) -> list[HandCrop]:
    """The crops of the likeliest palms, at most eight."""
    return [crop_of_palm(palm.box, palm.points[_WRIST], palm.points[_MIDDLE]) for palm in palms[:_MOST_PALMS]]
