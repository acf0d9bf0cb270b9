"""How a hand holds a thing: which bends bring the points of its fingers to where the thing is."""

from dataclasses import dataclass

import numpy as np

from models.hand.builtin import MIRROR_Y
from models.simulation.objects import Thing

PAD_M = 0.008
"""How deep under the skin of the pad a fingertip's joint lies: half a finger."""


@dataclass(frozen=True, eq=False)
class Grip:
    """A thing, its place `T_hand_thing` (4, 4) in the hand's frame, and the angles (21,) of the hand."""

    thing: Thing
    T_hand_thing: np.ndarray
    angles_rad: np.ndarray

    def mirrored(self) -> "Grip":
        """A left hand's from a right one's: things are alike in the mirror."""
        return Grip(self.thing, MIRROR_Y @ self.T_hand_thing @ MIRROR_Y, self.angles_rad)
