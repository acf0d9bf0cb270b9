"""The form of the built-in right hand in its rest pose, as one signed distance function in millimetres.

Breadths and thicknesses follow the means of men and women in S. Pheasant and C. Haslegrave, "Bodyspace", 3rd ed., 2006
(anthropometric estimates for the hand): index finger 19.5 mm broad and 17.5 mm thick at the middle joint and 17 mm
broad at the last, thumb 21 mm broad at its last joint, hand 81.5 mm broad and 30.5 mm thick at the metacarpal heads.
The wrist's girth of 163 mm is that of C. C. Gordon et al., "1988 Anthropometric Survey of U.S. Army Personnel", 1989.
What the other fingers are of an index finger, and where the flesh lies, was judged by eye.
"""

from dataclasses import dataclass, replace

import numpy as np

from models.hand import skeleton
from models.tools.sdf import Sweep, ellipsoid, round_cone, smooth_difference, smooth_union, triangle

# Rows: station, half-width, height above the bones, depth below them, in millimetres, of an index finger. Station 0 is
# the knuckle, 1 and 2 the finger's joints, 3 its tip.
_FINGER_PROFILE = np.array(
    [
        [-0.25, 8.0, 7.5, 8.0],
        [0.00, 8.8, 8.8, 9.5],
        [0.30, 9.6, 8.0, 9.8],
        [0.48, 9.5, 7.5, 9.3],
        [0.70, 8.9, 7.4, 9.2],
        [0.86, 9.3, 8.2, 8.7],
        [1.00, 9.7, 8.9, 8.3],
        [1.18, 9.2, 7.9, 8.4],
        [1.50, 8.5, 6.9, 8.7],
        [1.85, 8.3, 6.6, 7.4],
        [2.00, 8.5, 6.7, 6.6],
        [2.18, 8.3, 6.1, 7.2],
        [2.45, 8.1, 5.6, 7.9],
        [2.65, 7.9, 5.3, 7.7],
        [3.00, 7.7, 5.1, 7.2],
    ]
)
# Station 0 is the joint at the wrist's edge, 1 and 2 the thumb's joints, 3 its tip.
_THUMB_PROFILE = np.array(
    [
        [0.10, 8.0, 7.0, 8.0],
        [0.45, 9.5, 8.5, 10.5],
        [0.80, 10.2, 9.2, 10.8],
        [1.00, 10.8, 9.8, 10.0],
        [1.25, 9.8, 8.6, 9.6],
        [1.55, 9.3, 7.9, 9.8],
        [1.85, 10.1, 8.6, 9.2],
        [2.00, 10.4, 9.0, 8.8],
        [2.15, 10.3, 8.2, 9.0],
        [2.45, 10.3, 6.7, 9.4],
        [2.65, 10.1, 6.2, 9.2],
        [3.00, 9.7, 5.8, 8.7],
    ]
)
_FINGER_SCALES = (1.0, 1.03, 0.96, 0.85)
_NAIL_LENGTHS_MM = (14.5, 11.0, 11.5, 10.8, 9.0)
_NAIL_HALF_WIDTHS_MM = (7.6, 5.7, 6.0, 5.5, 4.6)
# Station 0 is the end towards the elbow, 1 lies in the wrist.
_FOREARM_X_MM = -75.0
_FOREARM_PROFILE = np.array(
    [
        [0.0, 32.5, 24.5, 25.5],
        [0.35, 31.0, 22.0, 23.0],
        [0.72, 29.6, 19.6, 20.4],
        [0.90, 29.3, 19.2, 20.0],
        [1.0, 28, 18, 19],
    ]
)


def smoothstep(low: float | np.ndarray, high: float | np.ndarray, x: np.ndarray) -> np.ndarray:
    """0 up to low, 1 from high, smooth between; low may be the larger."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


@dataclass(frozen=True)
class HandForm:
    """joints_mm: (21, 3) in the hand frame at rest. fingers: thumb first, each from its first joint to its tip."""

    joints_mm: np.ndarray
    fingers: tuple[Sweep, ...]
    forearm: Sweep

    def distance_mm(self, points: np.ndarray) -> np.ndarray:
        """Signed distance (...) of points (..., 3), about right near the surface and exact on it."""
        palm = self._palm(points)
        digits = np.stack([finger(points) - self._nail_relief(i, points) for i, finger in enumerate(self.fingers)])
        fingers = digits[1]
        for digit in digits[2:]:
            fingers = smooth_union(fingers, digit, 1.0)
        body = smooth_union(palm, self._thumb_base(points), 9.0)
        body = smooth_union(body, digits[0], 7.0)
        body = smooth_union(body, fingers, 6.0)
        hollow = ellipsoid(points, (52, 1, -31), (34, 15, 15), _turned(-8))
        return smooth_difference(body, hollow, 10.0)

    def _palm(self, points: np.ndarray) -> np.ndarray:
        heads = self.joints_mm[[5, 9, 13, 17]]
        roots = np.array([[14.0, 15, -2], [13, 5, 0], [12, -6, -1], [10, -15, -4]])
        beams = [
            round_cone(points, root, head - [2, 0, 2.5], 15.0, radius)
            for root, head, radius in zip(roots, heads, (11.4, 12.0, 11.5, 9.4), strict=True)
        ]
        palm = beams[0]
        for beam in beams[1:]:
            palm = smooth_union(palm, beam, 9.0)
        for head, radius in zip(heads, (9.5, 9.8, 9.2, 8.2), strict=True):
            palm = smooth_union(palm, ellipsoid(points, head + [0, 0, 2.0], (radius + 2, radius, radius)), 5.0)
        for i in range(3):  # the skin between two fingers reaches far beyond the knuckles on the palm's side
            near, far = self.fingers[i + 1], self.fingers[i + 2]
            a = near.joints[0] + 11.5 * near.axes[0, 0] - 4 * near.axes[0, 2]
            b = far.joints[0] + 11.5 * far.axes[0, 0] - 4 * far.axes[0, 2]
            palm = smooth_union(palm, round_cone(points, a, b, 7.0, 7.0), 4.0)
        for pad in heads + np.array([[2, -3.5, -9], [3, 0, -9.5], [2, 0, -9], [1, 4, -8.5]]):
            palm = smooth_union(palm, ellipsoid(points, pad, (13, 12, 7.5)), 8.0)
        hypothenar = ellipsoid(points, (33, -25, -11), (31, 12, 13.5), _turned(-16))
        palm = smooth_union(palm, hypothenar, 9.0)
        heel = ellipsoid(points, (12, 1, -10), (15, 24, 13))
        palm = smooth_union(palm, heel, 10.0)
        styloid = ellipsoid(points, (-16, -19, 10.5), (10, 8, 7))
        return smooth_union(palm, smooth_union(self.forearm(points), styloid, 10.0), 14.0)

    def _thumb_base(self, points: np.ndarray) -> np.ndarray:
        base, knuckle = self.joints_mm[1], self.joints_mm[2]
        along, across, up = self.fingers[0].axes[0]
        middle = 0.52 * base + 0.48 * knuckle
        ball = ellipsoid(points, middle - 5 * up - 4 * across, (30, 16, 15), np.stack([along, across, up]))
        inner = ellipsoid(points, (33, 18, -15), (24, 13, 11), _turned(30))
        ball = smooth_union(ball, inner, 9.0)
        index_root, index_head = np.array([14.0, 15, -2]), self.joints_mm[5]
        web = triangle(
            points,
            base + 6 * along,
            0.18 * base + 0.82 * knuckle - 1.5 * across,
            0.28 * index_root + 0.72 * index_head - [0, 0, 4],
            5.5,
        )
        return smooth_union(ball, web, 10.0)

    def nail(self, finger: int, points: np.ndarray) -> np.ndarray:
        """How far inside the outline of the nail points (..., 3) lie, in millimetres; negative outside it."""
        sweep = self.fingers[finger]
        tip, (along, across, up) = sweep.joints[3], sweep.axes[2]
        local = points - tip.astype(points.dtype)
        x, u, v = (local @ axis.astype(points.dtype) for axis in (along, across, up))
        half_width, length = _NAIL_HALF_WIDTHS_MM[finger], _NAIL_LENGTHS_MM[finger]
        centre, half_length = -1.4 - length / 2, length / 2
        q = (np.abs(u / half_width) ** 3.2 + np.abs((x - centre) / half_length) ** 3.2) ** (1 / 3.2)
        return np.minimum((1 - q) * half_width, 2.0 * v - 2.2)

    def _nail_relief(self, finger: int, points: np.ndarray) -> np.ndarray:
        inside = self.nail(finger, points)
        plate = 0.45 * smoothstep(-0.2, 0.9, inside)
        fold = -0.35 * smoothstep(-2.0, -0.5, inside) * smoothstep(0.6, -0.3, inside)
        return plate + fold


def _turned(degrees: float) -> np.ndarray:
    """Axes (3, 3), as rows, turned about z from x towards y."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])


def mean_hand() -> HandForm:
    """The hand with the skeleton's mean bones in its rest pose."""
    rotations, joints_m = skeleton.chain(skeleton.REST_ANGLES_RAD, skeleton.MEAN_BONE_LENGTHS_M)
    joints_mm, axes = joints_m * 1000, rotations.swapaxes(-1, -2)
    fingers = [Sweep(joints=joints_mm[1:5], axes=axes[0], profile=_THUMB_PROFILE, cap=11.0)]
    for finger, scale in enumerate(_FINGER_SCALES, 1):
        profile = _FINGER_PROFILE * [1, scale, scale, scale]
        fingers.append(
            Sweep(
                joints=joints_mm[1 + 4 * finger : 5 + 4 * finger], axes=axes[finger], profile=profile, cap=8.5 * scale
            )
        )
    ends = np.array([[0, 0, 0], [_FOREARM_X_MM, 0, 0]])
    profile = _FOREARM_PROFILE[::-1] * [-1, 1, 1, 1] + [1, 0, 0, 0]
    forearm = Sweep(
        joints=ends + [12, 0, -2], axes=np.array([[[-1.0, 0, 0], [0, 1, 0], [0, 0, 1]]]), profile=profile, cap=7.0
    )
    return HandForm(joints_mm, tuple(fingers), replace(forearm, exponent=2.2))
