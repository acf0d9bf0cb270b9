"""How a hand holds something long: a pen as for writing, or a handle in the fist.

The grips are those of J. R. Napier, "The prehensile movements of the human hand", J. Bone Joint Surg. 38-B, 1956: the
precision grip, here of thumb, index and middle finger about a shaft, and the power grip.
"""

from dataclasses import dataclass

import numpy as np

from calibration.hand import Side
from calibration.rotations import make_transform
from models.hand import skeleton
from models.simulation.gestures import grasp
from models.simulation.grip import Grip, pads_m, palmar, random_thing_of, solve, unit

_WRITING = 0.5
# Degrees: thumb; then base, abduction, middle, distal of each finger as it holds a pen.
_PEN_DEG = (
    *(20.0, 10.0, 22.0, 0.0, 25.0),
    *(48.0, 3.0, 45.0, 22.0),
    *(55.0, 0.0, 58.0, 32.0),
    *(62.0, -4.0, 68.0, 40.0),
    *(64.0, -8.0, 68.0, 40.0),
)
_NOISE_RAD = np.deg2rad(4.0)
_PEN_RADIUS_M, _PEN_LENGTH_M, _BELOW_TIPS_M = (0.003, 0.007), (0.11, 0.18), (0.015, 0.045)
_HANDLE_RADIUS_M, _HANDLE_LENGTH_M = (0.009, 0.021), (0.10, 0.36)
# How deep in the flesh, metres: knuckles of the palm, and the middle joints and ends of fingers.
_KNUCKLE_M, _JOINT_M = 0.016, 0.0095
# A handle lies across the palm, at the little finger nearer to the wrist.
_ACROSS = np.array([0.35, 1.0, 0.0])


@dataclass(frozen=True, eq=False)
class _Axis:
    """A line in the hand frame: `point_m` (3,), `along` (3,) unit."""

    point_m: np.ndarray
    along: np.ndarray

    def towards(self, points_m: np.ndarray) -> np.ndarray:
        """From points (..., 3) the shortest ways (..., 3) to the line."""
        to = self.point_m - points_m
        return to - (to @ self.along)[..., None] * self.along


def random_tool_grip(random: np.random.Generator, side: Side, shape: np.ndarray) -> Grip:
    """A pen of 11 to 18 cm or a handle of 10 to 36 cm in a hand of that shape (21,)."""
    grip = _pen(random, shape) if random.random() < _WRITING else _handle(random, shape)
    return grip.of_side(side)


def _pen(random: np.random.Generator, shape: np.ndarray) -> Grip:
    radius_m = float(random.uniform(*_PEN_RADIUS_M))
    usual = np.deg2rad(_PEN_DEG) + random.normal(0, _NOISE_RAD, skeleton.ANGLES)

    def apart_m(posed: skeleton.Chain, unknown: np.ndarray) -> np.ndarray:
        axis = _axis(unknown)
        pads, out = pads_m(posed)[:3], palmar(posed)[:3]
        to = axis.towards(pads)
        distance_m = np.linalg.norm(to, axis=1)
        facing = np.einsum("ij,ij->i", to, out) / np.maximum(distance_m, 1e-6)
        # The shaft leans on the side of the index finger's knuckle.
        knuckle = np.linalg.norm(axis.towards(posed.joints_m[5])) - radius_m - _KNUCKLE_M
        # All three at much the same place along it, thumb and index finger on opposite sides.
        places = pads @ axis.along
        opposite = to[0] @ to[1] / max(float(distance_m[0] * distance_m[1]), 1e-9)
        return np.array(
            [
                *(distance_m - radius_m),
                *(0.004 * (1 - facing[:2])),
                0.5 * knuckle,
                *(0.3 * (places[1:] - places[0])),
                0.006 * max(opposite + 0.5, 0.0),
            ]
        )

    start = skeleton.chain(usual, shape[:20]).joints_m
    tips_m = start[[4, 8]].mean(0)
    leaning_m = start[5] + [0.0, 0.018, 0.006]
    angles, unknown = solve(apart_m, usual, shape[:20], np.concatenate([tips_m, unit(leaning_m - tips_m)]))
    posed = skeleton.chain(angles, shape[:20])
    axis = _axis(unknown)
    half_m = float(random.uniform(*_PEN_LENGTH_M)) / 2
    at_tips = float(((pads_m(posed)[:3] - axis.point_m) @ axis.along).mean())
    middle_m = axis.point_m + (at_tips - random.uniform(*_BELOW_TIPS_M) + half_m) * axis.along
    thing = random_thing_of(random, "cylinder", np.array([radius_m, radius_m, half_m]))
    return Grip(thing, _about(axis.along, middle_m), angles)


def _handle(random: np.random.Generator, shape: np.ndarray) -> Grip:
    radius_m = float(random.uniform(*_HANDLE_RADIUS_M))
    usual = grasp(random, radius_m)
    joints = [[6 + 4 * finger, 7 + 4 * finger] for finger in range(4)]

    def apart_m(posed: skeleton.Chain, unknown: np.ndarray) -> np.ndarray:
        axis = _axis(unknown)
        bent_m = np.linalg.norm(axis.towards(posed.joints_m[joints]), axis=-1)
        pads_off_m = np.linalg.norm(axis.towards(pads_m(posed)), axis=-1) - radius_m
        palm_m = np.linalg.norm(axis.towards(posed.joints_m[[5, 9, 13, 17]]), axis=-1)
        inward = np.einsum("ij,ij->i", unit(axis.towards(pads_m(posed))), palmar(posed))
        return np.concatenate(
            [
                (bent_m - radius_m - _JOINT_M).ravel(),
                pads_off_m,
                0.5 * (palm_m - radius_m - _KNUCKLE_M),
                0.003 * (1 - inward),
            ]
        )

    start_m = skeleton.chain(usual, shape[:20]).joints_m
    middle_m = (start_m[[9, 11]].mean(0) + start_m[[13, 15]].mean(0)) / 2
    angles, unknown = solve(apart_m, usual, shape[:20], np.concatenate([middle_m, unit(_ACROSS)]))
    posed = skeleton.chain(angles, shape[:20])
    axis = _axis(unknown)
    half_m = float(random.uniform(*_HANDLE_LENGTH_M)) / 2
    in_fist = float(((posed.joints_m[[6, 10, 14, 18]] - axis.point_m) @ axis.along).mean())
    # The fist, about 8 cm wide, is somewhere on the handle.
    room_m = max(half_m - 0.045, 0.0)
    middle_m = axis.point_m + (in_fist + random.uniform(-room_m, room_m)) * axis.along
    kind = "cylinder" if random.random() < 0.7 else "box"
    thing = random_thing_of(random, kind, np.array([radius_m, radius_m, half_m]))
    return Grip(thing, _about(axis.along, middle_m), angles)


def _axis(unknown: np.ndarray) -> _Axis:
    return _Axis(unknown[:3], unit(unknown[3:]))


def _about(z: np.ndarray, middle_m: np.ndarray) -> np.ndarray:
    """T (4, 4) of a frame with that z axis and origin."""
    x = np.cross(z, np.eye(3)[np.abs(z).argmin()])
    x /= np.linalg.norm(x)
    return make_transform(np.column_stack([x, np.cross(z, x), z]), middle_m)
