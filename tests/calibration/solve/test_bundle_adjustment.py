"""The joint least squares: derivatives against finite differences, covariance against the spread over seeds."""

import dataclasses

import numpy as np
import pytest

from calibration.board.board import Board
from calibration.camera import Camera
from calibration.result.result import CalibrationOptions, CalibrationResult
from calibration.rotations import rotation_from_vector
from calibration.solve.calibrate import calibrate
from calibration.solve.lens_derivatives import camera_from_vector, lens_vector, project_views, project_with_derivatives
from calibration.solve.normal_equations import inverse_definite
from calibration.solve.rig_state import (
    CAMERA_PARAMETERS,
    OFFSET,
    ROW,
    RigState,
    apply_step,
    linearise,
    residuals,
)
from calibration.solve.view_table import BoardTable, make_table
from tests.support.board_scene import DISTORTION, arc_rig, board_path, observe, tour
from tests.support.jacobians import assert_jacobian

SMALL_BOARD = Board(type="charuco", columns=6, rows=5, square_m=0.05, dictionary="DICT_4X4_50", marker_m=0.037)


def _random_problem() -> tuple[BoardTable, RigState]:
    rng = np.random.default_rng(3)
    rig = arc_rig(3, span_deg=60)
    detections = observe(rig, SMALL_BOARD, board_path(SMALL_BOARD, 5, rng), 6, rng)
    table = make_table(detections, SMALL_BOARD, rig.camera_ids)
    table = dataclasses.replace(table, velocity_px_s=rng.normal(0, 100, table.pixels.shape) * table.seen[..., None])
    lens = np.stack([lens_vector(camera.camera) for camera in rig.cameras])
    lens[:, 4:] = rng.normal(0, 0.02, (3, 8))
    state = RigState(
        lens=lens,
        fisheye=np.array([False, True, False]),
        R=rotation_from_vector(rng.normal(0, 0.1, (3, 3))),
        t=rng.normal(0, 0.1, (3, 3)),
        offset_s=rng.normal(0, 0.01, 3),
        row_s=rng.normal(0, 1e-5, 3),
        board_R=rotation_from_vector(rng.normal(0, 0.5, (table.set_count, 3))),
        board_t=rng.normal(0, 0.1, (table.set_count, 3)) + [0, 0, 1.0],
    )
    return table, state


def test_the_jacobian_of_all_unknowns_agrees_with_finite_differences() -> None:
    table, state = _random_problem()
    _, jacobian = linearise(table, state)

    def minus_residuals(step: np.ndarray) -> np.ndarray:
        camera = np.tile(step[:CAMERA_PARAMETERS], (3, 1))
        board = np.tile(step[CAMERA_PARAMETERS:], (table.set_count, 1))
        return -residuals(table, apply_step(state, camera, board))

    sizes = np.full(CAMERA_PARAMETERS + 6, 1e-6)
    sizes[ROW] = 1e-9
    assert np.abs(jacobian[..., OFFSET]).max() > 10
    assert_jacobian(minus_residuals, jacobian * table.seen[..., None, None], sizes=sizes)


@pytest.mark.parametrize("lens", ["pinhole5", "pinhole8", "fisheye4"])
def test_the_jacobians_of_a_lens_agree_with_finite_differences(lens: str) -> None:
    rng = np.random.default_rng(2)
    points = rng.normal(0, 0.3, (2, 30, 3)) + [0, 0, 1.2]
    points[0, 0] = [1e-12, 0, 1]
    vectors, fisheye = np.zeros((2, 12)), np.full(2, lens == "fisheye4")
    vectors[:, :4] = [900.0, 905, 640, 350]
    vectors[:, 4 : 4 + len(DISTORTION[lens])] = DISTORTION[lens]
    _, by_point, by_lens = project_with_derivatives(points, vectors, fisheye)
    assert_jacobian(lambda step: project_views(points + step, vectors, fisheye), by_point)
    used = 8 if lens == "fisheye4" else 12
    sizes = np.repeat([1e-3, 1e-6], [4, used - 4])

    def with_lens(step: np.ndarray) -> np.ndarray:
        return project_views(points, vectors + np.pad(step, (0, 12 - used)), fisheye)

    assert_jacobian(with_lens, by_lens[..., :used], sizes=sizes)


@pytest.mark.parametrize("lens", ["pinhole5", "pinhole8", "fisheye4"])
def test_projection_agrees_with_the_camera_model(lens: str) -> None:
    matrix = np.array([[900.0, 0, 640], [0, 905, 350], [0, 0, 1]])
    camera = Camera(width=1280, height=720, lens=lens, matrix=matrix, distortion=np.array(DISTORTION[lens]))  # type: ignore[arg-type]
    points = np.random.default_rng(0).normal(0, 0.3, (1, 40, 3)) + [0, 0, 1]
    vector, fisheye = lens_vector(camera), np.array([lens == "fisheye4"])
    expected = camera.project(points[0])
    np.testing.assert_allclose(project_with_derivatives(points, vector[None], fisheye)[0][0], expected, atol=1e-9)
    np.testing.assert_allclose(project_views(points, vector[None], fisheye)[0], expected, atol=1e-9)
    again = camera_from_vector(vector, lens, (1280, 720))  # type: ignore[arg-type]
    np.testing.assert_array_equal(again.distortion, camera.distortion)


def test_blocks_of_very_different_scales_are_inverted() -> None:
    jacobian = np.random.default_rng(0).normal(size=(50, 40, 6)) * [1e4, 1e3, 1e2, 1, 0.1, 1e-3]
    blocks = np.swapaxes(jacobian, 1, 2) @ jacobian
    before = blocks.copy()
    product = inverse_definite(blocks) @ blocks
    scale = np.sqrt(np.einsum("sii->si", blocks))
    np.testing.assert_allclose(product * scale[:, :, None] / scale[:, None], np.tile(np.eye(6), (50, 1, 1)), atol=1e-12)
    np.testing.assert_array_equal(blocks, before)


def _calibrated(seed: int) -> CalibrationResult:
    rig = arc_rig(3, span_deg=70)
    path, seconds = tour(rig, SMALL_BOARD, np.random.default_rng(1), near_poses=6, shared_poses=24)
    detections = observe(rig, SMALL_BOARD, path, int(seconds) + 1, np.random.default_rng(seed), fps=1.0)
    return calibrate(detections, SMALL_BOARD, options=CalibrationOptions(lens="pinhole5", time_offsets=False))


def _spread_over_estimate(seeds: int) -> dict[str, float]:
    """Root mean square over cameras of (spread over seeds) / (estimated standard deviation), per kind of parameter."""
    results = [_calibrated(seed) for seed in range(seeds)]
    found: dict[str, list[np.ndarray]] = {"rotation": [], "position": [], "focal": [], "centre": []}
    stds: dict[str, list[np.ndarray]] = {kind: [] for kind in found}
    for number, camera_id in enumerate(results[0].rig.camera_ids):
        reference = results[0].rig.cameras[number].T_cam_world
        turns, places, lenses, variances = [], [], [], []
        for result in results:
            T = result.rig.cameras[number].T_cam_world
            turn = T[:3, :3] @ reference[:3, :3].T
            turns.append(np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) / 2)
            places.append(reference[:3, :3] @ (-T[:3, :3].T @ T[:3, 3]))
            lenses.append(lens_vector(result.rig.cameras[number].camera)[:4])
            variances.append(np.diag(result.covariance[camera_id]))
        estimated = np.sqrt(np.mean(variances, axis=0))
        groups = [("focal", np.array(lenses)[:, :2], slice(6, 8)), ("centre", np.array(lenses)[:, 2:], slice(8, 10))]
        if number > 0:
            groups += [("rotation", np.array(turns), slice(0, 3)), ("position", np.array(places), slice(3, 6))]
        for kind, values, where in groups:
            found[kind].append(values.std(0, ddof=1))
            stds[kind].append(estimated[where])
    return {
        kind: float(np.sqrt(np.mean((np.concatenate(found[kind]) / np.concatenate(stds[kind])) ** 2))) for kind in found
    }


def test_the_covariance_agrees_with_the_spread_over_a_few_seeds() -> None:
    for kind, ratio in _spread_over_estimate(10).items():
        assert 0.6 < ratio < 1.6, f"{kind}: {ratio}"


@pytest.mark.slow
def test_the_covariance_agrees_with_the_spread_over_fifty_seeds() -> None:
    for kind, ratio in _spread_over_estimate(50).items():
        assert 0.7 < ratio < 1.4, f"{kind}: {ratio}"
