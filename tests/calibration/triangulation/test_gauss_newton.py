"""The core that every triangulation shares, against SciPy's optimiser and against finite differences."""

import numpy as np
from scipy.optimize import least_squares

from calibration.solve.corner_errors import triangulate_pixels
from calibration.solve.lens_derivatives import lens_vector
from calibration.solve.rig_state import RigState
from calibration.triangulation import Linearised, linearise_pinhole, nearest_to_lines, refine
from models.simulation.simulated_rig import random_rig
from tests.support.jacobians import assert_jacobian

RIG = random_rig(5, "dome", 5)
POSES = np.stack([camera.T_cam_world for camera in RIG.cameras])
P = POSES[:, :3].transpose(2, 1, 0)[..., None]


def points(count: int, seed: int = 0) -> np.ndarray:
    """Points (3, N) around the simulated hands."""
    return np.random.default_rng(seed).uniform(-0.1, 0.1, (3, count)) + np.array([[0.0], [0.0], [0.15]])


def observed(truth_m: np.ndarray, noise: float) -> np.ndarray:
    """Normalised image coordinates (2, V, N) of points (3, N), with noise."""
    exact, _ = linearise_pinhole(P, truth_m, np.zeros(2)[:, None, None], 1.0)
    return exact + np.random.default_rng(1).normal(scale=noise, size=exact.shape)


def test_the_jacobian_is_that_of_the_residual() -> None:
    truth = points(50)
    seen = observed(truth, 0.0)
    _, jacobian = linearise_pinhole(P, truth, seen, 2.0)
    by_point = np.moveaxis(jacobian, 0, -1)
    assert_jacobian(lambda step: linearise_pinhole(P, truth + step[:, None], seen, 2.0)[0], by_point, rtol=0, atol=1e-7)


def test_weighted_points_are_where_scipy_finds_them() -> None:
    truth = points(20)
    seen = observed(truth, 0.004)
    weights = np.random.default_rng(2).uniform(0.2, 1.0, seen.shape[1:])
    found = refine(truth + 0.05, lambda at: Linearised(*linearise_pinhole(P, at, seen, 1.0), weights), 8, 0.0)
    for number in range(20):

        def residual(at: np.ndarray, number: int = number) -> np.ndarray:
            own, _ = linearise_pinhole(P, at[:, None], seen[..., number : number + 1], 1.0)
            return (own[..., 0] * np.sqrt(weights[:, number])).ravel()

        expected = least_squares(residual, truth[:, number], xtol=1e-15, ftol=1e-15, gtol=1e-15).x
        np.testing.assert_allclose(found[:, number], expected, atol=1e-8)


def test_pixels_of_every_lens_are_triangulated_where_scipy_finds_them() -> None:
    truth = points(20).T
    lens = np.stack([lens_vector(camera.camera) for camera in RIG.cameras])
    fisheye = np.array([camera.camera.lens == "fisheye4" for camera in RIG.cameras])
    still, no_boards = np.zeros(len(POSES)), np.zeros((0, 3, 3))
    rig = RigState(
        lens=lens,
        fisheye=fisheye,
        R=POSES[:, :3, :3],
        t=POSES[:, :3, 3],
        offset_s=still,
        row_s=still,
        board_R=no_boards,
        board_t=no_boards[..., 0],
    )
    random = np.random.default_rng(3)
    pixels = np.stack([camera.project(truth) for camera in RIG.cameras], axis=1)
    pixels += random.normal(scale=0.5, size=pixels.shape)
    seen = np.arange(len(POSES)) != random.integers(0, len(POSES), (20, 1))
    found, errors = triangulate_pixels(np.where(seen[..., None], pixels, 0.0), seen, rig)
    for number in range(20):

        def residual(at: np.ndarray, number: int = number) -> np.ndarray:
            projected = np.stack([camera.project(at) for camera in RIG.cameras])
            return (projected - pixels[number])[seen[number]].ravel()

        expected = least_squares(residual, truth[number], xtol=1e-15, ftol=1e-15, gtol=1e-15)
        np.testing.assert_allclose(found[number], expected.x, atol=1e-7)
        np.testing.assert_allclose(errors[number][seen[number]].ravel(), -expected.fun, atol=1e-3)


def test_what_nothing_holds_stays_and_long_steps_are_cut() -> None:
    start = points(3)

    def linearise(at: np.ndarray) -> Linearised:
        residual = np.stack([at[0] + 100, np.zeros(3)])[:, None]
        jacobian = np.zeros((3, 2, 1, 3))
        jacobian[0, 0] = 1.0
        return Linearised(residual, jacobian, np.array([[1.0, 1.0, 0.0]]))

    found = refine(start, linearise, 1, 1e-9, longest_step_m=0.25)
    np.testing.assert_allclose(found, start - [[0.25, 0.25, 0.0], [0.0] * 3, [0.0] * 3], atol=1e-6)


def test_the_point_nearest_to_lines_is_the_least_squares_one() -> None:
    random = np.random.default_rng(4)
    origins, directions = random.normal(size=(6, 4, 3)), random.normal(size=(6, 4, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    weights, likely = random.uniform(0.1, 1.0, (6, 4)), random.normal(size=(6, 3))
    found = nearest_to_lines(origins, directions, weights, likely, 0.5)
    for number in range(6):

        def residual(at: np.ndarray, number: int = number) -> np.ndarray:
            off = np.cross(at - origins[number], directions[number])
            return np.concatenate([(np.sqrt(weights[number])[:, None] * off).ravel(), 0.5**0.5 * (at - likely[number])])

        np.testing.assert_allclose(found[number], least_squares(residual, np.zeros(3), xtol=1e-14).x, atol=1e-7)
