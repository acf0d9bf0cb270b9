"""The simulated motion: within what hands can do, smooth, varied, and the same for the same seed."""

import numpy as np
import pytest

from calibration.hand import Side
from models.hand.skeleton import LIMITS_RAD, MEAN_BONE_LENGTHS_M, chain
from models.simulation.gestures import GESTURES, grasp, random_gesture
from models.simulation.motion import HAND_CENTRE_M, HandMotion

RATE = 240
TIMES_S = np.arange(0, 40, 1 / RATE)


def sampled(motion: HandMotion, times_s: np.ndarray = TIMES_S) -> tuple[np.ndarray, np.ndarray]:
    """Angles (n, 21) and T_world_hand (n, 4, 4)."""
    return (
        np.array([motion.angles_rad(time_s) for time_s in times_s]),
        np.array([motion.T_world_hand(time_s) for time_s in times_s]),
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("held_radius_m", [None, 0.02])
def test_angles_stay_within_the_limits(seed: int, held_radius_m: float | None) -> None:
    angles, _ = sampled(HandMotion(seed, held_radius_m=held_radius_m))
    assert (angles >= LIMITS_RAD[:, 0]).all()
    assert (angles <= LIMITS_RAD[:, 1]).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_motion_is_smooth(seed: int) -> None:
    """No jump of position or of speed: halving the time step halves the largest step, and of the speed too."""
    motion = HandMotion(seed, anywhere=True)
    fine, coarse = TIMES_S[: RATE * 10], TIMES_S[: RATE * 10 : 2]
    angles, T = sampled(motion, fine)
    values = np.concatenate([angles, T[:, :3].reshape(len(T), 12)], axis=1)
    every_second = values[::2]
    assert len(every_second) == len(coarse)
    for order in (1, 2):
        step = np.abs(np.diff(values, order, axis=0)).max(axis=0)
        double = np.abs(np.diff(every_second, order, axis=0)).max(axis=0)
        assert (step < 0.75 * double + 1e-9).all()
    # 30 rad/s is about what the fastest flick of a finger reaches.
    assert np.abs(np.diff(angles, axis=0)).max() * RATE < 30


def test_a_seed_gives_the_same_motion_in_any_order_and_another_seed_another() -> None:
    times_s = np.array([31.4, 2.0, 17.3, 0.0, 1e6])
    first, again = sampled(HandMotion((7, 1)), times_s), sampled(HandMotion((7, 1)), times_s[::-1])
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other[::-1])
    for seed in ((7, 2), 7):
        assert not np.allclose(first[0], sampled(HandMotion(seed), times_s)[0])


def test_a_period_has_no_seam() -> None:
    motion = HandMotion(5, period_s=6.0)
    times_s = np.arange(0, 6, 0.05)
    for one, later in zip(sampled(motion, times_s), sampled(motion, times_s + 18.0), strict=True):
        np.testing.assert_allclose(one, later, atol=1e-9)
    assert not np.allclose(motion.angles_rad(1.0), motion.angles_rad(4.0))


def test_a_left_hand_is_the_mirror_image_of_a_right_one() -> None:
    home = np.array([0.3, -0.1, 0.2])
    right = HandMotion(3, "right", home_world_m=home)
    left = HandMotion(3, "left", home_world_m=home)
    points = np.random.default_rng(0).normal(size=(5, 3))
    for time_s in (0.3, 4.2):
        T_right, T_left = right.T_world_hand(time_s), left.T_world_hand(time_s)
        np.testing.assert_allclose(np.linalg.det(T_left[:3, :3]), 1)
        placed = points @ T_right[:3, :3].T + T_right[:3, 3] - home
        mirrored = (points * [1, -1, 1]) @ T_left[:3, :3].T + T_left[:3, 3] - home
        np.testing.assert_allclose(mirrored, placed * [-1, 1, 1], atol=1e-12)


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_hand_travels_about_its_home(side: Side) -> None:
    home = np.array([0.1, 0.0, 0.2])
    _, T = sampled(HandMotion(2, side, home_world_m=home, reach_m=0.05), TIMES_S[::8])
    centre = HAND_CENTRE_M * ([1, 1, 1] if side == "right" else [1, -1, 1])
    away = T[:, :3, :3] @ centre + T[:, :3, 3] - home
    assert np.abs(away).max() <= 0.05
    assert away.std(axis=0).min() > 0.01


def test_anywhere_is_any_orientation_and_in_front_is_not() -> None:
    """Where the fingers point and where the back of the hand looks: over a long time, everywhere on the sphere."""
    times_s = np.arange(0, 2000, 0.5)
    _, T = sampled(HandMotion(1, anywhere=True), times_s)
    directions = T[:, :3, [0, 2]]
    assert np.abs(directions.mean(axis=0)).max() < 0.12
    np.testing.assert_allclose((directions**2).mean(axis=0), 1 / 3, atol=0.06)
    _, T = sampled(HandMotion(1), times_s[:500])
    assert T[:, 1, 0].min() > 0  # fingers away from the person
    assert T[:, 2, 2].mean() > 0.4  # the back of the hand mostly up


def test_hands_pinch_make_fists_and_open() -> None:
    angles, _ = sampled(HandMotion(11), np.arange(0, 300, 1 / 20))
    joints = chain(angles, MEAN_BONE_LENGTHS_M).joints_m
    pinch = np.linalg.norm(joints[:, [8, 12]] - joints[:, 4, None], axis=-1)
    assert (pinch.min(axis=0) < 0.012).all()
    reach = np.linalg.norm(joints[:, [8, 12, 16, 20]], axis=-1)
    assert reach.max(axis=1).min() < 0.09  # a fist
    assert (reach.max(axis=0) > 0.14).all()  # straight
    spread = np.linalg.norm(joints[:, 8] - joints[:, 20], axis=-1)
    assert spread.max() > 0.13
    # Each finger is at times straight while its neighbour is bent, as in counting.
    bent = angles[:, 5::4] > 1
    assert (bent[:, :-1] & ~bent[:, 1:]).any(axis=0).all()


def test_every_gesture_is_within_the_limits_and_unlike_the_others() -> None:
    means = []
    for make, _ in GESTURES.values():
        angles = np.deg2rad([make(np.random.default_rng(seed)) for seed in range(20)])
        assert angles.shape == (20, 21)
        over = np.maximum(angles - LIMITS_RAD[:, 1], LIMITS_RAD[:, 0] - angles).max()
        assert over < np.deg2rad(1)
        means.append(angles.mean(axis=0))
    apart = np.linalg.norm(np.array(means)[:, None] - means, axis=-1)
    assert apart[~np.eye(len(means), dtype=bool)].min() > 0.2
    margin = 0.05
    many = np.array([random_gesture(np.random.default_rng(seed), margin) for seed in range(200)])
    assert (many >= LIMITS_RAD[:, 0] + margin - 1e-12).all()
    assert (many <= LIMITS_RAD[:, 1] - margin + 1e-12).all()


def test_a_grasp_closes_around_thinner_things() -> None:
    reach = []
    for radius_m in (0.015, 0.025, 0.035):
        angles = np.array([grasp(np.random.default_rng(seed), radius_m) for seed in range(30)])
        joints = chain(angles, MEAN_BONE_LENGTHS_M).joints_m
        reach.append(np.linalg.norm(joints[:, [8, 12, 16, 20]] - joints[:, [5, 9, 13, 17]], axis=-1).mean())
    assert reach[0] < reach[1] < reach[2]
