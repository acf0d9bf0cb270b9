"""The 21 joints as bones, fingers and colours: wrist, then thumb to little finger, each from palm to tip."""

import numpy as np

from app.viewer import palette

FINGER_OF_JOINT = np.array([-1] + [finger for finger in range(5) for _ in range(4)])
"""Finger 0 (thumb) to 4 (little) of each joint; -1 is the wrist."""
FINGER_BONES = tuple((0 if joint % 4 == 1 else joint - 1, joint) for joint in range(1, 21))
PALM_BONES = ((5, 9), (9, 13), (13, 17))
BONES = np.array(FINGER_BONES + PALM_BONES)

RADIUS_OF_JOINT = np.array([0.118] + [0.088, 0.082, 0.074, 0.062] + [0.086, 0.074, 0.066, 0.056] * 4)
"""Radius of each joint's ball, as a share of the palm's length."""
TYPICAL_PALM_M = 0.09


def palm_length_m(joints_m: np.ndarray) -> float:
    """Wrist to the knuckle of the middle finger, metres, of joints (21, 3); typical where unknown or implausible."""
    length = float(np.linalg.norm(joints_m[9] - joints_m[0]))
    return length if 0.04 < length < 0.16 else TYPICAL_PALM_M


def joint_colours(hand: str) -> np.ndarray:
    """Colours (21, 3) of the joints: the hand's at the wrist, the finger's elsewhere."""
    colours = palette.FINGERS[FINGER_OF_JOINT]
    colours[0] = palette.HANDS[hand]
    return colours
