"""The two hands of the demo: where their joints are, in a loop without a seam, in the middle of the simulated rig."""

import numpy as np

from calibration.hand import Side
from models.hand.skeleton import MEAN_BONE_LENGTHS_M, chain
from models.simulation.motion import HandMotion

CENTRE_WORLD_M = np.array([0.0, 0.0, 0.2])
REACH_M = 0.25
"""All joints stay so near to CENTRE_WORLD_M."""
LOOP_S = 8.0
HOME_M = 0.1
"""How far from the centre, in x, each of two hands is at home."""

_SEEDS: dict[Side, int] = {"left": 47, "right": 19}


def demo_motions() -> dict[Side, HandMotion]:
    """The motions of a hand on either side, for people of mean size."""
    return {
        side: HandMotion(seed, side, home_world_m=home_world_m(side, 2), period_s=LOOP_S)
        for side, seed in _SEEDS.items()
    }


def home_world_m(side: Side, hands: int) -> np.ndarray:
    """Where a hand is at home (3,), if there are so many."""
    return CENTRE_WORLD_M + [0.0 if hands == 1 else HOME_M if side == "right" else -HOME_M, 0.0, 0.0]


_MOTIONS = demo_motions()


def hands_at(time_s: float) -> dict[Side, np.ndarray]:
    """Joints (21, 3) of both hands in world metres (z up) at a time in seconds; a pure, smooth function of time."""
    hands: dict[Side, np.ndarray] = {}
    for side, motion in _MOTIONS.items():
        joints = chain(motion.angles_rad(time_s), MEAN_BONE_LENGTHS_M).joints_m
        if side == "left":
            joints[:, 1] *= -1
        T = motion.T_world_hand(time_s)
        hands[side] = joints @ T[:3, :3].T + T[:3, 3]
    return hands
