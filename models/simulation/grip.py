"""How a hand holds a thing: where the thing is in the hand's frame, and how far the fingers bend to touch it.

The angles are those near to usual ones at which points of the flesh lie where the thing's surface is: least squares
within the limits of models/hand/skeleton.py.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from calibration.hand import Side
from models.hand import skeleton
from models.hand.builtin import mirrored
from models.simulation.objects import Shape, Thing, make_thing

PAD_M = 0.008
"""How deep under the skin of the pad a fingertip's joint lies: half a finger."""
TIPS = np.array([4, 8, 12, 16, 20])
# Residuals are millimetres; a radian off the usual angles counts as so many.
_USUAL_MM = 2.0


@dataclass(frozen=True, eq=False)
class Grip:
    """A thing, its place `T_hand_thing` (4, 4) in the hand's frame, and the angles (21,) of the hand."""

    thing: Thing
    T_hand_thing: np.ndarray
    angles_rad: np.ndarray

    def of_side(self, side: Side) -> "Grip":
        """This grip of a right hand as a hand of that side has it."""
        return Grip(self.thing, mirrored(self.T_hand_thing, side), self.angles_rad)


def random_thing_of(
    random: np.random.Generator, shape: Shape, half_size_m: np.ndarray, most_gloss: float = 0.9
) -> Thing:
    """A thing of that shape and half size (3,), in colours of its own."""
    colours = np.clip(random.uniform(0.02, 0.8) * (1 + random.uniform(-0.8, 0.8, (2, 3))), 0.01, 0.9)
    return make_thing(shape, half_size_m, colours, float(random.uniform(0, most_gloss)), int(random.integers(2**31)))


def solve(
    apart_m: Callable[[skeleton.Chain, np.ndarray], np.ndarray],
    usual_rad: np.ndarray,
    bone_lengths_m: np.ndarray,
    start: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Angles (21,) and unknowns of the thing's place, from `start`, that bring what is to touch together.

    `apart_m` says how far apart it is: values (K,) in metres of a posed skeleton and the unknowns.
    """
    low, high = skeleton.LIMITS_RAD.T
    usual = np.clip(usual_rad, low + 1e-3, high - 1e-3)
    free = np.full(len(start), np.inf)

    def residuals(unknown: np.ndarray) -> np.ndarray:
        apart = apart_m(skeleton.chain(unknown[: skeleton.ANGLES], bone_lengths_m), unknown[skeleton.ANGLES :])
        return np.concatenate([1e3 * apart, _USUAL_MM * (unknown[: skeleton.ANGLES] - usual)])

    found = least_squares(
        residuals,
        np.concatenate([usual, start]),
        bounds=(np.append(low, -free), np.append(high, free)),
        x_scale=np.concatenate([np.full(skeleton.ANGLES, 0.1), np.full(len(start), 0.01)]),
        max_nfev=60,
    ).x
    return found[: skeleton.ANGLES], found[skeleton.ANGLES :]


def palmar(posed: skeleton.Chain) -> np.ndarray:
    """Unit directions (5, 3) out of the pads of all fingertips, in the hand frame."""
    return -posed.rotations[:, 2, :, 2]


def pads_m(posed: skeleton.Chain) -> np.ndarray:
    """Points (5, 3) on the skin of the fingertips' pads, in the hand frame: inside the tip, half a finger thick."""
    return posed.joints_m[TIPS] - 0.5 * PAD_M * posed.rotations[:, 2, :, 0] + PAD_M * palmar(posed)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) at length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
