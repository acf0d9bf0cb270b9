"""Kinematics of the built-in right hand: 21 hinges from the wrist to the fingertips, and how long its bones are.

Hand frame: origin in the wrist joint, x towards the fingers, y towards the thumb, z out of the back of the hand.
Bone frame: origin in the bone's joint nearer the wrist, x along the bone, z out of its back; bending a joint turns its
bone about y. Angles of 0 are a flat hand with closed fingers.

Lengths of bones and their standard deviations: A. Buryanov and V. Kotiuk, "Proportions of Hand Segments",
Int. J. Morphol. 28(3), 2010; the soft tissue over the fingertips that they measured is added to the last bones.
Limits of the fingers: J. Lin, Y. Wu and T. S. Huang, "Modeling the constraints of human hand motion", 2000, with room
to extend beyond straight. Limits of the thumb's base: W. P. Cooney, M. J. Lucca, E. Y. S. Chao and R. L. Linscheid,
"The kinesiology of the thumb trapeziometacarpal joint", J. Bone Joint Surg. 63-A, 1981: 53 degrees of flexion, 42 of
abduction and 17 of axial rotation. The axial rotation follows the other two because their axes are oblique to the bone,
as A. Hollister et al. found in "The axes of rotation of the thumb carpometacarpal joint", J. Orthop. Res. 10, 1992.
"""

from typing import NamedTuple

import numpy as np

BONE_NAMES = (
    "palm",
    *("thumb_metacarpal", "thumb_proximal", "thumb_distal"),
    *(
        f"{finger}_{bone}"
        for finger in ("index", "middle", "ring", "little")
        for bone in ("proximal", "middle", "distal")
    ),
)
"""The 16 bones that carry skin: bone 1 + 3 f + k lies between the joints 1 + 4 f + k and 2 + 4 f + k."""
BONE_JOINTS = np.array([0] + [1 + 4 * finger + level for finger in range(5) for level in range(3)])
"""(16,): the joint in each bone's origin."""

ANGLE_NAMES = (
    "thumb_base_flexion",
    "thumb_base_abduction",
    "thumb_proximal_flexion",
    "thumb_proximal_abduction",
    "thumb_distal_flexion",
    *(
        f"{finger}_{angle}"
        for finger in ("index", "middle", "ring", "little")
        for angle in ("base_flexion", "base_abduction", "middle_flexion", "distal_flexion")
    ),
)
"""The 21 angles. Abduction is positive towards the thumb; the thumb's own is positive away from the palm."""
ANGLES = len(ANGLE_NAMES)

_FINGER_LIMITS_DEG = [(-25, 90), (-15, 15), (-5, 110), (-10, 90)]
LIMITS_RAD = np.deg2rad(
    np.array([(-20, 33), (-15, 27), (-10, 60), (-10, 10), (-15, 80), *_FINGER_LIMITS_DEG * 4], float)
)
"""(21, 2): smallest and largest value of each angle."""
REST_ANGLES_RAD = np.deg2rad([0.0, 5, 5, 0, 8, 0, 6, 0, 0, 0, 0, 0, 0, 0, -6, 0, 0, 0, -9, 0, 0])
"""(21,): the pose that the mesh is built in: fingers straight and slightly fanned, thumb relaxed."""

# Millimetres; rows: thumb, index, middle, ring, little. Columns: from the wrist to the first joint, then the three
# bones that bend. The first column is the metacarpal after about 25 mm of carpus; the thumb's metacarpal bends, and its
# first joint lies at the wrist's edge.
_MEAN_MM = np.array(
    [
        [33.0, 46.22, 31.57, 21.67 + 5.67],
        [25 + 68.12, 39.78, 22.38, 15.82 + 3.84],
        [25 + 64.60, 44.63, 26.33, 17.40 + 3.95],
        [25 + 58.00, 41.37, 25.65, 17.30 + 3.95],
        [25 + 53.69, 32.74, 18.11, 15.96 + 3.73],
    ]
)
_SPREAD_MM = np.array(
    [
        [2.7, 3.94, 3.13, 1.60],
        [6.27, 4.94, 2.51, 2.26],
        [5.38, 3.81, 3.00, 1.85],
        [5.06, 3.87, 3.29, 2.22],
        [4.36, 2.77, 2.54, 2.45],
    ]
)
MEAN_BONE_LENGTHS_M = _MEAN_MM.ravel() / 1000
"""(20,): mean lengths in the order of calibration.hand.BONES."""
BONE_LENGTHS_SD_M = _SPREAD_MM.ravel() / 1000
"""(20,): standard deviations of the lengths over people."""

# Where the first joints lie: directions fanned out over an arched palm.
_FAN_RAD = np.deg2rad([48.0, 15.0, 1.0, -14.0, -28.0])
FIRST_JOINT_DIRECTIONS = np.stack(
    [np.cos(_FAN_RAD), np.sin(_FAN_RAD), np.array([-0.25, 0.0, 0.03, 0.0, -0.06])], axis=1
)
"""(5, 3): unit vectors from the wrist to each finger's first joint, in the hand frame."""
FIRST_JOINT_DIRECTIONS /= np.linalg.norm(FIRST_JOINT_DIRECTIONS, axis=1, keepdims=True)


def _thumb_frame() -> np.ndarray:
    """Axes (3, 3) of the thumb's metacarpal at angles of 0: 42 degrees away from x and 18 towards the palm."""
    across, down = np.deg2rad([42.0, 18.0])
    x = np.array([np.cos(down) * np.cos(across), np.cos(down) * np.sin(across), -np.sin(down)])
    z = -np.array([0.25, -0.85, -0.45])
    z -= (z @ x) * x
    z /= np.linalg.norm(z)
    return np.stack([x, np.cross(z, x), z], axis=1)


def _finger_frame(yaw_deg: float, roll_deg: float) -> np.ndarray:
    """Axes (3, 3) of a finger's first bone at angles of 0: turned in the palm, then about itself, along the arch."""
    cy, sy, cr, sr = (f(np.deg2rad(a)) for a in (yaw_deg, roll_deg) for f in (np.cos, np.sin))
    return np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])


FINGER_FRAMES = np.stack(
    [_thumb_frame(), *(_finger_frame(yaw, roll) for yaw, roll in ((4, -8), (0.5, 0), (-4, 8), (-10, 16)))]
)
"""(5, 3, 3): axes of each finger's first bone at angles of 0, as columns in the hand frame."""

# A hinge for each finger, bone and of first flexion, then abduction; those that bend nothing keep an angle of 0.
HINGE_AXES = np.zeros((5, 3, 2, 3))
HINGE_AXES[:, :, 0, 1] = HINGE_AXES[:, :, 1, 2] = 1
HINGE_AXES[0, 0] = [[-0.30, 1, 0], [-0.25, 0, 1]]
HINGE_AXES /= np.linalg.norm(HINGE_AXES, axis=-1, keepdims=True)
HINGE_SLOTS = np.array([0, 1, 2, 3, 4] + [6 * finger + slot for finger in range(1, 5) for slot in (0, 1, 2, 4)])


# Column j of the matrix of a cross product is axis x e_j.
HINGE_SINE = np.cross(HINGE_AXES[..., None, :], np.eye(3)).swapaxes(-1, -2)
HINGE_COSINE = HINGE_SINE @ HINGE_SINE


def hinge_rotations(slots_rad: np.ndarray, sine: np.ndarray, cosine: np.ndarray) -> np.ndarray:
    """Rotations (..., 3, 3) of bones against the bones before them, for the angles (..., 2) of their two hinges.

    The formula of O. Rodrigues, R = I + sin(a) K + (1 - cos(a)) K^2, with K and K^2 of both hinges given.
    """
    slots = slots_rad[..., None, None]
    turns = np.eye(3) + np.sin(slots) * sine + (1 - np.cos(slots)) * cosine
    return turns[..., 0, :, :] @ turns[..., 1, :, :]


class Chain(NamedTuple):
    """A posed skeleton in the hand frame."""

    rotations: np.ndarray
    """(..., 5, 3, 3, 3): axes of each finger's three bones, as columns."""
    joints_m: np.ndarray
    """(..., 21, 3)"""


def chain(angles_rad: np.ndarray, bone_lengths_m: np.ndarray) -> Chain:
    """The skeleton at angles (..., 21) with bone lengths (..., 20)."""
    angles_rad = np.asarray(angles_rad, np.float64)
    lead = angles_rad.shape[:-1]
    slots = np.zeros((*lead, 30))
    slots[..., HINGE_SLOTS] = angles_rad
    local = hinge_rotations(slots.reshape(*lead, 5, 3, 2), HINGE_SINE, HINGE_COSINE)
    rotations = np.empty((*lead, 5, 3, 3, 3))
    rotations[..., 0, :, :] = FINGER_FRAMES @ local[..., 0, :, :]
    rotations[..., 1, :, :] = rotations[..., 0, :, :] @ local[..., 1, :, :]
    rotations[..., 2, :, :] = rotations[..., 1, :, :] @ local[..., 2, :, :]

    lengths = np.asarray(bone_lengths_m, np.float64)
    lengths = lengths.reshape(*lengths.shape[:-1], 5, 4, 1)
    bones = np.empty((*lead, 5, 4, 3))
    bones[..., 0, :] = FIRST_JOINT_DIRECTIONS
    bones[..., 1:, :] = rotations[..., 0]
    joints = np.zeros((*lead, 21, 3))
    joints[..., 1:, :] = np.cumsum(bones * lengths, axis=-2).reshape(*lead, 20, 3)
    return Chain(rotations, joints)


def bone_transforms(angles_rad: np.ndarray, bone_lengths_m: np.ndarray) -> np.ndarray:
    """T_hand_bone (..., 16, 4, 4) of all bones at angles (..., 21) with bone lengths (..., 20); the palm's is one."""
    return transforms_of(chain(angles_rad, bone_lengths_m))


def transforms_of(posed: Chain) -> np.ndarray:
    """T_hand_bone (..., 16, 4, 4) of a posed skeleton's bones."""
    lead = posed.joints_m.shape[:-2]
    transforms = np.zeros((*lead, 16, 4, 4))
    transforms[..., 0, :3, :3] = np.eye(3)
    transforms[..., 1:, :3, :3] = posed.rotations.reshape(*lead, 15, 3, 3)
    transforms[..., :3, 3] = posed.joints_m[..., BONE_JOINTS, :]
    transforms[..., 3, 3] = 1
    return transforms


def hinge_axes(rotations: np.ndarray) -> np.ndarray:
    """Axes (21, 3) of all hinges in the hand frame, of a posed skeleton's rotations (5, 3, 3, 3).

    Turning angle i by a small d moves what hangs on its joint p by d * cross(axis_i, x - p); the joints are
    calibration's 1 + 4 f + k of the finger and bone.
    """
    axes = np.empty((5, 3, 2, 3))
    axes[:, 0, 0] = (FINGER_FRAMES @ HINGE_AXES[:, 0, 0, :, None])[..., 0]
    axes[:, 1:, 0] = (rotations[:, :2] @ HINGE_AXES[:, 1:, 0, :, None])[..., 0]
    # The second hinge's axis stays where it is as that hinge turns, so the bone's own frame holds it too.
    axes[:, :, 1] = (rotations @ HINGE_AXES[:, :, 1, :, None])[..., 0]
    return axes.reshape(30, 3)[HINGE_SLOTS]


HINGE_JOINTS = np.array([1 + 4 * (slot // 6) + slot % 6 // 2 for slot in HINGE_SLOTS])
"""(21,): the joint that each hinge lies in."""

REST_JOINTS_M = chain(REST_ANGLES_RAD, MEAN_BONE_LENGTHS_M).joints_m
"""(21, 3): where a mean hand's joints lie in the rest pose, in the hand frame."""
