"""What a board is that is not flat and square is found from the views, solved for, and told."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from calibration.result.result import CalibrationOptions, CalibrationResult
from calibration.solve.board_shape import SHAPE_PARAMETERS, shape_derivatives, shaped
from calibration.solve.bundle_adjustment import minimise
from calibration.solve.calibrate import calibrate
from calibration.solve.intrinsics import choose_intrinsics
from calibration.solve.rig_solve import RigSolve
from calibration.solve.rig_state import SHAPE, linearise, residuals
from calibration.solve.view_table import make_table
from tests.support.board_scene import BOARD, arc_rig, observe, tour
from tests.support.random_faults import PrintedBoard, measured_errors
from tests.support.random_rigs import random_recording

FLAT_M = BOARD.corners_board_m - BOARD.corners_board_m.mean(0)
REACH_M = float(np.linalg.norm(FLAT_M, axis=1).max())
SHAPE_TRIED = np.array([0.02, -0.01, 0.05, -0.03, 0.02])


def solved(corners_m: np.ndarray, **options) -> tuple[CalibrationResult, float, float]:
    """The calibration of three cameras that saw a board with these corners, and what points are off by, mm and %."""
    rig = arc_rig(3, span_deg=80)
    path, seconds = tour(rig, BOARD, np.random.default_rng(1))
    printed = PrintedBoard(corners_m)
    seen = observe(rig, printed, path, int(seconds) + 1, np.random.default_rng(2), fps=1.0, noise_px=0.15)  # pyright: ignore[reportArgumentType]
    result = calibrate(seen, BOARD, options=CalibrationOptions(lens="pinhole5", **options))
    return result, *measured_errors(result.rig, rig, 0.15)


def test_a_flat_and_square_board_is_found_to_be_and_left_so() -> None:
    result, off_mm, off_percent = solved(BOARD.corners_board_m)
    shape = result.shape
    assert not shape.solved
    assert result.verdict == "good"
    assert result.cause is None
    assert abs(shape.stretch_percent) < 3 * shape.stretch_std_percent < 0.15
    assert abs(shape.shear_deg) < 3 * shape.shear_std_deg < 0.1
    assert shape.bend_mm < 4 * shape.bend_std_mm < 1.0
    assert off_mm < 0.2
    assert abs(off_percent) < 0.05


@pytest.mark.parametrize(("axis", "percent"), [(0, -3.0), (1, 1.2)])
def test_a_print_that_is_not_square_is_told_with_both_sides_and_never_good(axis: int, percent: float) -> None:
    stretch = np.ones(3)
    stretch[axis] += percent / 100
    result, *_ = solved(BOARD.corners_board_m * stretch)
    true_mm = 30 * stretch[:2] / stretch[:2].mean()
    assert np.abs(result.shape.square_mm - true_mm).max() < max(4 * result.shape.square_std_mm, 0.005)
    assert result.shape.square_std_mm < 0.02
    assert result.verdict != "good"
    (reason,) = (one for one in result.reasons if "not square" in one)
    assert f"{result.shape.square_mm[0]:.2f} mm wide and {result.shape.square_mm[1]:.2f} mm high" in reason
    assert "square_m: [WIDTH, HEIGHT]" in result.remedies[result.reasons.index(reason)]


def test_both_sides_in_the_boards_file_make_it_right() -> None:
    stretch = np.array([1.0, 0.97, 1.0])
    rig = arc_rig(3, span_deg=80)
    path, seconds = tour(rig, BOARD, np.random.default_rng(1))
    board = type(BOARD)(
        type="charuco", columns=9, rows=7, square_m=(0.03, 0.0291), dictionary="DICT_4X4_100", marker_m=0.0217
    )
    assert np.allclose(board.corners_board_m, BOARD.corners_board_m * stretch)
    seen = observe(rig, board, path, int(seconds) + 1, np.random.default_rng(2), fps=1.0, noise_px=0.15)
    result = calibrate(seen, board, options=CalibrationOptions(lens="pinhole5"))
    off_mm, off_percent = measured_errors(result.rig, rig, 0.15)
    assert result.verdict == "good"
    assert off_mm < 0.2
    assert abs(off_percent) < 0.05


def test_a_known_distance_says_which_side_is_right() -> None:
    known = {("cam_0", "cam_2"): float(np.linalg.norm(np.subtract(*(arc_rig(3, span_deg=80).cameras[n].centre_world_m
                                                                    for n in (0, 2)))))}  # fmt: skip
    result, *_ = solved(BOARD.corners_board_m * [1, 0.97, 1], known_distances_m=known)
    assert result.verdict != "good"
    (remedy,) = (one for one in result.remedies if "the known distances fit" in one)
    assert "30.00 x 29.10 mm" in remedy or "30.01 x 29.11 mm" in remedy or "29.99 x 29.09 mm" in remedy


@pytest.mark.parametrize(("around_deg", "height_m"), [(0.0, 0.003), (60.0, -0.010)])
def test_a_bent_board_is_solved_for_and_told(around_deg: float, height_m: float) -> None:
    """A sheet bent to an arc of a circle, which the fit's polynomial is not."""
    along = np.array([np.cos(np.radians(around_deg)), np.sin(np.radians(around_deg)), 0.0])
    place = FLAT_M @ along
    radius = (np.ptp(place) / 2) ** 2 / (2 * abs(height_m))
    bent = BOARD.corners_board_m + np.outer(radius * np.sin(place / radius) - place, along)
    bent[:, 2] += np.sign(height_m) * radius * (1 - np.cos(place / radius))
    result, off_mm, off_percent = solved(bent)
    assert result.shape.solved
    heights = (
        bent[:, 2]
        - np.column_stack([FLAT_M[:, :2], np.ones(len(bent))])
        @ np.linalg.lstsq(np.column_stack([FLAT_M[:, :2], np.ones(len(bent))]), bent[:, 2], rcond=None)[0]
    )
    assert abs(result.shape.bend_mm - 1000 * np.ptp(heights)) < 0.3
    assert any("the board is bent by" in warning for warning in result.warnings)
    assert off_mm < 0.3
    assert abs(off_percent) < 0.1


def test_paper_that_bends_keeps_its_lengths() -> None:
    curvature = np.array([0, 0, 0.04, 0, 0])
    strip = np.stack([np.linspace(-REACH_M, REACH_M, 2001), np.zeros(2001), np.zeros(2001)], axis=1)
    bent = shaped(strip, curvature, REACH_M)
    length = np.linalg.norm(np.diff(bent, axis=0), axis=1).sum()
    assert abs(length / (2 * REACH_M) - 1) < 1e-4
    assert abs(np.linalg.norm(bent[-1] - bent[0]) / (2 * REACH_M) - 1) > 9e-4


@pytest.mark.parametrize("at", [np.zeros(SHAPE_PARAMETERS), SHAPE_TRIED])
def test_derivatives_are_those_of_the_shape(at: np.ndarray) -> None:
    analytic = shape_derivatives(FLAT_M, at, REACH_M)
    for number, step in enumerate(1e-6 * np.eye(SHAPE_PARAMETERS)):
        numeric = (shaped(FLAT_M, at + step, REACH_M) - shaped(FLAT_M, at - step, REACH_M)) / 2e-6
        assert np.abs(analytic[..., number] - numeric).max() < 1e-8


def test_residuals_depend_on_the_shape_as_the_fit_has_it() -> None:
    recording = random_recording(1)
    table = make_table(recording.detections, BOARD, recording.rig.camera_ids)
    solve = RigSolve.bootstrap(table, choose_intrinsics(table, "pinhole5", {}), 20)
    some, state = solve.problem.table, dataclasses.replace(solve.state, shape=SHAPE_TRIED)
    jacobian = linearise(some, state, by_shape=True)[1][..., SHAPE]
    for number, step in enumerate(1e-5 * np.eye(SHAPE_PARAMETERS)):
        ahead, behind = (residuals(some, dataclasses.replace(state, shape=state.shape + s)) for s in (step, -step))
        numeric = (behind - ahead) / 2e-5
        assert np.abs((jacobian[..., number] - numeric)[some.seen]).max() < 1e-3 * np.abs(numeric[some.seen]).max()


def test_the_shape_that_is_foretold_is_the_one_that_is_fitted() -> None:
    """One look at the quadratic against a fit to the end, on noise alone."""
    from calibration.solve.bundle_adjustment import estimate_shape

    recording = random_recording(1)
    table = make_table(recording.detections, BOARD, recording.rig.camera_ids)
    solve = RigSolve.bootstrap(table, choose_intrinsics(table, "pinhole5", {}), 40).adjust()
    look = estimate_shape(solve.problem, solve.state)
    fitted = minimise(dataclasses.replace(solve.problem, shape_free=True), solve.state, tolerance=1e-4).state.shape
    assert (np.abs(look.values - fitted) < 0.25 * look.std + 0.1 * np.abs(fitted)).all()
    assert (np.abs(fitted) < 4 * look.std).all()


@pytest.mark.slow
def test_a_rendered_print_that_is_three_percent_short(calibration_cases_dir: Path, tmp_path: Path) -> None:
    session = calibration_cases_dir / "03_print_not_square/session"
    command = [sys.executable, "-m", "app", "calibrate", "--session", session, "-o", tmp_path / "rig.yaml", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["verdict"] != "good"
    assert "the print is not square" in summary["reasons"][0]
    assert np.abs(np.divide(*summary["board"]["square_mm"]) * 0.97 - 1) < 0.0005
    (tmp_path / "board.yaml").write_text(
        (session / "board.yaml").read_text().replace("square_m: 0.036", "square_m: [0.036, 0.03492]")
    )
    done = subprocess.run([*command, "--board", tmp_path / "board.yaml"], capture_output=True, text=True, check=True)
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["verdict"] == "good"
    truth = np.load(session / "truth.npz")
    centres = [np.linalg.inv(T)[:3, 3] for T in truth["T"]]
    assert abs(summary["distances_m"]["cam_0-cam_1"] - np.linalg.norm(centres[0] - centres[1])) < 0.002
