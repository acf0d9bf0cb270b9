"""The square of an image around one person, upright: what the pose landmark network reads.

The geometry is that of MediaPipe's own graphs (mediapipe/modules/pose_landmark, Apache-2.0:
`pose_detection_to_roi.pbtxt`, `pose_landmarks_to_roi.pbtxt`, `pose_landmark_by_roi_cpu.pbtxt`).
"""

import cv2
import numpy as np

from app.estimators.detectors.hand_crop import HandCrop

CROP_PX = 256
_WIDER = 1.25


def crop_of_points(centre_px: np.ndarray, around_px: np.ndarray) -> HandCrop:
    """The crop for the middle of the hips (2,) and a point (2,) above it, on the circle around the body."""
    towards = around_px - centre_px
    angle = float(np.arctan2(towards[1], towards[0]) + np.pi / 2)
    return HandCrop(centre_px, _WIDER * 2 * float(np.linalg.norm(towards)), angle)


def cut(crop: HandCrop, image_bgr: np.ndarray) -> np.ndarray:
    """The crop's picture (256, 256, 3), RGB; beyond the image its border goes on."""
    return cv2.cvtColor(crop.cut(image_bgr, CROP_PX, border=cv2.BORDER_REPLICATE), cv2.COLOR_BGR2RGB)
