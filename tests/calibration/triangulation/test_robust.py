"""Triangulation against known truth, against OpenCV and against a general optimiser."""

import cv2
import numpy as np
import pytest
from scipy.optimize import minimize

from calibration.hand import BONES, bone_lengths
from calibration.rig import Rig
from calibration.triangulation import (
    Links,
    Observations,
    Triangulation,
    dlt_equations,
    moving_projections,
    solve3,
    triangulate,
    triangulate_without_each,
)
from models.simulation.hands import hands_at
from models.simulation.simulated_rig import ring_rig

STD = 0.002


def poses(rig: Rig) -> np.ndarray:
    return np.stack([camera.T_cam_world for camera in rig.cameras])


def look(rig: Rig, points_m: np.ndarray, noise: float = 0.0, seed: int = 0) -> Observations:
    """Observations of points (G, J, 3) by every camera of a rig, with Gaussian noise."""
    T = poses(rig)
    in_camera = np.einsum("vab,gjb->gjva", T[:, :3, :3], points_m) + T[:, :3, 3]
    points = in_camera[..., :2] / in_camera[..., 2:]
    points = points + np.random.default_rng(seed).normal(scale=noise, size=points.shape) if noise else points
    shape = points.shape[:3]
    P = np.broadcast_to(T[:, :3], (*shape, 3, 4)).copy()
    return Observations(P, points, np.full(shape, STD), np.ones(shape, bool))


@pytest.fixture(scope="module")
def rig() -> Rig:
    return ring_rig(4)


@pytest.fixture(scope="module")
def hands() -> np.ndarray:
    """Right hands (40, 21, 3) at 40 moments."""
    return np.stack([hands_at(0.7 * moment)["right"] for moment in range(40)])


def errors(result: Triangulation, truth_m: np.ndarray) -> np.ndarray:
    return np.linalg.norm(result.points_m - truth_m, axis=-1)


@pytest.mark.parametrize("cameras", [2, 3, 8])
def test_perfect_observations_give_the_truth(cameras: int, hands: np.ndarray) -> None:
    result = triangulate(look(ring_rig(cameras), hands))
    np.testing.assert_allclose(result.points_m, hands, atol=1e-7)
    assert result.inliers.all()


def test_a_moving_point_is_found_where_it_is_at_the_reference_time(rig: Rig, hands: np.ndarray) -> None:
    lag_s = np.array([-0.03, 0.0, 0.02, 0.05])
    velocity = np.array([0.8, -0.5, 0.3])
    gain = np.full((len(hands), 21, 4), 1.1)
    shift = np.broadcast_to(velocity * lag_s[:, None], (*gain.shape, 3)) - 0.1 * hands[:, :, None]
    P = moving_projections(poses(rig), gain, shift)
    seen = np.stack([look(rig, hands + velocity * lag).points[:, :, view] for view, lag in enumerate(lag_s)], axis=2)
    still = look(rig, hands)
    result = triangulate(Observations(P, seen, still.std, still.seen))
    np.testing.assert_allclose(result.points_m, hands, atol=1e-7)


def test_the_linear_solution_agrees_with_opencv(hands: np.ndarray) -> None:
    rig = ring_rig(2)
    observed = look(rig, hands, noise=STD)
    T = poses(rig)[:, :3]
    flat = observed.points.reshape(-1, 2, 2)
    homogeneous = cv2.triangulatePoints(T[0], T[1], flat[:, 0].T, flat[:, 1].T)
    expected = (homogeneous[:3] / homogeneous[3]).T.reshape(hands.shape)
    # Both are algebraic solutions that differ in their scaling of the homogeneous point.
    equations = dlt_equations(
        observed.P.transpose(4, 3, 2, 0, 1), observed.points.transpose(3, 2, 0, 1), 1 / observed.std.transpose(2, 0, 1)
    )
    np.testing.assert_allclose(solve3(equations.sum(2)).transpose(1, 2, 0), expected, atol=2e-4)


def test_the_refined_point_is_the_minimum_of_the_robust_cost(rig: Rig, hands: np.ndarray) -> None:
    """One point per group, so that no group weighs on it; SciPy minimises the same cost from the truth."""
    truth = hands[:10, 8:9]
    observed = look(rig, truth, noise=STD)
    observed.points[:, :, 1] += 0.01
    result = triangulate(observed, iterations=60)
    T = poses(rig)
    for point, seen in zip(result.points_m[:, 0], observed.points[:, 0], strict=True):

        def cost(x: np.ndarray, seen: np.ndarray = seen) -> float:
            in_camera = T[:, :3, :3] @ x + T[:, :3, 3]
            squared = ((in_camera[:, :2] / in_camera[:, 2:] - seen) ** 2).sum(-1) / STD**2
            return float(np.log1p(squared / 9).sum())

        best = minimize(cost, point, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13})
        np.testing.assert_allclose(point, best.x, atol=1e-6)


def test_an_outlier_view_is_rejected_per_joint(rig: Rig, hands: np.ndarray) -> None:
    """Each joint has one wild view, another for each joint: no worse than if those views had not been there."""
    observed = look(rig, hands, noise=STD)
    joint = np.arange(21)
    bad = joint % 4
    observed.points[:, joint, bad] += 0.15
    result = triangulate(observed)
    assert result.inliers[:, joint, bad].mean() < 0.02
    good = observed.seen.copy()
    good[:, joint, bad] = False
    without = triangulate(Observations(observed.P, observed.points, observed.std, good))
    assert errors(result, hands).mean() < 1.05 * errors(without, hands).mean()


@pytest.mark.parametrize("cameras", [2, 3, 4, 8])
def test_leaving_each_view_out_is_triangulating_without_it(cameras: int, hands: np.ndarray) -> None:
    rig = ring_rig(cameras)
    observed = look(rig, hands, noise=STD)
    if cameras > 3:
        # Of two views that are left neither can be told to be wrong.
        observed.points[:, ::5, 1] += 0.1
    observed.seen[:, 3, 0] = False
    together = triangulate_without_each(observed, iterations=40)
    assert together.shape == (len(hands), 1 + cameras, 21, 3)
    for group in range(1 + cameras):
        seen = observed.seen.copy()
        if group:
            seen[:, :, group - 1] = False
        alone = triangulate(Observations(observed.P, observed.points, observed.std, seen), iterations=40).points_m
        near = np.linalg.norm(together[:, group] - alone, axis=-1) < 1e-5
        np.testing.assert_array_equal(np.isnan(together[:, group]), np.isnan(alone))
        # The two weigh the views' depths differently when they choose where to start.
        assert (near | np.isnan(alone[..., 0])).mean() > 0.995


def test_a_garbage_view_of_the_whole_hand_does_no_harm(rig: Rig, hands: np.ndarray) -> None:
    observed = look(rig, hands, noise=STD)
    garbage = np.random.default_rng(1).normal(scale=0.1, size=observed.points[:, :, 0].shape)
    observed.points[:, :, 2] += garbage
    keep = observed.seen.copy()
    keep[:, :, 2] = False
    without = triangulate(Observations(observed.P, observed.points, observed.std, keep))
    assert errors(triangulate(observed), hands).mean() < 1.05 * errors(without, hands).mean()


@pytest.mark.parametrize("cameras", [2, 4, 8])
def test_covariance_is_calibrated(cameras: int, hands: np.ndarray) -> None:
    """The share of true joints inside the 50 % and 90 % ellipsoids, over 840 joints."""
    rig = ring_rig(cameras)
    result = triangulate(look(rig, hands, noise=STD, seed=cameras))
    difference = result.points_m - hands
    distance = np.einsum("gja,gjab,gjb->gj", difference, np.linalg.inv(result.covariance_m2), difference)
    assert 0.42 < (distance < 2.366).mean() < 0.62
    assert 0.84 < (distance < 6.251).mean() < 0.97


def test_covariance_grows_with_the_residuals(rig: Rig, hands: np.ndarray) -> None:
    calm = triangulate(look(rig, hands, noise=STD))
    noisy = triangulate(look(rig, hands, noise=2 * STD))
    trace = [np.trace(result.covariance_m2, axis1=-2, axis2=-1).mean() for result in (calm, noisy)]
    assert 1.7 < trace[1] / trace[0] < 4.5


def test_known_bone_lengths_help(hands: np.ndarray) -> None:
    rig = ring_rig(2)
    observed = look(rig, hands, noise=3 * STD)
    lengths = bone_lengths(hands)
    links = Links(BONES, lengths, np.full(lengths.shape, 0.001))
    free, held = triangulate(observed), triangulate(observed, links)
    assert errors(held, hands).mean() < 0.9 * errors(free, hands).mean()
    assert (
        np.abs(bone_lengths(held.points_m) - lengths).mean()
        < 0.3 * np.abs(bone_lengths(free.points_m) - lengths).mean()
    )
    off = triangulate(observed, Links(BONES, lengths, np.full(lengths.shape, np.inf)))
    np.testing.assert_allclose(off.points_m, free.points_m, atol=1e-6)


def test_what_fewer_than_two_views_saw_is_nan_and_the_rest_is_not(rig: Rig, hands: np.ndarray) -> None:
    observed = look(rig, hands)
    observed.seen[:, 4, 1:] = False
    observed.points[:, 7, 0] = np.nan
    lengths = bone_lengths(hands)
    for links in (None, Links(BONES, lengths, np.full(lengths.shape, 0.002))):
        result = triangulate(observed, links)
        assert np.isnan(result.points_m[:, 4]).all()
        assert not result.inliers[:, 4].any()
        others = np.arange(21) != 4
        np.testing.assert_allclose(result.points_m[:, others], hands[:, others], atol=1e-6)


def test_shapes_that_do_not_belong_together_are_refused(rig: Rig, hands: np.ndarray) -> None:
    observed = look(rig, hands)
    with pytest.raises(ValueError, match="std must be"):
        Observations(observed.P, observed.points, observed.std[:, :5], observed.seen)
