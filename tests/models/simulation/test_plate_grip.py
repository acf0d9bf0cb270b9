"""Hands that hold something flat: the thumb on one face, fingers on the other."""

import numpy as np
import pytest

from calibration.hand import Side
from calibration.rotations import inverse_transform
from models.hand.builtin import BuiltinHand
from models.hand.shape import random_shape
from models.simulation.plate_grip import random_plate_grip
from tests.support.grips import within_limits


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("seed", range(8))
def test_the_plate_is_between_thumb_and_fingers(side: Side, seed: int) -> None:
    random = np.random.default_rng(seed)
    shape = random_shape(random)
    grip = random_plate_grip(random, side, shape)
    assert within_limits(grip)
    joints_m = BuiltinHand(side).joints(grip.angles_rad, np.eye(4), shape)
    T = inverse_transform(grip.T_hand_thing)
    thumb_m, index_m = joints_m[[4, 8]] @ T[:3, :3].T + T[:3, 3]
    half_m = np.abs(grip.thing.vertices_m).max(axis=0)
    # Each tip's joint lies outside of the plate, by less than a finger is thick, and on its own face.
    for tip_m in (thumb_m, index_m):
        assert half_m[2] + 0.002 < abs(tip_m[2]) < half_m[2] + 0.016
        assert -half_m[0] - 0.02 < tip_m[0] < half_m[0]
    assert thumb_m[2] * index_m[2] < 0
    wrist_m = T[:3, 3]
    assert wrist_m[0] < -half_m[0]  # it reaches in from the edge
