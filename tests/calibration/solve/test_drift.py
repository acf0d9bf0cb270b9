"""A camera that was moved after calibration: found, measured and solved again alone."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from calibration.errors import UserError
from calibration.rig import Rig
from calibration.rotations import make_transform, rotation_from_vector
from calibration.solve.drift import check_drift
from tests.support.board_scene import BOARD, arc_rig, board_path, observe, pose_errors


def _moved(rig: Rig, number: int, move_m: float, turn_deg: float) -> Rig:
    change = make_transform(
        rotation_from_vector(np.radians(turn_deg) * np.array([0, 0.6, 0.8])), np.array([move_m, 0, 0])
    )
    cameras = list(rig.cameras)
    cameras[number] = replace(cameras[number], T_cam_world=change @ cameras[number].T_cam_world)
    return replace(rig, cameras=tuple(cameras))


@pytest.mark.parametrize(("number", "move_m", "turn_deg"), [(1, 0.003, 0.2), (0, 0.1, 10.0)])
def test_the_moved_camera_is_found_and_solved_again(number: int, move_m: float, turn_deg: float) -> None:
    rng = np.random.default_rng(1)
    rig = arc_rig(3, span_deg=80)
    true = _moved(rig, number, move_m, turn_deg)
    report = check_drift(rig, observe(true, BOARD, board_path(BOARD, 12, rng), 50, rng, fps=4.0), BOARD)
    name = f"cam_{number}"
    assert report.moved == (name,)
    drift = report.cameras[name]
    assert drift.distance_mm == pytest.approx(1000 * move_m, abs=1.0)
    assert drift.angle_deg == pytest.approx(turn_deg, abs=0.06)
    assert drift.significance > 4 and report.after_px < 0.6 < report.before_px
    assert report.rig is not None
    rotation_deg, centre_mm, _ = pose_errors(report.rig, true)
    assert rotation_deg.max() < 0.06 and centre_mm.max() < 1.0
    for camera, before in zip(report.rig.cameras, rig.cameras, strict=True):
        if camera.camera_id != name:
            np.testing.assert_array_equal(camera.T_cam_world, before.T_cam_world)


def test_a_rig_that_stood_still() -> None:
    rng = np.random.default_rng(1)
    rig = arc_rig(3, span_deg=80)
    report = check_drift(rig, observe(rig, BOARD, board_path(BOARD, 12, rng), 50, rng, fps=4.0), BOARD)
    assert report.moved == () and report.rig is None and report.note == "no camera has moved"


def test_two_cameras_cannot_tell_which_moved() -> None:
    rng = np.random.default_rng(1)
    rig = arc_rig(2, span_deg=40)
    true = _moved(rig, 1, 0.02, 1.0)
    report = check_drift(rig, observe(true, BOARD, board_path(BOARD, 12, rng), 50, rng, fps=4.0), BOARD)
    assert report.rig is None and "which" in report.note


def test_a_wrong_square_is_not_taken_for_motion() -> None:
    rng = np.random.default_rng(1)
    rig = arc_rig(3, span_deg=80)
    detections = observe(rig, BOARD, board_path(BOARD, 12, rng), 50, rng, fps=4.0)
    report = check_drift(rig, detections, msgspec.structs.replace(BOARD, square_m=0.033))
    assert report.moved == () and report.scale_percent == pytest.approx(10, abs=0.5)
    assert "square" in report.note


def test_images_of_another_size_are_refused() -> None:
    rng = np.random.default_rng(1)
    rig = arc_rig(2, span_deg=40)
    detections = observe(rig, BOARD, board_path(BOARD, 5, rng), 10, rng)
    detections = replace(detections, image_size=dict.fromkeys(detections.image_size, (640, 360)))
    with pytest.raises(UserError, match="640x360"):
        check_drift(rig, detections, BOARD)


def test_a_rig_without_time_offsets_that_fits_badly_names_no_camera() -> None:
    rng = np.random.default_rng(1)
    rig = arc_rig(3, span_deg=80)
    seen = observe(rig, BOARD, board_path(BOARD, 12, rng), 50, rng, fps=4.0, late_s={"cam_1": 0.05})
    report = check_drift(replace(rig, time_offsets_known=False), seen, BOARD)
    assert report.moved == () and report.rig is None and report.verdict == "cannot tell"
    assert "calibrate it here first" in report.note and all(np.isnan(one.angle_deg) for one in report.cameras.values())
