"""Two hands of a person that touch: the left one is the right one's image in a plane that touches the right one.

Each hand stays on its side of the plane, so that they never go through one another, whatever their fingers do: palms or
fingertips laid together, thumbs side by side. The left one is turned and shifted within the plane, by some millimetres.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np

from calibration.rotations import make_transform, rotation_from_vector
from models.hand.builtin import MIRROR_Y
from models.simulation.grip import unit
from models.simulation.motion import HandMotion

# Out of the right hand towards the plane, in the hand frame (x along the fingers, y to the thumb, z out of the back).
_TOWARDS = np.array([[0.25, 0.0, -1.0], [0.7, 0.0, -0.7], [1.0, 0.2, -0.2], [0.3, 1.0, -0.2], [0.3, 0.7, -0.7]])
_JITTER = 0.2
# The forearms go away from the plane.
_LEAST_FORWARD = 0.15
_TURN_RAD, _SHIFT_M = np.deg2rad(12.0), 0.008
# Skin gives way.
_PRESSED_M = 0.0015
# What lies so much less deep than the deepest point counts an e-th, as where they touch: no place of it jumps.
_NEAR_M = 0.004


class TouchingMotion:
    """The left hand's motion to a right one's (`motion`), as of HandMotion.

    `skin_hand_m` says where the right hand's skin (N, 3) is at a time, in its own frame.
    """

    side: Literal["left"] = "left"

    def __init__(
        self, motion: HandMotion, skin_hand_m: Callable[[float], np.ndarray], random: np.random.Generator
    ) -> None:
        self._motion, self._skin_hand_m = motion, skin_hand_m
        towards = unit(_TOWARDS[random.integers(len(_TOWARDS))]) + random.normal(0, _JITTER, 3)
        towards[0] = max(towards[0], _LEAST_FORWARD)
        self._normal = unit(towards)
        self._turn_rad = random.normal(0, _TURN_RAD)
        shift_m = random.normal(0, _SHIFT_M, 3)
        self._shift_m = shift_m - self._normal * (self._normal @ shift_m)

    def angles_rad(self, time_s: float) -> np.ndarray:
        return self._motion.angles_rad(time_s)

    def wrist_bend_rad(self, time_s: float) -> np.ndarray:
        return self._motion.wrist_bend_rad(time_s)

    def T_world_hand(self, time_s: float) -> np.ndarray:
        skin_m = self._skin_hand_m(time_s)
        n, depths_m = self._normal, skin_m @ self._normal
        deepest_m = depths_m.max()
        mirror = make_transform(np.eye(3) - 2 * np.outer(n, n), 2 * (deepest_m - _PRESSED_M) * n)
        touch_m = np.average(skin_m, axis=0, weights=np.exp((depths_m - deepest_m) / _NEAR_M))
        turn = rotation_from_vector(self._turn_rad * n)
        within = make_transform(turn, touch_m - turn @ touch_m + self._shift_m)
        return self._motion.T_world_hand(time_s) @ within @ mirror @ MIRROR_Y
