"""Upright crops, as MediaPipe's landmark network expects its hands: the middle finger's base straight above the wrist.

The square is that of MediaPipe's tracker (mediapipe/modules/hand_landmark/hand_landmark_landmarks_to_roi.pbtxt and
hand_landmarks_to_rect_calculator.cc, Apache-2.0): it is turned by the direction from the wrist to the knuckles, its
side is twice the larger extent of the palm and the fingers' first bones, its centre lies a tenth of their height above
theirs.
"""

from typing import NamedTuple

import numpy as np

from calibration.rig import RigCamera
from models.hand.crop import Crop, make_crop

PALM = [0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18]
"""The keypoints that the square is laid around."""

_PLAIN_HALF_WIDTH_M = 0.15
_LEAST_SIDE_PX = 1.0
_NEAREST_JOINT_M = 0.01


class Square(NamedTuple):
    """Centre (2,), side, and `angle_rad` that turns the square's axes to the image's."""

    centre_px: np.ndarray
    side_px: float
    angle_rad: float


def square_around(keypoints_px: np.ndarray) -> Square:
    """The square around keypoints (21, 2), in their unit."""
    towards = (keypoints_px[5] + keypoints_px[13] + 2 * keypoints_px[9]) / 4 - keypoints_px[0]
    angle_rad = float(np.arctan2(towards[1], towards[0]) + np.pi / 2)
    turn = np.array([[np.cos(angle_rad), -np.sin(angle_rad)], [np.sin(angle_rad), np.cos(angle_rad)]])
    palm = keypoints_px[PALM] @ turn
    low, high = palm.min(0), palm.max(0)
    centre_px = turn @ ((low + high) / 2 - [0, 0.1 * (high - low)[1]])
    return Square(centre_px, max(2.0 * float((high - low).max()), _LEAST_SIDE_PX), angle_rad)


def is_in_front(camera: RigCamera, target_world_m: np.ndarray, joints_world_m: np.ndarray) -> bool:
    """Whether a camera that turns towards the target (3,) has all joints (21, 3) before it."""
    towards = target_world_m - camera.centre_world_m
    along_m = (joints_world_m - camera.centre_world_m) @ (towards / np.linalg.norm(towards))
    return bool(along_m.min() > _NEAREST_JOINT_M)


def make_upright_crop(
    camera: RigCamera,
    target_world_m: np.ndarray,
    joints_world_m: np.ndarray,
    size_px: int,
    mirror: bool = False,
    margin: float = 1.0,
) -> Crop:
    """The crop that shows `margin` times the square around the joints (21, 3), with its zero at the target (3,).

    Raises ValueError where the target or a joint is not in front of the camera, see `is_in_front`.
    """
    plain = make_crop(camera, target_world_m, _PLAIN_HALF_WIDTH_M, size_px)
    keypoints_px = plain.project(joints_world_m - target_world_m)
    if not np.isfinite(keypoints_px).all():
        raise ValueError(f"camera `{camera.camera_id}`: a joint is not in front of it")
    square = square_around(keypoints_px)
    scale = size_px / (margin * square.side_px)
    cos, sin = np.cos(square.angle_rad), np.sin(square.angle_rad)
    offset_px = -scale * np.array([[cos, sin], [-sin, cos]]) @ (square.centre_px - (size_px - 1) / 2)
    offset = (float(offset_px[0] / size_px), float(offset_px[1] / size_px))
    return make_crop(camera, target_world_m, _PLAIN_HALF_WIDTH_M, size_px, mirror, -square.angle_rad, scale, offset)
