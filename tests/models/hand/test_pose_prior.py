"""The pull towards a hand's pose: what two views do not tell of a joint comes from the hand, what they tell stays."""

import numpy as np
import pytest

from models.hand.bone_lengths import BoneLengths
from models.hand.pose_prior import PosePriorSettings, as_a_hand, draw_to_pose
from models.simulation.hands import hands_at

TRUTH_M = hands_at(0.7)["right"]
SETTINGS = PosePriorSettings()
AXIS = np.array([0.6, 0.0, 0.8])
"""Along which two near cameras look."""


def covariance_m2(along_m: float, across_m: float) -> np.ndarray:
    return across_m**2 * np.eye(3) + (along_m**2 - across_m**2) * np.outer(AXIS, AXIS)


def learnt_bones() -> BoneLengths:
    bones = BoneLengths()
    for _ in range(30):
        bones.add(TRUTH_M)
    return bones


def test_it_is_the_least_of_its_sum() -> None:
    random = np.random.default_rng(1)
    roots = random.normal(0, 0.004, (21, 3, 3))
    covariances_m2 = roots @ roots.swapaxes(1, 2)
    joints_m, pose_m = TRUTH_M, TRUTH_M + random.normal(0, 0.01, (21, 3))
    drawn_m = draw_to_pose(joints_m, covariances_m2, pose_m, SETTINGS)
    precision = np.linalg.inv(covariances_m2 + 0.001**2 * np.eye(3))
    gradient = np.einsum("jab,jb->ja", precision, drawn_m - joints_m) + (drawn_m - pose_m) / 0.005**2
    assert np.abs(gradient).max() < 1e-6 * np.abs(precision).max()


@pytest.mark.parametrize("joint", [4, 8, 11, 16])
def test_a_joint_that_is_off_along_the_views_comes_back(joint: int) -> None:
    covariances_m2 = np.tile(covariance_m2(0.003, 0.002), (21, 1, 1))
    covariances_m2[joint] = covariance_m2(0.03, 0.002)
    joints_m = TRUTH_M.copy()
    joints_m[joint] += 0.025 * AXIS
    drawn_m, pose = as_a_hand(joints_m, covariances_m2, 2, learnt_bones())
    assert pose is not None
    errors_m = np.linalg.norm(drawn_m - TRUTH_M, axis=1)
    assert errors_m[joint] < 0.01
    assert np.delete(errors_m, joint).max() < 0.004


def test_joints_that_are_sure_stay() -> None:
    pose_m = TRUTH_M + 0.01
    drawn_m = draw_to_pose(TRUTH_M, np.tile(1e-8 * np.eye(3), (21, 1, 1)), pose_m, SETTINGS)
    assert np.abs(drawn_m - TRUTH_M).max() < 0.05 * 0.01


def test_of_two_near_views_the_pose_tells_more_than_the_bones_lengths() -> None:
    random, bones = np.random.default_rng(3), learnt_bones()
    covariances_m2 = np.tile(covariance_m2(0.012, 0.002), (21, 1, 1))
    errors_m: dict[int, list[float]] = {2: [], 4: []}
    for _ in range(20):
        joints_m = TRUTH_M + random.multivariate_normal(np.zeros(3), covariances_m2[0], 21)
        for views, of_views in errors_m.items():
            drawn_m, _ = as_a_hand(joints_m, covariances_m2, views, bones)
            of_views.append(float(np.linalg.norm(drawn_m - TRUTH_M, axis=1).mean()))
    assert np.mean(errors_m[2]) < 0.95 * np.mean(errors_m[4])
