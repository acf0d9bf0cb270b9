"""Hands that are hidden: what is covered, and what stays to be seen."""

import cv2
import numpy as np

from models.data.handless import without_hand
from models.hand.skeleton import MEAN_BONE_LENGTHS_M, REST_ANGLES_RAD, chain

SIDE = 224


def test_the_hand_is_covered_and_the_rest_stays():
    random = np.random.default_rng(3)
    keypoints_px = 1e3 * chain(REST_ANGLES_RAD, MEAN_BONE_LENGTHS_M).joints_m[:, :2] + [20, 112]
    crop = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    hull = cv2.convexHull(keypoints_px.astype(np.float32))
    inside = cv2.fillConvexPoly(np.zeros((SIDE, SIDE), np.uint8), np.rint(hull).astype(np.int32), (1,)) > 0
    left = []
    for seed in range(20):
        hidden = without_hand(crop, keypoints_px, np.random.default_rng(seed))
        assert hidden.shape == crop.shape and hidden.dtype == np.uint8
        same = (hidden == crop).all(-1)
        assert same[:10].all()  # the border is far from the hand
        left.append(same[inside].mean())
    # In some crops a part of the hand stays, in the others nothing but what is alike by chance.
    assert np.min(left) < 0.01
    assert 0.02 < np.max(left) < 0.6
