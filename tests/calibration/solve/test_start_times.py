"""Clocks that are seconds apart are found from how the board turns, and told in the camera's own frames."""

from dataclasses import replace

import numpy as np
import pytest

from calibration.board.views import Detections
from calibration.errors import UserError
from calibration.result.result import CalibrationOptions
from calibration.solve.calibrate import calibrate
from tests.support.board_scene import BOARD, arc_rig, board_path, observe, pose_errors

RIG = arc_rig(3, span_deg=80)
OPTIONS = CalibrationOptions(lens="pinhole5", max_sets=40, final_sets=80)


def _seen(late_s: dict[str, float], fps: float | dict[str, float] = 10.0) -> Detections:
    """A board that moves for 25 s; the stamps of the cameras are late by so much."""
    path = board_path(BOARD, 25, np.random.default_rng(1), pace_s=1.5)
    fastest = max(fps.values()) if isinstance(fps, dict) else fps
    seen = observe(RIG, BOARD, path, int(25 * fastest), np.random.default_rng(2), fps=fps, noise_px=0.1)
    views = {
        camera_id: [replace(view, time_ns=view.time_ns + round(1e9 * late_s.get(camera_id, 0))) for view in own]
        for camera_id, own in seen.views.items()
    }
    return replace(seen, views=views)


@pytest.mark.parametrize(
    ("late_s", "fps"),
    [
        ({"cam_1": 3.72}, 10.0),
        ({"cam_1": -9.33, "cam_2": 1.518}, {"cam_0": 10.0, "cam_1": 20.0, "cam_2": 15.0}),
    ],
)
def test_clocks_that_are_seconds_apart_are_found(late_s: dict[str, float], fps: float | dict[str, float]) -> None:
    result = calibrate(_seen(late_s, fps), BOARD, options=OPTIONS)
    assert result.verdict != "poor", result.reasons
    offsets_s = np.array([figures.time_offset_ns * 1e-9 for figures in result.cameras.values()])
    true_s = np.array([late_s.get(camera_id, 0.0) for camera_id in RIG.camera_ids])
    np.testing.assert_allclose(offsets_s - offsets_s[0], true_s - true_s[0], atol=0.002)
    assert pose_errors(result.rig, RIG)[1].max() < 10
    assert not any("cut short" in warning for warning in result.warnings), result.warnings


def test_a_late_camera_is_told_in_its_own_frames() -> None:
    """Also where the fit takes only some of the moments, which lie farther apart."""
    result = calibrate(_seen({"cam_1": 0.4}), BOARD, options=OPTIONS)
    assert any("cam_1 are 400 ms (4.0 frames) late" in warning for warning in result.warnings), result.warnings


def test_cameras_that_never_see_the_board_together_stay_apart() -> None:
    seen = _seen({})
    middle_ns = (100 + 12.5) * 1e9
    views = {
        camera_id: [view for view in own if (view.time_ns > middle_ns) == (camera_id == "cam_2")]
        for camera_id, own in seen.views.items()
    }
    with pytest.raises(UserError, match="never saw the board at the same moment"):
        calibrate(replace(seen, views=views), BOARD, options=OPTIONS)


def test_time_stamps_are_taken_as_they_are_where_that_is_wanted() -> None:
    options = replace(OPTIONS, time_offsets=False)
    result = calibrate(_seen({"cam_1": 0.3}), BOARD, options=options)
    assert [figures.time_offset_ns for figures in result.cameras.values()] == [0, 0, 0]
    assert result.verdict == "poor"
