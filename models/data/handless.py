"""Crops in which there is no hand, or only a part of one, made from crops of hands: something lies before it."""

import cv2
import numpy as np

from models.simulation.backgrounds import random_background

_FLESH = 0.11
"""How far a hand's outline reaches beyond its keypoints, a share of the crop's side."""
_PART_RATE = 0.4
_PART_JOINTS = 5


def without_hand(crop_rgb: np.ndarray, keypoints_px: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The crop (S, S, 3) uint8 with its hand, of keypoints (n, 2), behind a piece of a made-up picture.

    Forearm and background stay to be seen; in some crops, a part of the hand does: the few joints around one of them.
    """
    side, covered = crop_rgb.shape[0], keypoints_px
    if random.random() < _PART_RATE:
        middle_px = keypoints_px[random.integers(len(keypoints_px))]
        near = np.linalg.norm(keypoints_px - middle_px, axis=1).argsort()
        covered = keypoints_px[near[_PART_JOINTS:]]
    mask = np.zeros((side, side), np.uint8)
    hull = cv2.convexHull(np.rint(np.clip(covered, -side, 2 * side)).astype(np.int32))
    cv2.fillConvexPoly(mask, hull, (255,))
    cv2.polylines(mask, [hull], True, (255,), max(2 * round(_FLESH * side), 1))
    share = cv2.GaussianBlur(mask, (0, 0), 0.01 * side).astype(np.float32)[..., None] / 255
    picture = cv2.resize(random_background(random), (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
    return (crop_rgb + share * (picture - crop_rgb)).astype(np.uint8)
