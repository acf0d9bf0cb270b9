"""Recordings with a fault are not called good though points are off, and the fault is named; sound ones are not poor.

`python -m tests.support.fault_outcomes 300` measures the figures of docs/calibration.md.
"""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from calibration.board.views import Detections
from calibration.errors import UserError
from calibration.result.result import CalibrationOptions, ImageFigures
from calibration.result.verdict import Evidence, judge
from calibration.rig import Rig
from calibration.solve.calibrate import calibrate
from tests.support.board_scene import BOARD, arc_rig, board_path, observe, tour
from tests.support.calibration_scene import synthetic_result
from tests.support.fault_outcomes import outcome, summary
from tests.support.random_faults import FAULTS, measured_errors, random_fault

# How many random faults the slow test makes; 300 are those of the docs.
COUNT = int(os.environ.get("USTHAND_TEST_FAULTS", "60"))


@pytest.mark.parametrize(
    ("kind", "seed"), [("focus", 42), ("bump", 33), ("rate", 5), ("exchanged", 36), ("wrong board", 18)]
)
def test_a_fault_is_named_and_its_recording_not_good(kind: str, seed: int) -> None:
    found = outcome(seed, kind)
    assert found.verdict != "good", str(found)
    assert found.named, str(found)


def test_a_fast_board_between_few_frames_is_told_and_not_poor() -> None:
    rig = arc_rig(3, span_deg=80)
    path = board_path(BOARD, 40, np.random.default_rng(1), pace_s=0.7)
    seen = observe(rig, BOARD, path, 240, np.random.default_rng(2), fps=6.0, noise_px=0.03, jitter_s=0.03)
    result = calibrate(seen, BOARD, options=CalibrationOptions(lens="pinhole5", max_sets=60, final_sets=120))
    assert max(one.rmse_px / one.intrinsic_rmse_px for one in result.cameras.values()) > 12
    assert result.cause is not None
    assert result.cause.kind == "motion", result.cause
    assert not any("alone, but to" in reason for reason in result.reasons) or result.verdict != "poor", result.reasons


@pytest.mark.slow
def test_random_faults_are_named_and_none_is_good_with_points_off() -> None:
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        outcomes = list(pool.map(outcome, range(COUNT)))
    table = summary(outcomes)
    assert not [str(one) for one in outcomes if one.verdict == "good" and one.wrong], table
    faults = [one for one in outcomes if one.recording.kind != "sound"]
    assert sum(one.named for one in faults) >= 0.8 * len(faults), table
    assert not [str(one) for one in outcomes if one.recording.kind == "sound" and one.verdict == "poor"], table
    assert {one.recording.kind for one in outcomes} == set(FAULTS)


def test_a_change_is_as_large_and_at_the_moment_as_it_was() -> None:
    """A lens that is focused anew looks like a camera that goes back and forth, until both are fitted."""
    recording = random_fault(42, "focus")
    result = calibrate(recording.detections, BOARD, options=CalibrationOptions(lens="pinhole5", max_sets=60))
    cause = result.cause
    assert cause is not None
    assert cause.kind == "focus"
    assert cause.cameras == ("cam_3",)
    assert "by -1.7 %" in cause.text
    assert cause.share > 0.25
    assert cause.after_s is not None
    assert any(cause.text in reason for reason in result.reasons)


@pytest.mark.parametrize(
    ("alone_px", "joint_px", "verdict"),
    [(0.07, 1.06, "poor"), (0.02, 0.4, "poor"), (0.1, 0.7, "usable"), (0.11, 0.49, "good"), (0.3, 0.31, "good")],
)
def test_a_camera_that_fits_alone_and_not_with_the_others_is_told(
    alone_px: float, joint_px: float, verdict: str
) -> None:
    result = synthetic_result(3)
    figures = replace(result.cameras["cam_1"], intrinsic_rmse_px=alone_px, rmse_px=joint_px, position_std_mm=0.1)
    other = replace(figures, intrinsic_rmse_px=0.3, rmse_px=0.31)
    evidence = Evidence(
        converged=True,
        heldout=ImageFigures(trim_rmse_px=0.1, rigidity_mm_rms=0.1),
        pixel_scale=1.0,
        board=result.board,
        working_distance_m=1.0,
        cameras={"cam_0": replace(other, coverage=0.5), "cam_1": replace(figures, coverage=0.5)},
        focal_std={"cam_0": 0.001, "cam_1": 0.001},
        tilt_deg={"cam_0": 40.0, "cam_1": 40.0},
        held=(),
        shared_moments={"cam_0": 40, "cam_1": 40},
        scale_bias_percent=None,
        median_rmse_px=0.3,
        shape=result.shape,
        cause=None,
    )
    assert judge(evidence)[0] == verdict
    if verdict != "good":
        assert (
            f"{max(alone_px, 0.03):.2f} pixels alone, but to {joint_px:.2f} pixels with the others"
            in judge(evidence)[1][0]
        )


def test_an_image_that_is_stabilised_is_no_camera_that_moved() -> None:
    """Every image shifted by itself: a change of the camera at one moment would remove a few percent of it."""
    rig, rng = arc_rig(4), np.random.default_rng(2)
    path = board_path(BOARD, 60, np.random.default_rng(1))
    seen = observe(rig, BOARD, path, 60, rng, fps=1.0, noise_px=0.2)
    shaken = [replace(view, corners_px=view.corners_px + rng.normal(0, 6, 2)) for view in seen.views["cam_1"]]
    seen = replace(seen, views=seen.views | {"cam_1": shaken})
    result = calibrate(seen, BOARD, options=CalibrationOptions(lens="pinhole5", max_sets=60, final_sets=120))
    assert result.verdict == "poor"
    assert result.cause is None, result.cause
    assert any("alone, but to" in reason for reason in result.reasons), result.reasons
    assert any("stabilises its image" in remedy for remedy in result.remedies), result.remedies


def test_a_fit_that_did_not_settle_names_no_cause() -> None:
    """Clocks that are seconds apart and taken as they are: what a quadratic about such a fit says is nothing."""
    rig = arc_rig(3, span_deg=80)
    path = board_path(BOARD, 25, np.random.default_rng(1), pace_s=1.5)
    seen = observe(rig, BOARD, path, 250, np.random.default_rng(2), fps=10.0, noise_px=0.1)
    views = {
        name: [replace(view, time_ns=view.time_ns + round(1e9 * late_s)) for view in seen.views[name]]
        for name, late_s in (("cam_0", 0.0), ("cam_1", 3.7), ("cam_2", -5.0))
    }
    options = CalibrationOptions(lens="pinhole5", max_sets=40, final_sets=80, time_offsets=False)
    result = calibrate(replace(seen, views=views), BOARD, options=options)
    assert any("not settled" in reason for reason in result.reasons), result.reasons
    assert result.cause is None, result.cause


@pytest.mark.parametrize(
    ("focal", "centre_px", "distorted"), [(1.01, 0, True), (1.5, 0, True), (1.0, 25, True), (1.0, 0, False)]
)
def test_a_given_lens_that_is_not_the_one_that_filmed_is_named(focal: float, centre_px: float, distorted: bool) -> None:
    """Of no camera it is said that it moved, which sends the user to film again with the same lens."""
    rig = arc_rig(4)
    path, seconds = tour(rig, BOARD, np.random.default_rng(3), near_poses=5)
    seen = observe(rig, BOARD, path, int(seconds), np.random.default_rng(0), fps=1.0, noise_px=0.2)
    given = {camera.camera_id: camera.camera for camera in rig.cameras}
    matrix = given["cam_1"].matrix * np.array([[focal, 1, 1], [1, focal, 1], [1, 1, 1]])
    matrix[0, 2] += centre_px
    given["cam_1"] = replace(given["cam_1"], matrix=matrix, distortion=given["cam_1"].distortion * distorted)
    options = CalibrationOptions(lens="pinhole5", max_sets=60, final_sets=120)
    result = calibrate(seen, BOARD, given_intrinsics=given, options=options)
    assert result.verdict != "good"
    assert result.cause is not None, result.reasons
    assert (result.cause.kind, result.cause.cameras) == ("lens", ("cam_1",)), result.cause
    assert any("leave `--intrinsics` out" in remedy for remedy in result.remedies), result.remedies


@pytest.mark.parametrize(("cameras", "focal"), [(2, 0.98), (3, 1.01)])
def test_given_lenses_that_are_all_off_alike_are_named(cameras: int, focal: float) -> None:
    """Cameras stand as much farther off, which fits nearly as well: each lens alone explains little."""
    rig = arc_rig(cameras)
    path, seconds = tour(rig, BOARD, np.random.default_rng(3), near_poses=4)
    seen = observe(rig, BOARD, path, int(seconds), np.random.default_rng(0), fps=1.0, noise_px=0.2)
    given = {
        one.camera_id: replace(one.camera, matrix=one.camera.matrix * [[focal, 1, 1], [1, focal, 1], [1, 1, 1]])
        for one in rig.cameras
    }
    options = CalibrationOptions(max_sets=60, final_sets=120)
    result = calibrate(seen, BOARD, given_intrinsics=given, options=options)
    assert result.verdict != "good"
    assert result.cause is not None
    assert (result.cause.kind, result.cause.cameras) == ("lens", rig.camera_ids), result.cause
    off = float(result.cause.text.split("up to ")[1].split()[0])
    assert abs(off - abs(100 * (1 - focal))) < 0.3, result.cause.text


def _fisheyes(focal_px: float) -> tuple[Rig, Detections]:
    rig = arc_rig(3, focal_px=focal_px, lens="fisheye4", distance_m=0.5, span_deg=80)
    path, seconds = tour(rig, BOARD, np.random.default_rng(3), near_poses=5, shared_poses=20)
    return rig, observe(rig, BOARD, path, int(seconds), np.random.default_rng(0), fps=1.0, noise_px=0.2)


def test_a_given_lens_of_another_kind_is_named_and_not_the_board() -> None:
    """Fisheyes' lenses given as of a pinhole: every camera misses the board far, even alone."""
    rig, seen = _fisheyes(480)
    given = {one.camera_id: replace(one.camera, lens="pinhole5", distortion=np.zeros(5)) for one in rig.cameras}
    result = calibrate(seen, BOARD, given_intrinsics=given, options=CalibrationOptions(max_sets=40, final_sets=60))
    assert result.verdict == "poor"
    assert result.cause is not None
    assert (result.cause.kind, result.cause.cameras) == ("lens", rig.camera_ids), result.cause
    assert not any("not the board" in remedy for remedy in result.remedies), result.remedies
    assert any("leave `--intrinsics` out" in remedy for remedy in result.remedies), result.remedies


def test_a_model_that_was_asked_for_and_does_not_hold_is_named_and_not_the_board() -> None:
    rig, seen = _fisheyes(380)
    options = CalibrationOptions(lens="pinhole5", max_sets=40, final_sets=60)
    result = calibrate(seen, BOARD, options=options)
    assert result.cause is not None
    assert (result.cause.kind, result.cause.cameras) == ("lens", rig.camera_ids), result.cause
    assert not any("not the board" in remedy for remedy in result.remedies), result.remedies
    assert any("leave `--lens` out" in remedy for remedy in result.remedies), result.remedies


def test_another_board_is_not_taken_for_wrong_given_lenses() -> None:
    recording = random_fault(8, "wrong board")
    given = {camera.camera_id: camera.camera for camera in recording.rig.cameras}
    with pytest.raises(UserError, match="not the board that"):
        calibrate(recording.detections, BOARD, given_intrinsics=given)


@pytest.mark.parametrize(("kind", "cause"), [("bump", "moved"), ("rate", "clock"), ("sound", None)])
def test_given_lenses_that_are_right_are_not_blamed(kind: str, cause: str | None) -> None:
    recording = random_fault(201, kind)
    given = {camera.camera_id: camera.camera for camera in recording.rig.cameras}
    options = CalibrationOptions(max_sets=60, final_sets=120)
    result = calibrate(recording.detections, BOARD, given_intrinsics=given, options=options)
    assert (None if result.cause is None else result.cause.kind) == cause, result.reasons


@pytest.mark.parametrize(("row_s", "asked", "noted"), [(3e-5, False, True), (0.0, False, False), (3e-5, True, False)])
def test_rows_that_are_read_one_after_the_other_are_noted(row_s: float, asked: bool, noted: bool) -> None:
    """With the flag that the note names the rig is better."""
    rig = arc_rig(4)
    path, seconds = tour(rig, BOARD, np.random.default_rng(3), near_poses=1, shared_poses=14, pace_s=2.0)
    rng = np.random.default_rng(1)
    seen = observe(rig, BOARD, path, int(10 * seconds), rng, fps=10.0, noise_px=0.2, row_time_s=row_s)
    options = CalibrationOptions(lens="pinhole5", max_sets=40, final_sets=60, rolling_shutter=asked)
    result = calibrate(seen, BOARD, options=options)
    assert any("--rolling-shutter" in warning for warning in result.warnings) == noted, result.warnings
    off_mm = measured_errors(result.rig, rig, 0.15)[0]
    assert (off_mm > 0.09) == noted, off_mm
