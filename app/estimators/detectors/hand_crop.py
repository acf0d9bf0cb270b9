"""The square of an image around one hand, upright: what a landmark network reads.

The geometry is that of MediaPipe's own graphs (mediapipe/modules/hand_landmark, Apache-2.0:
`palm_detection_detection_to_roi.pbtxt`, `hand_landmark_landmarks_to_roi.pbtxt`).
"""

from dataclasses import dataclass

import cv2
import numpy as np

_PALM_KEYPOINTS = [0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18]
_OF_KEYPOINTS, _KEYPOINTS_UP = 2.0, 0.1
_OF_PALM, _PALM_UP = 2.6, 0.5


@dataclass(frozen=True)
class HandCrop:
    """A square crop of an image: centre (2,) and side in pixels, `angle` in radians turns crop axes to image axes."""

    centre_px: np.ndarray
    side_px: float
    angle: float

    def image_from_crop(self, width: int, height: int | None = None) -> np.ndarray:
        """2x3 affine map from the pixels of a crop of `width` x `height` to image pixels.

        A crop that is not square shows the whole square, and more of the image along its longer side.
        """
        height = height or width
        turn = self.side_px / min(width, height) * _turn(self.angle)
        return np.column_stack([turn, self.centre_px - turn @ np.array([width / 2, height / 2])])

    def cut(
        self, image_bgr: np.ndarray, width: int, height: int | None = None, border: int = cv2.BORDER_CONSTANT
    ) -> np.ndarray:
        """The crop (height, width, 3), BGR as the image; beyond the image black, or what OpenCV's `border` says."""
        affine = self.image_from_crop(width, height)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(image_bgr, affine, (width, height or width), flags=flags, borderMode=border)

    def is_near(self, other: "HandCrop") -> bool:
        """Whether landmarks read from one crop are about as good as from the other."""
        turn = abs((self.angle - other.angle + np.pi) % (2 * np.pi) - np.pi)
        shift = np.linalg.norm(self.centre_px - other.centre_px) / other.side_px
        return bool(turn < 0.35 and shift < 0.1 and 0.8 < self.side_px / other.side_px < 1.25)


def crop_of_keypoints(keypoints_px: np.ndarray) -> HandCrop:
    """The crop that MediaPipe's tracker takes around keypoints (21, 2): wrist to middle knuckle points up."""
    towards = (keypoints_px[5] + keypoints_px[13] + 2 * keypoints_px[9]) / 4 - keypoints_px[0]
    angle = float(np.arctan2(towards[1], towards[0]) + np.pi / 2)
    turn = _turn(angle)
    palm = keypoints_px[_PALM_KEYPOINTS] @ turn
    low, high = palm.min(0), palm.max(0)
    centre = turn @ ((low + high) / 2 - [0, _KEYPOINTS_UP * (high - low)[1]])
    return HandCrop(centre, _OF_KEYPOINTS * float((high - low).max()), angle)


def crop_of_palm(box_px: np.ndarray, wrist_px: np.ndarray, middle_px: np.ndarray) -> HandCrop:
    """The crop for a palm detection: `box_px` (left, top, width, height), wrist and middle knuckle (2,)."""
    towards = middle_px - wrist_px
    angle = float(np.arctan2(towards[1], towards[0]) + np.pi / 2)
    up = np.array([np.sin(angle), -np.cos(angle)])
    centre = box_px[:2] + box_px[2:] / 2 + _PALM_UP * box_px[3] * up
    return HandCrop(centre, _OF_PALM * float(box_px[2:].max()), angle)


def _turn(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
