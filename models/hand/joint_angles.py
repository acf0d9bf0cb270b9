"""A fitted hand's joint angles as the International Society of Biomechanics recommends them, and how sure they are.

G. Wu et al., "ISB recommendation on definitions of joint coordinate systems of various joints for the reporting of
human joint motion, part II: shoulder, elbow, wrist and hand", J. Biomech. 38(5), 2005, section 4. Each bone has X to
the palm's side, Y towards the wrist and Z towards the thumb's side (of a left hand, of its mirror image). A bone
against the bone before it is turned by the Cardan angles Z-X'-Y'': flexion about Z, positive to the palm; abduction
about X', positive to the little finger's side (ulnar deviation, adduction of the index finger and the thumb); rotation
about Y'', positive in the direction of pronation. Both hands have the same signs. Zero is the flat hand with closed
fingers.

Named are the angles that the built-in hand has; the others are 0 by its build.
"""

from typing import Literal, NamedTuple

import numpy as np

from calibration.hand import FINGERS, JOINT_NAMES, Side
from models.hand import skeleton
from models.hand.angle_prior import AnglePrior
from models.hand.builtin import mirror_of, mirrored
from models.hand.fit import PoseFit, joint_jacobian, whitened_jacobian, whitening

Turn = Literal["flexion", "abduction", "rotation"]
TURNS: tuple[Turn, ...] = ("flexion", "abduction", "rotation")


class JointAngle(NamedTuple):
    """One angle: of which joint (a number of calibration.hand), and which of its three turns."""

    joint: int
    turn: Turn

    @property
    def name(self) -> str:
        """Such as "index_MCP_flexion"."""
        return f"{JOINT_NAMES[self.joint].replace(' ', '_')}_{self.turn}"


def _angles_of(finger: int) -> list[JointAngle]:
    base = 1 + 4 * finger
    turns = (TURNS, TURNS[:2], TURNS[:1]) if FINGERS[finger] == "thumb" else (TURNS[:2], TURNS[:1], TURNS[:1])
    return [JointAngle(base + level, turn) for level in range(3) for turn in turns[level]]


JOINT_ANGLES: tuple[JointAngle, ...] = tuple(angle for finger in range(5) for angle in _angles_of(finger))
"""The 22 angles of a hand: from thumb to little finger, each from palm to tip."""
JOINT_ANGLE_NAMES = tuple(angle.name for angle in JOINT_ANGLES)
_FINGER = np.array([(angle.joint - 1) // 4 for angle in JOINT_ANGLES])
_LEVEL = np.array([(angle.joint - 1) % 4 for angle in JOINT_ANGLES])
_TURN = np.array([TURNS.index(angle.turn) for angle in JOINT_ANGLES])
_STEP_RAD = 1e-5
_DEGREES_OF_FREEDOM = 63 - 27


def joint_angles(hinges_rad: np.ndarray) -> np.ndarray:
    """Angles (..., 22) in radians, in the order of JOINT_ANGLES, of the skeleton's hinges (..., 21), as of PoseFit."""
    hinges_rad = np.asarray(hinges_rad, np.float64)
    slots = np.zeros((*hinges_rad.shape[:-1], 30))
    slots[..., skeleton.HINGE_SLOTS] = hinges_rad
    slots = slots.reshape(*hinges_rad.shape[:-1], 5, 3, 2)
    turned = cardan_angles(skeleton.hinge_rotations(slots, skeleton.HINGE_SINE, skeleton.HINGE_COSINE))
    return turned[..., _FINGER, _LEVEL, _TURN]


def cardan_angles(R_parent_bone: np.ndarray) -> np.ndarray:
    """Flexion, abduction and rotation (..., 3) in radians of a bone against the bone before it, (..., 3, 3).

    Both in the axes of models.hand.skeleton of a right hand, x along the bone, y towards the thumb and z out of the
    back, which are ISB's -Y, Z and -X: R = R_y(flexion) R_-z(abduction) R_-x(rotation).
    """
    R = R_parent_bone
    flexion = np.arctan2(-R[..., 2, 0], R[..., 0, 0])
    abduction = -np.arcsin(np.clip(R[..., 1, 0], -1, 1))
    rotation = np.arctan2(R[..., 1, 2], R[..., 1, 1])
    return np.stack([flexion, abduction, rotation], axis=-1)


def joint_angles_covariance(
    fit: PoseFit,
    joints_world_m: np.ndarray,
    bone_lengths_m: np.ndarray,
    side: Side,
    covariance_m2: np.ndarray,
    prior: AnglePrior | None = None,
) -> np.ndarray | None:
    """Covariance (22, 22) in square radians of a fit's joint angles, as of `pose_covariance`."""
    covariance = pose_covariance(fit, joints_world_m, bone_lengths_m, side, covariance_m2, prior)
    return None if covariance is None else covariance_of_angles(fit.angles_rad, covariance)


def covariance_of_angles(hinges_rad: np.ndarray, pose_covariance: np.ndarray) -> np.ndarray:
    """That of the joint angles (22, 22) of hinges (21,), from that of their pose (27, 27)."""
    turns = _joint_angles_jacobian(hinges_rad)
    return turns @ pose_covariance[6:, 6:] @ turns.T


def pose_covariance(
    fit: PoseFit,
    joints_world_m: np.ndarray,
    bone_lengths_m: np.ndarray,
    side: Side,
    covariance_m2: np.ndarray,
    prior: AnglePrior | None = None,
) -> np.ndarray | None:
    """Covariance (27, 27) of a fit's pose, from that of the joints that it was fitted to, in the world's mirror image
    (y negated) for a left hand: of its turn about the wrist (radians), shift (STEP_M) and hinges (square radians).

    Joints (21, 3) and their covariance (21, 3, 3), whose errors are taken as independent of one another; the bones'
    lengths are taken as known. To first order, an estimate with weights W^T W has the covariance G S G^T, with
    G = (J^T W^T W J)^-1 J^T W^T W of the fit's Jacobian J (A. C. Aitken, "On least squares and linear combination of
    observations", 1935). S is scaled by how far the joints lie from the fitted hand for what S says: by the weighted
    residuals' mean square over the 36 degrees of freedom, and half of the way, since S itself is as much evidence (the
    variance of a normal distribution with a prior: A. Gelman et al., "Bayesian Data Analysis", section 2.6). An angle
    at its limit has the deviation that it would have without. None where the covariance is not finite.
    """
    covariance = np.asarray(covariance_m2, np.float64)
    whiten = whitening(covariance)
    if whiten is None:
        return None
    mirror = mirror_of(side)
    T = mirrored(fit.T_world_hand, side)
    posed = skeleton.chain(fit.angles_rad, bone_lengths_m)
    jacobian = joint_jacobian(posed.rotations, T[:3, :3], posed.joints_m @ T[:3, :3].T)
    gains = np.linalg.pinv(whitened_jacobian((whiten * mirror) @ jacobian, prior))
    gain, of_prior = gains[:, :63].reshape(27, 21, 3), gains[:, 63:]
    # Of the whitened joints: one where no deviation was held between the fit's bounds.
    left = whiten @ covariance @ whiten.swapaxes(1, 2)
    spread = np.einsum("ajc,jcd,bjd->ab", gain, left, gain)
    residuals = (whiten @ (joints_world_m - fit.joints_world_m)[..., None]).ravel()
    scale = (1 + residuals @ residuals / _DEGREES_OF_FREEDOM) / 2
    return spread * scale + of_prior @ of_prior.T


def _joint_angles_jacobian(hinges_rad: np.ndarray) -> np.ndarray:
    """(22, 21): derivatives of joint_angles by the hinges (21,), by central differences."""
    steps = _STEP_RAD * np.eye(skeleton.ANGLES)
    return ((joint_angles(hinges_rad + steps) - joint_angles(hinges_rad - steps)) / (2 * _STEP_RAD)).T
