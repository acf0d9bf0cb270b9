"""Hands that pinch something small or hold something long: the skin is where the thing is."""

import numpy as np
import pytest

from calibration.hand import Side
from calibration.rotations import inverse_transform
from models.hand import skeleton
from models.hand.builtin import BuiltinHand
from models.hand.shape import random_shape
from models.simulation.grip import Grip, pads_m
from models.simulation.pinch_grip import random_pinch_grip
from models.simulation.simulated_rig import ring_rig
from models.simulation.simulated_scene import SceneSettings, SimulatedScene, random_scene
from models.simulation.tool_grip import random_tool_grip
from tests.support.grips import within_limits


def pads_in_thing_m(grip: Grip, shape: np.ndarray, side: Side) -> np.ndarray:
    """(5, 3): the fingertips' pads in the thing's frame."""
    pads = pads_m(skeleton.chain(grip.angles_rad, shape[:20])) * [1, -1 if side == "left" else 1, 1]
    T = inverse_transform(grip.T_hand_thing)
    return pads @ T[:3, :3].T + T[:3, 3]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("seed", range(8))
def test_a_small_thing_is_between_the_pads(side: Side, seed: int) -> None:
    random = np.random.default_rng(seed)
    shape = random_shape(random)
    grip = random_pinch_grip(random, side, shape)
    assert within_limits(grip)
    half_m = np.abs(grip.thing.vertices_m).max(axis=0)
    assert half_m[0] < 0.012 and half_m.max() < 0.021
    pads = pads_in_thing_m(grip, shape, side)
    assert pads[0] == pytest.approx([-half_m[0], 0, 0], abs=0.003)
    ends = np.linalg.norm(pads[1:] - [half_m[0], 0, 0], axis=1)
    assert ends.min() < 0.008  # of one finger, or of two beside each other


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("seed", range(10))
def test_a_tool_is_touched_by_at_least_three_pads_and_crosses_the_hand(side: Side, seed: int) -> None:
    random = np.random.default_rng(seed)
    shape = random_shape(random)
    grip = random_tool_grip(random, side, shape)
    assert within_limits(grip)
    half_m = np.abs(grip.thing.vertices_m).max(axis=0)
    pads = pads_in_thing_m(grip, shape, side)
    off_m = np.abs(np.linalg.norm(pads[:, :2], axis=1) - half_m[0])
    touching = off_m < 0.002
    pen = half_m[0] < 0.008
    assert touching[:3].all() and (pen or touching.all())
    assert (np.abs(pads[touching, 2]) < half_m[2]).all()
    if pen:
        # Held near its lower end, with the shaft on the knuckle of the index finger.
        assert pads[:3, 2].max() < -0.2 * half_m[2]
        knuckle_m = BuiltinHand(side).joints(grip.angles_rad, np.eye(4), shape)[5]
        T = inverse_transform(grip.T_hand_thing)
        at_knuckle = T[:3, :3] @ knuckle_m + T[:3, 3]
        assert at_knuckle[2] > pads[1, 2] + 0.03
        assert np.linalg.norm(at_knuckle[:2]) == pytest.approx(half_m[0] + 0.016, abs=0.004)


def longest_m(scene: SimulatedScene) -> float:
    """Of the one thing that its one hand holds, all the time."""
    (start,), (end,) = (scene.state(time_s).objects for time_s in (0.0, 7.0))
    assert start.surface is end.surface
    bends = [scene.hands(time_s)["right"].angles_rad for time_s in (0.0, 7.0)]
    assert np.abs(bends[0] - bends[1]).max() < np.deg2rad(8)
    vertices_m = start.vertices_start_m
    return float(np.linalg.norm(vertices_m - vertices_m.mean(0), axis=1).max())


def test_so_many_hands_of_scenes_hold_them_and_keep_holding() -> None:
    rig = ring_rig()

    def of(seed: int, pinch: float = 0.0, tool: float = 0.0) -> SimulatedScene:
        return random_scene(rig, seed, SceneSettings(hands="right", things=False, pinch=pinch, tool=tool))

    assert max(longest_m(of(seed, pinch=1.0)) for seed in range(4)) < 0.03
    assert min(longest_m(of(seed, tool=1.0)) for seed in range(4)) > 0.045
    some = [bool(of(seed, tool=0.3).state(0.0).objects) for seed in range(20)]
    assert 1 < sum(some) < 12
    assert of(0).state(0.0).objects == ()
