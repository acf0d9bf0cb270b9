"""The wrist's flexion and deviation, of a fitted hand whose elbow is known, and how sure they are.

G. Wu et al., "ISB recommendation on definitions of joint coordinate systems of various joints for the reporting of
human joint motion, part II: shoulder, elbow, wrist and hand", J. Biomech. 38(5), 2005, section 4: the third metacarpal
against the radius by the Cardan angles Z-X'-Y''; flexion about Z, positive to the palm; deviation about X', positive to
the little finger's side (ulnar). Both hands have the same signs. Zero is a hand in line with its forearm.

The forearm is the line from the wrist joint to the elbow's middle. How far it is turned about itself cannot be seen by
that, so the third angle, about Y'', is taken as 0, which a wrist hardly has: pronation is the forearm's own. The
metacarpal is the line from the wrist joint to the middle finger's base.
"""

import numpy as np

from calibration.hand import Side
from models.hand.builtin import mirror_of, mirrored
from models.hand.fit import CROSS, STEP_M
from models.hand.skeleton import FIRST_JOINT_DIRECTIONS

WRIST_ANGLE_NAMES = ("wrist_flexion", "wrist_deviation")
_STEP = 1e-5


def _isb_axes() -> np.ndarray:
    """ISB's axes X, Y and Z of the third metacarpal as rows in the hand frame of models.hand.skeleton."""
    y = -FIRST_JOINT_DIRECTIONS[2]
    x = np.array([0.0, 0.0, -1.0])
    x -= (x @ y) * y
    x /= np.linalg.norm(x)
    return np.stack([x, y, np.cross(x, y)])


ISB_AXES = _isb_axes()
"""(3, 3): X, Y and Z of the third metacarpal as rows in the hand frame of a right hand."""


def wrist_angles(T_world_hand: np.ndarray, elbow_world_m: np.ndarray, side: Side) -> np.ndarray:
    """Flexion and deviation (..., 2) in radians, of fitted hands (..., 4, 4) with their elbows (..., 3).

    With R = R_Z(flexion) R_X(deviation) the forearm's axis Y is (sin f, cos f cos d, -cos f sin d) in the hand's axes.
    """
    T = mirrored(np.asarray(T_world_hand, np.float64), side)
    elbow_m = np.asarray(elbow_world_m, np.float64) * mirror_of(side)
    return _angles(T[..., :3, :3], T[..., :3, 3], elbow_m)


def _angles(R: np.ndarray, wrist_m: np.ndarray, elbow_m: np.ndarray) -> np.ndarray:
    forearm = elbow_m - wrist_m
    x, y, z = np.moveaxis(np.einsum("ij,...kj,...k->...i", ISB_AXES, R, forearm), -1, 0)
    return np.stack([np.arctan2(x, np.hypot(y, z)), np.arctan2(-z, y)], axis=-1)


def wrist_angles_covariance(
    T_world_hand: np.ndarray,
    elbow_world_m: np.ndarray,
    side: Side,
    pose_covariance: np.ndarray,
    elbow_covariance_m2: np.ndarray,
) -> np.ndarray:
    """Covariance (2, 2) in square radians, to first order, from that of the hand's pose (27, 27), as of
    models.hand.joint_angles.pose_covariance, and of the elbow (3, 3), taken as independent of it."""
    mirror = mirror_of(side)
    T, elbow_m = mirrored(T_world_hand, side), elbow_world_m * mirror
    steps = _STEP * np.eye(9)
    steps = np.stack([-steps, steps])
    turned = (np.eye(3) + (steps[..., :3] @ CROSS).reshape(2, 9, 3, 3)) @ T[:3, :3]
    moved = _angles(turned, T[:3, 3] + STEP_M * steps[..., 3:6], elbow_m + steps[..., 6:])
    jacobian = ((moved[1] - moved[0]) / (2 * _STEP)).T
    covariance = np.zeros((9, 9))
    covariance[:6, :6] = pose_covariance[:6, :6]
    covariance[6:, 6:] = elbow_covariance_m2 * np.outer(mirror, mirror)
    return jacobian @ covariance @ jacobian.T
