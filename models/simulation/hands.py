"""The demo's hands: where their joints are, in a loop without a seam, in the middle of the simulated rig.

There are the two hands of one person, or those of several people who sit around a table.
"""

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

MOST_PEOPLE = 4
# From the table's middle to where a person's hands are at home, by how many people there are.
_SEAT_M = (0.0, 0.0, 0.13, 0.2, 0.25)
PERSON_LATER_S = 2.7

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


def reach_of(people: int) -> float:
    """All joints of so many people stay so near to CENTRE_WORLD_M."""
    return REACH_M + _SEAT_M[people]


def T_world_seat(person: int, people: int) -> np.ndarray:
    """Pose (4, 4) of a person's place: turned about the upright through CENTRE_WORLD_M, and moved back from it."""
    angle = 2 * np.pi * person / people
    c, s = np.cos(angle), np.sin(angle)
    T = np.eye(4)
    T[:2, :2] = [[c, -s], [s, c]]
    T[:3, 3] = CENTRE_WORLD_M + T[:3, :3] @ (-CENTRE_WORLD_M - [0.0, _SEAT_M[people], 0.0])
    return T


def hand_name(side: Side, person: int) -> str:
    """What a hand is called where there are several people's: "left", "right", then "left_2" and so on."""
    return side if person == 0 else f"{side}_{person + 1}"


_MOTIONS = demo_motions()


def hands_of_people_at(time_s: float, people: int) -> list[tuple[Side, np.ndarray]]:
    """Side and joints (21, 3) of each hand, in world metres (z up), at a time in seconds: person after person.

    They all move as `hands_at`, each some seconds after the one before.
    """
    hands: list[tuple[Side, np.ndarray]] = []
    for person in range(people):
        T = T_world_seat(person, people)
        for side, joints_m in hands_at(time_s + person * PERSON_LATER_S).items():
            hands.append((side, joints_m @ T[:3, :3].T + T[:3, 3]))
    return hands


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
