"""How a hand holds something flat by its edge: the thumb on one face, fingers on the other."""

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from calibration.hand import Side
from calibration.rotations import inverse_transform, make_transform, rotation_from_vector
from models.hand import skeleton
from models.simulation.grip import PAD_M, TIPS, Grip, random_thing_of

# Degrees: a hand that holds something flat between the thumb and all fingers.
_THUMB_DEG = (20.0, 14.0, 12.0, 0.0, 8.0)
_FINGERS_DEG = ((50.0, 4.0, 26.0, 16.0), (54.0, 1.0, 28.0, 18.0), (58.0, -3.0, 30.0, 18.0), (62.0, -6.0, 30.0, 18.0))
_CURLED_DEG = (70.0, 0.0, 75.0, 50.0)
# Of the wrist, then the fingertips: how far inside the edge they lie, and where along it.
_INSIDE_M = 1e-3 * np.array([-100.0, 12, 12, 16, 12, 4])
_ALONG_M = 1e-3 * np.array([10.0, 28, 36, 18, 0, -16])
# Which fingers beside the thumb hold it, and how often.
_HOLDING = (((1, 2, 3, 4), 0.5), ((1, 2), 0.3), ((1,), 0.2))


def random_plate_grip(random: np.random.Generator, side: Side, shape: np.ndarray) -> Grip:
    """A card, a book, a board or a plate of 5 to 30 cm in a hand of that shape (21,)."""
    half_m = np.array([*random.uniform(0.025, 0.15, 2), np.exp(random.uniform(np.log(0.0004), np.log(0.009)))])
    holding, _ = _HOLDING[random.choice(len(_HOLDING), p=[share for _, share in _HOLDING])]
    angles, T_plate_hand = _solve(random, shape, half_m[2] + PAD_M * shape[20], holding)
    T_hand_plate = inverse_transform(T_plate_hand)
    # The edge that is held is the plate's x = 0 while solving; somewhere along it is the hand.
    T_hand_plate[:3, 3] = T_hand_plate[:3] @ [half_m[0], random.uniform(-0.6, 0.6) * half_m[1], 0, 1]
    return Grip(random_thing_of(random, "box", half_m, most_gloss=0.7), T_hand_plate, angles).of_side(side)


def _solve(
    random: np.random.Generator, shape: np.ndarray, depth_m: float, holding: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Angles (21,) and T_plate_hand (4, 4) of a right hand whose holding tips lie `depth_m` from the plate's middle."""
    curled = np.array(_CURLED_DEG) * random.uniform(0.1, 1.1)
    fingers = [held if number in holding else curled for number, held in enumerate(_FINGERS_DEG, 1)]
    usual = np.deg2rad([*_THUMB_DEG, *np.concatenate(fingers)] + random.normal(0, 6.0, skeleton.ANGLES))
    size = float(np.mean(shape[:20] / skeleton.MEAN_BONE_LENGTHS_M))
    inside_m = size * (_INSIDE_M + random.uniform(-0.004, 0.025) * (np.arange(6) > 0) + random.normal(0, 0.003, 6))
    along_m = size * (_ALONG_M + random.normal(0, 0.004, 6))
    wanted_m = np.column_stack([inside_m, along_m, depth_m * np.array([0.0, -1, 1, 1, 1, 1])])
    weights = np.array([0.05, 1.0, *(float(finger in holding) for finger in (1, 2, 3, 4))])

    def points(unknown: np.ndarray) -> np.ndarray:
        joints_m = skeleton.chain(unknown[:21], shape[:20]).joints_m[[0, *TIPS]]
        return joints_m @ rotation_from_vector(unknown[21:24]).T + unknown[24:]

    def residuals(unknown: np.ndarray) -> np.ndarray:
        apart = 1e3 * weights[:, None] * (points(unknown) - wanted_m)
        return np.concatenate([apart.ravel(), 2 * (unknown[:21] - usual)])

    low, high = skeleton.LIMITS_RAD.T
    usual = np.clip(usual, low + 1e-3, high - 1e-3)
    free = np.full(6, np.inf)
    there = points(np.concatenate([usual, np.zeros(6)]))
    used = weights > 0
    turn = Rotation.align_vectors(wanted_m[used] - wanted_m[used].mean(0), there[used] - there[used].mean(0))[0]
    place_m = wanted_m[used].mean(0) - turn.apply(there[used].mean(0))
    start = np.concatenate([usual, turn.as_rotvec(), place_m])
    found = least_squares(residuals, start, bounds=(np.append(low, -free), np.append(high, free)), max_nfev=60).x
    return found[:21], make_transform(rotation_from_vector(found[21:24]), found[24:])
