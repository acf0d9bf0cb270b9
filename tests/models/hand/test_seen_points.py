"""Joints from 2D points alone: recovered where the points are right, and near where one view is wrong."""

import numpy as np
import pytest

from calibration.hand import hand_size_px
from calibration.triangulation import triangulate
from models.hand.crop import hand_box, make_crop
from models.hand.seen_points import (
    STD_OF_SIZE,
    crop_observations,
    towards_points,
    triangulate_points,
    triangulate_seen,
)
from models.simulation.hands import hands_at
from models.simulation.simulated_rig import ring_rig

RIG = ring_rig(4)


def seen(count: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """P_crop (V, 3, 4), keypoints (V, 21, 2) and joints (21, 3), hand-centred."""
    joints_world_m = hands_at(1.0)["right"]
    target_m, half_width_m = hand_box(joints_world_m)
    crops = [make_crop(camera, target_m, half_width_m, 224) for camera in RIG.cameras[:count]]
    joints_m = joints_world_m - target_m
    return np.stack([crop.P_crop for crop in crops]), np.stack([crop.project(joints_m) for crop in crops]), joints_m


@pytest.mark.parametrize("views", [2, 4])
def test_right_points_give_the_joints(views: int) -> None:
    P_crop, keypoints_px, joints_m = seen(views)
    assert triangulate_points(P_crop, keypoints_px, np.full((views, 21), 0.7)) == pytest.approx(joints_m, abs=1e-6)


def test_one_view_gives_none() -> None:
    P_crop, keypoints_px, _ = seen(1)
    assert np.isnan(triangulate_points(P_crop, keypoints_px, np.ones((1, 21)))).all()


def test_a_point_far_off_in_one_view_hardly_counts_and_a_doubted_one_counts_less() -> None:
    P_crop, keypoints_px, joints_m = seen()
    wrong_px, confidence = keypoints_px.copy(), np.full((4, 21), 0.7)
    wrong_px[1, 8] += (40.0, 30.0)
    wrong_px[1, 12] += (2.0, 1.0)
    off_m = np.linalg.norm(triangulate_points(P_crop, wrong_px, confidence) - joints_m, axis=1)
    assert off_m[8] < 0.002 and off_m[[0, 4, 16]] == pytest.approx(0, abs=1e-6)
    confidence[1, 12] = 0.1
    doubted_m = np.linalg.norm(triangulate_points(P_crop, wrong_px, confidence) - joints_m, axis=1)
    assert doubted_m[12] < 0.5 * off_m[12]


def test_what_is_triangulated_at_once_is_what_each_gives_alone() -> None:
    P_crop, keypoints_px, _ = seen()
    random = np.random.default_rng(0)
    keypoints_px = keypoints_px + random.normal(0, 2, keypoints_px.shape)
    confidence = random.uniform(0.05, 1, (4, 21))
    found = triangulate_seen(P_crop, keypoints_px, confidence, 4.0, np.ones(4))
    assert found.joints_m == pytest.approx(triangulate_points(P_crop, keypoints_px, confidence), abs=1e-9)

    def alone(std_px: np.ndarray, views: np.ndarray) -> np.ndarray:
        return triangulate(crop_observations(P_crop, keypoints_px, std_px, views), iterations=3).points_m[0]

    assert found.alike_m == pytest.approx(alone(np.full((4, 21), 4.0), np.ones(4, bool)), abs=1e-9)
    for view in range(4):
        others = alone(1 / np.sqrt(confidence), np.arange(4) != view)
        # Of three views the best start is looked for among other subsets of them.
        assert np.linalg.norm(found.blind_m[view] - others, axis=1) == pytest.approx(0, abs=1e-4)


def test_a_view_that_is_doubted_counts_less_and_what_it_is_off_by_is_told_in_usual_deviations() -> None:
    P_crop, keypoints_px, joints_m = seen()
    wrong_px, sure = keypoints_px.copy(), np.full((4, 21), 0.7)
    usual_px = STD_OF_SIZE * hand_size_px(keypoints_px)
    wrong_px[1] += (usual_px[1], 0.0)
    trusted, doubted = (triangulate_seen(P_crop, wrong_px, sure, 4.0, np.array([1, k, 1, 1])) for k in (1.0, 30.0))
    off_m, doubted_m = (np.linalg.norm(each.joints_m - joints_m, axis=1).mean() for each in (trusted, doubted))
    assert doubted_m < 0.02 * off_m
    assert doubted.residuals[1] == pytest.approx(1, abs=0.02)
    assert doubted.residuals[[0, 2, 3]] == pytest.approx(0, abs=0.02)


def test_joints_go_half_way_to_the_points_that_there_are_but_of_two_views() -> None:
    joints_m, points_m = np.zeros((21, 3)), np.full((21, 3), 0.02)
    points_m[5] = np.nan
    half_m = towards_points(joints_m, points_m, 3)
    assert half_m[0] == pytest.approx(0.01) and (half_m[5] == 0).all()
    assert (towards_points(joints_m, points_m, 2) == 0).all()
