"""How forearm and upper arm are turned, of a hand whose wrist's angles, elbow and shoulder are known.

All turns are since the T-pose: the arm straight and in line with the hand, the palm down, the elbow so that it bends
towards the thumb's side, which has the forearm halfway between pronation and supination. There all are the identity.

The forearm has the hand's turn without the wrist's flexion and deviation, so that pronation is its own. The upper arm's
turn about itself follows from the elbow, which is a hinge: its axis is at right angles to both bones. A straight elbow
does not tell it. There the forearm is taken as halfway between pronation and supination, and in between as much so as
the elbow is straight.
"""

import numpy as np

from calibration.hand import Side
from models.hand.builtin import mirror_of, mirrored
from models.hand.skeleton import FIRST_JOINT_DIRECTIONS
from models.hand.wrist_angles import ISB_AXES

TOLD_FROM_RAD = np.deg2rad(15.0)
"""An elbow that is bent by less says little of its axis: 25 mm beside a forearm of 260 are 6 degrees."""


def arm_direction(side: Side) -> np.ndarray:
    """(3,): where the arm points in the T-pose, from shoulder to wrist: a unit vector in the hand's frame."""
    return FIRST_JOINT_DIRECTIONS[2] * mirror_of(side)


def forearm_turn(R_world_hand: np.ndarray, wrist_rad: np.ndarray, side: Side) -> np.ndarray:
    """(..., 3, 3) in the world, of a hand's (..., 3, 3) and its wrist's angles (..., 2) of models.hand.wrist_angles.

    The hand is turned against the forearm by R_Z(flexion) R_X(deviation) in ISB's axes.
    """
    flexion, deviation = np.moveaxis(np.asarray(wrist_rad, np.float64), -1, 0)
    one, none = np.ones_like(flexion), np.zeros_like(flexion)
    cos, sin = np.cos(flexion), np.sin(flexion)
    about_z = _matrix((cos, -sin, none), (sin, cos, none), (none, none, one))
    cos, sin = np.cos(deviation), np.sin(deviation)
    about_x = _matrix((one, none, none), (none, cos, -sin), (none, sin, cos))
    R_forearm_hand = ISB_AXES.T @ about_z @ about_x @ ISB_AXES
    return R_world_hand @ mirrored(R_forearm_hand, side).swapaxes(-1, -2)


def upper_arm_turn(R_world_forearm: np.ndarray, upper_arm_m: np.ndarray, side: Side) -> np.ndarray:
    """(..., 3, 3) in the world, of the forearm's (..., 3, 3) and the line (..., 3) from shoulder to elbow."""
    forearm = mirrored(R_world_forearm, side) @ ISB_AXES.T
    upper = upper_arm_m * mirror_of(side)
    upper = upper / np.linalg.norm(upper, axis=-1, keepdims=True)
    back, along, thumb = -forearm[..., 0], -forearm[..., 1], forearm[..., 2]
    axis = np.cross(upper, along)
    pronation = np.arctan2(_dot(axis, thumb), _dot(axis, back))
    pronation = pronation * np.minimum(np.sqrt(_dot(axis, axis)) / np.sin(TOLD_FROM_RAD), 1)
    axis = np.cos(pronation) * back + np.sin(pronation) * thumb
    axis = axis - _dot(axis, upper) * upper
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    turned = np.stack([-axis, -upper, np.cross(axis, upper)], axis=-1)
    return mirrored(turned @ ISB_AXES, side)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(..., 1)"""
    return np.sum(a * b, axis=-1, keepdims=True)


def _matrix(*rows: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    """(..., 3, 3)"""
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
