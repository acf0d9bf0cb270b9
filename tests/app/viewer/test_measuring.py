"""Distances between joints, ellipsoids and trails: against the numbers that they stand for."""

import msgspec
import numpy as np
import pytest

from app.viewer import palette
from app.viewer.ellipsoids import ellipsoids
from app.viewer.measure import Measure
from app.viewer.skeleton_mesh import BALL
from app.viewer.trail import SETS, trail_lines
from app.viewer.view import camera_view
from models.simulation.hands import hands_at
from tests.support.viewer_scene import make_pose, make_rig

VIEW = camera_view(make_rig().cameras[1], 1280, 720)
JOINTS_M = hands_at(0.0)["right"]


def test_two_clicked_joints_give_their_distance_and_its_standard_deviation_also_later():
    rng = np.random.default_rng(2)
    root = rng.normal(size=(21, 3, 3)) * 0.003
    pose = make_pose("right", JOINTS_M)
    pose = msgspec.structs.replace(pose, track_id=7, covariance_m2=(root @ root.transpose(0, 2, 1)).tolist())
    measure = Measure()
    assert measure.distance([pose]) is None
    for joint in (4, 8):
        measure.click(VIEW.project(JOINTS_M[joint]) + [1.0, -1.0], [pose], VIEW, 1.0)
    distance = measure.distance([pose])
    assert distance is not None and distance.names == ("thumb tip", "index tip")
    assert distance.mm == pytest.approx(np.linalg.norm(JOINTS_M[4] - JOINTS_M[8]) * 1e3)
    # The spread of the distance between joints drawn from those covariances; 20,000 draws scatter by 0.5 %.
    draws = [JOINTS_M[joint] + rng.normal(size=(20_000, 3)) @ root[joint].T for joint in (4, 8)]
    spread_mm = np.linalg.norm(draws[0] - draws[1], axis=1).std() * 1e3
    assert distance.std_mm == pytest.approx(spread_mm, rel=0.05)

    moved = msgspec.structs.replace(pose, joints_world_m=(1.1 * JOINTS_M).tolist())
    later = measure.distance([moved])
    assert later is not None and later.mm == pytest.approx(1.1 * distance.mm)
    assert measure.distance([msgspec.structs.replace(pose, track_id=8)]) is None
    measure.click(np.array([3.0, 3.0]), [pose], VIEW, 1.0)
    assert measure.joints == []


def test_a_third_joint_begins_anew_and_of_two_hands_the_nearer_joint_counts():
    poses = [make_pose(side, joints_m) for side, joints_m in hands_at(0.0).items()]
    poses = [msgspec.structs.replace(pose, track_id=number) for number, pose in enumerate(poses)]
    measure = Measure()
    for track, joint in ((0, 0), (1, 0), (1, 20)):
        measure.click(VIEW.project(np.array(poses[track].joints_world_m[joint])), poses, VIEW, 1.0)
    assert measure.joints == [(1, 20)]


def test_ellipsoids_hold_95_percent_of_what_their_covariance_draws():
    rng = np.random.default_rng(1)
    root = rng.normal(size=(21, 3, 3)) * 0.004
    covariance_m2 = root @ root.transpose(0, 2, 1)
    vertices_m, normals = ellipsoids(JOINTS_M, covariance_m2)
    offsets_m = vertices_m - JOINTS_M[:, None]
    reach = np.einsum("jna,jab,jnb->jn", offsets_m, np.linalg.inv(covariance_m2), offsets_m)
    draws = rng.normal(size=(100_000, 3))
    assert np.mean((draws**2).sum(axis=1) < reach.mean()) == pytest.approx(0.95, abs=0.005)
    assert reach == pytest.approx(np.full((21, len(BALL)), reach.mean()), rel=1e-6)
    # Normals are across the surface: along the gradient of the quadratic form.
    gradient = np.einsum("jab,jnb->jna", np.linalg.inv(covariance_m2), offsets_m)
    gradient /= np.linalg.norm(gradient, axis=2, keepdims=True)
    assert np.einsum("jna,jna->jn", gradient, normals).min() > 0.999
    covariance_m2[3] = np.nan
    unknown_m, _ = ellipsoids(JOINTS_M, covariance_m2)
    assert np.isfinite(unknown_m).all() and np.ptp(unknown_m[3], axis=0).max() < 1e-12


def test_a_trail_has_the_bones_of_the_sets_before_and_fades():
    past = [("left", JOINTS_M + [0.01 * number, 0, 0]) for number in range(SETS + 1)]
    points, lines, colours = trail_lines(past)
    assert points == pytest.approx(np.concatenate([joints_m for _, joints_m in past]))
    of_set = lines[:, 0] // 21
    assert set(of_set) == set(range(SETS)), "the newest set is the hand itself"
    apart = np.linalg.norm(colours - palette.BACKGROUND, axis=1)
    strength = [apart[of_set == number].mean() for number in range(SETS)]
    assert (np.diff(strength) > 0).all()
    broken = [(side, np.where(np.arange(21)[:, None] == 8, np.nan, joints_m)) for side, joints_m in past]
    points, lines, _ = trail_lines(broken)
    assert np.isfinite(points).all() and not (lines % 21 == 8).any()
    assert len(trail_lines(past[:1])[1]) == 0
