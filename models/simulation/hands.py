"""Two simulated hands: forward kinematics of a 21-joint skeleton through a smooth, endless motion.

Bone lengths are the means of A. Buryanov and V. Kotiuk, "Proportions of Hand Segments", Int. J. Morphol. 28(3), 2010;
the soft tissue over the fingertips that they measured is added to the last bones. Joint angles stay within the active
ranges of J. Lin, Y. Wu and T. S. Huang, "Modeling the constraints of human hand motion", 2000: flexion of 0 to 90, 110
and 90 degrees at the three joints of a finger and 15 degrees of abduction to either side, with the last joint at two
thirds of the middle one.

Axes of the right hand: x from the wrist towards the fingers, y towards the thumb, z out of the back of the hand.
"""

from typing import Literal

import numpy as np

Side = Literal["left", "right"]

CENTRE_WORLD_M = np.array([0.0, 0.0, 0.2])

# Rows: thumb, index, middle, ring, little. Columns: the three bones that flex, from palm to tip.
BONES_M = np.array(
    [
        [0.04622, 0.03157, 0.02167 + 0.00567],
        [0.03978, 0.02238, 0.01582 + 0.00384],
        [0.04463, 0.02633, 0.01740 + 0.00395],
        [0.04137, 0.02565, 0.01730 + 0.00395],
        [0.03274, 0.01811, 0.01596 + 0.00373],
    ]
)
# From the wrist to each finger's first joint: the thumb's lies at the wrist's edge; the others add the metacarpal
# (68.1, 64.6, 58.0 and 53.7 mm) to about 25 mm of carpus, fanned out over the palm.
_FIRST_LENGTHS_M = np.array([0.032, 0.0931, 0.0896, 0.0830, 0.0787])
_FIRST_FAN_RAD = np.deg2rad([48.0, 15.0, 1.0, -14.0, -28.0])
FIRST_JOINTS_M = _FIRST_LENGTHS_M[:, None] * np.stack(
    [np.cos(_FIRST_FAN_RAD), np.sin(_FIRST_FAN_RAD), np.array([-0.25, 0.0, 0.03, 0.0, -0.06])], axis=1
)

_LEFT_PHASE_S = 3.7
_WRIST_WORLD_M = np.array([0.105, -0.075, 0.185])
_FINGERS = np.arange(4)
# Degrees: the thumb's metacarpal away from x towards y, and towards the palm, then the three bones' flexion. In the
# pinch the thumb's tip meets the index finger's, in the fist it lies before the fingers' first bones.
_THUMB_REST, _THUMB_FIST, _THUMB_PINCH = (
    np.deg2rad(angles) for angles in ([42, 18, 6, 8, 10], [25.7, 14.2, 9.3, 27.3, 36.0], [35.2, 27.6, 5.5, 28.2, 34.9])
)
_PINCH_FIRST_RAD, _PINCH_MIDDLE_RAD = np.deg2rad(50), np.deg2rad(55)


def hands_at(time_s: float) -> dict[Side, np.ndarray]:
    """Joints (21, 3) of both hands in world metres (z up) at a time in seconds; a pure, smooth function of time.

    Order: wrist, then thumb, index, middle, ring and little finger, each from palm to tip. All joints stay within
    0.25 m of CENTRE_WORLD_M. The left hand does what the mirrored right hand does at another time.
    """
    left = _right_hand(time_s + _LEFT_PHASE_S)
    left[:, 0] *= -1
    return {"left": left, "right": _right_hand(time_s)}


def flexion_rad(time_s: float) -> np.ndarray:
    """Angles (5, 3) of the right hand's joints at a time in seconds: thumb first, from palm to tip, 0 is straight."""
    wave = 0.5 + 0.5 * np.sin(2.1 * time_s - 0.6 * _FINGERS)
    fist = _pulse(time_s, 9.0, 0.0)
    pinch = _pulse(time_s, 9.0, 4.5)
    first = np.deg2rad(8 + 22 * wave + 45 * fist)
    middle = np.deg2rad(10 + 28 * wave + 48 * fist)
    first[0] += pinch * (_PINCH_FIRST_RAD - first[0])
    middle[0] += pinch * (_PINCH_MIDDLE_RAD - middle[0])
    angles = np.empty((5, 3))
    angles[0] = _thumb_rad(fist, pinch)[2:]
    angles[1:, 0], angles[1:, 1], angles[1:, 2] = first, middle, middle * 2 / 3
    return angles


def abduction_rad(time_s: float) -> np.ndarray:
    """Angles (4,) of the right hand's fingers at a time in seconds: index first, positive towards the thumb."""
    spread = (0.5 + 0.5 * np.sin(0.9 * time_s)) * (1 - _pulse(time_s, 9.0, 0.0))
    angles = np.array([9.0, 2.0, -5.0, -11.0]) * spread
    angles[0] += _pulse(time_s, 9.0, 4.5) * (3.0 - angles[0])
    return np.deg2rad(angles)


def _pulse(time_s: float, period_s: float, start_s: float) -> float:
    """A smooth rise to 1 and back once in a period."""
    return float(0.5 - 0.5 * np.cos(2 * np.pi * (time_s - start_s) / period_s)) ** 4


def _thumb_rad(fist: float, pinch: float) -> np.ndarray:
    return _THUMB_REST + fist * (_THUMB_FIST - _THUMB_REST) + pinch * (_THUMB_PINCH - _THUMB_REST)


def _right_hand(time_s: float) -> np.ndarray:
    fist, pinch = _pulse(time_s, 9.0, 0.0), _pulse(time_s, 9.0, 4.5)
    across, down = _thumb_rad(fist, pinch)[:2]
    thumb = np.array([np.cos(down) * np.cos(across), np.cos(down) * np.sin(across), -np.sin(down)])
    bend = np.array([0.25, -0.85, -0.45])
    bend -= (bend @ thumb) * thumb
    straight, curl = np.zeros((5, 3)), np.zeros((5, 3))
    straight[0], curl[0] = thumb, bend / np.linalg.norm(bend)
    spread = abduction_rad(time_s)
    straight[1:, 0], straight[1:, 1] = np.cos(spread), np.sin(spread)
    curl[1:, 2] = -1.0

    angles = np.cumsum(flexion_rad(time_s), axis=1)
    bones = np.cos(angles)[..., None] * straight[:, None] + np.sin(angles)[..., None] * curl[:, None]
    joints = np.zeros((21, 3))
    fingers = joints[1:].reshape(5, 4, 3)
    fingers[:, 0] = FIRST_JOINTS_M
    fingers[:, 1:] = FIRST_JOINTS_M[:, None] + np.cumsum(bones * BONES_M[..., None], axis=1)
    return joints @ _hand_rotation(time_s).T + _wrist_world_m(time_s)


def _wrist_world_m(time_s: float) -> np.ndarray:
    sway = np.array(
        [0.022 * np.sin(0.70 * time_s), 0.025 * np.sin(0.53 * time_s + 1), 0.028 * np.sin(0.91 * time_s + 2)]
    )
    return _WRIST_WORLD_M + sway


def _hand_rotation(time_s: float) -> np.ndarray:
    """Right-hand axes to world: fingers along +y and a little up and inwards, turning about all three axes."""
    roll = np.deg2rad(20 * np.sin(0.61 * time_s) + 10 * np.sin(1.37 * time_s))
    pitch = np.deg2rad(12 + 14 * np.sin(0.83 * time_s + 0.5))
    yaw = np.deg2rad(98 + 12 * np.sin(0.47 * time_s + 1.5))
    cr, sr, cp, sp, cy, sy = (f(a) for a in (roll, pitch, yaw) for f in (np.cos, np.sin))
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    about_y = np.array([[cp, 0, -sp], [0, 1, 0], [sp, 0, cp]])
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    return about_z @ about_y @ about_x
