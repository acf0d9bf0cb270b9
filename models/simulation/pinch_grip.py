"""How a hand holds something small: between the pads of the thumb and of a finger or two."""

import numpy as np

from calibration.hand import Side
from calibration.rotations import make_transform
from models.hand import skeleton
from models.simulation.gestures import pinch
from models.simulation.grip import Grip, pads_m, palmar, random_thing_of, solve, unit
from models.simulation.objects import SHAPES

# Half as wide as the thumb and the finger are apart, and half as long across that, metres.
_WIDTH_M, _LENGTH_M = (0.0005, 0.010), (0.004, 0.018)
_BESIDE = 0.4
_FACING_M = 0.01
_NOISE_RAD = np.deg2rad(5.0)


def random_pinch_grip(random: np.random.Generator, side: Side, shape: np.ndarray) -> Grip:
    """A bead, a coin, a nut or a key between the thumb and one finger, at times two, of a hand of that shape (21,)."""
    angles, finger = pinch(random)
    fingers = [finger]
    if finger == 1 and random.random() < _BESIDE:
        # The middle finger helps the index finger: three jaws, as of a chuck.
        angles[9:13] = angles[5:9]
        fingers.append(2)
    half_width_m = float(np.exp(random.uniform(*np.log(_WIDTH_M))))
    usual = np.deg2rad(angles) + random.normal(0, _NOISE_RAD, skeleton.ANGLES)

    def apart_m(posed: skeleton.Chain, _: np.ndarray) -> np.ndarray:
        pads, out = pads_m(posed), palmar(posed)
        across = unit(out[fingers] - out[0])
        facing = _FACING_M * (1 + out[fingers] @ out[0])
        return np.append(pads[0] - pads[fingers] - 2 * half_width_m * across, facing)

    angles_rad, _ = solve(apart_m, usual, shape[:20], np.zeros(0))
    posed = skeleton.chain(angles_rad, shape[:20])
    thumb_m, finger_m = pads_m(posed)[0], pads_m(posed)[fingers].mean(0)
    x = unit(finger_m - thumb_m)
    y = unit(np.cross(x, random.normal(size=3)))
    # Two fingers beside each other meet the thumb as well as their width lets them.
    half_m = np.array([np.linalg.norm(finger_m - thumb_m) / 2, *random.uniform(*_LENGTH_M, 2)])
    thing = random_thing_of(random, SHAPES[int(random.integers(len(SHAPES)))], half_m)
    T_hand_thing = make_transform(np.column_stack([x, y, np.cross(x, y)]), (thumb_m + finger_m) / 2)
    return Grip(thing, T_hand_thing, angles_rad).of_side(side)
