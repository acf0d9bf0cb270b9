"""The 21 joints of a hand: order, names and bones.

Wrist, then thumb, index, middle, ring and little finger, each from palm to tip: the order of OpenPose, MediaPipe and
HanCo.
"""

from typing import Literal

import numpy as np

Side = Literal["left", "right"]
Definition = Literal["anatomical", "detector"]
"""Where each of the 21 points lies: at the bones' ends and the fingertips' skin, as of the simulated hands, or where
MediaPipe's landmark network puts it, some millimetres away."""

JOINTS = 21
FINGERS = ("thumb", "index", "middle", "ring", "little")
FINGER_JOINTS = tuple(tuple(range(1 + 4 * finger, 5 + 4 * finger)) for finger in range(5))
_KNUCKLES = {"thumb": ("CMC", "MCP", "IP", "tip")}
JOINT_NAMES = (
    "wrist",
    *(f"{finger} {name}" for finger in FINGERS for name in _KNUCKLES.get(finger, ("MCP", "PIP", "DIP", "tip"))),
)
BONES = np.array([(0 if joint % 4 == 1 else joint - 1, joint) for joint in range(1, JOINTS)])
"""(20, 2): parent and child joint of each bone."""


def bone_lengths(joints_m: np.ndarray) -> np.ndarray:
    """Lengths (..., 20) of the bones of joints (..., 21, 3), in the joints' unit."""
    return np.linalg.norm(joints_m[..., BONES[:, 1], :] - joints_m[..., BONES[:, 0], :], axis=-1)


def hand_size_px(keypoints_px: np.ndarray) -> np.ndarray:
    """Size (...) of hands in the image: the root mean square spread of their keypoints (..., 21, 2), times two."""
    return 2 * np.sqrt(keypoints_px.var(axis=-2).sum(-1))
