"""A clock that jumps amid a recording is named with the camera, the moment and by how much; what is none is not."""

import re
from dataclasses import replace

import numpy as np
import pytest

from calibration.board.views import Detections
from calibration.result.result import CalibrationOptions
from calibration.solve.calibrate import calibrate
from calibration.solve.clock_jump import find_jump
from calibration.solve.intrinsics import Intrinsics
from calibration.solve.view_poses import ViewPoses, view_poses
from calibration.solve.view_table import make_table
from tests.support.board_scene import BOARD, arc_rig, board_path, observe
from tests.support.random_faults import random_fault

FPS, SECONDS = 10.0, 40


def filmed(cameras: int, jump_s: float, share: float = 0.5) -> Detections:
    """The clock of the second camera jumps after this share of the recording."""
    rig = arc_rig(cameras, span_deg=80)
    path = board_path(BOARD, SECONDS, np.random.default_rng(1), pace_s=1.5)
    seen = observe(rig, BOARD, path, int(FPS * SECONDS), np.random.default_rng(2), fps=FPS, noise_px=0.15)
    begin_ns = min(view.time_ns for views in seen.views.values() for view in views)
    moment_ns = begin_ns + round(1e9 * share * SECONDS)
    own = [
        replace(view, time_ns=view.time_ns + round(1e9 * jump_s)) if view.time_ns > moment_ns else view
        for view in seen.views["cam_1"]
    ]
    return replace(seen, views=seen.views | {"cam_1": own})


def poses_of(detections: Detections, cameras: int) -> ViewPoses:
    lenses = Intrinsics.of_rig(arc_rig(cameras, span_deg=80))
    return view_poses(make_table(detections, BOARD, tuple(detections.views)), lenses.lens, lenses.fisheye)


@pytest.mark.parametrize("cameras", [2, 3])
@pytest.mark.parametrize(("jump_s", "share"), [(0.5, 0.5), (1.3, 0.35), (7.0, 0.65), (-3.0, 0.5)])
def test_a_jump_is_found_as_large_and_when_it_was(cameras: int, jump_s: float, share: float) -> None:
    jump = find_jump(poses_of(filmed(cameras, jump_s, share), cameras))
    assert jump is not None
    assert jump.cameras == ((0, 1) if cameras == 2 else (1,))
    late_s = -jump.late_s if cameras == 2 else jump.late_s  # of two, the first one's
    assert late_s == pytest.approx(jump_s, abs=0.6 / FPS)
    # Of the stamps, which either leave out or repeat as much as they jump.
    assert jump.time_s == pytest.approx(share * SECONDS, abs=abs(jump_s) + 1.0)
    assert jump.share > 0.8


def test_what_is_no_jump_is_none() -> None:
    assert find_jump(poses_of(filmed(3, 0.0), 3)) is None
    for kind in ("bump", "rate", "offset", "exchanged"):
        recording = random_fault(301, kind)
        table = make_table(recording.detections, BOARD, recording.rig.camera_ids)
        lenses = Intrinsics.of_rig(recording.rig)
        assert find_jump(view_poses(table, lenses.lens, lenses.fisheye)) is None, kind


@pytest.mark.parametrize(
    ("cameras", "jump_s", "told"),
    [
        (3, 1.3, "the time stamps of camera cam_1 jump at about 2[01] s: they are about 1300 ms later from then on"),
        (2, -2.0, "the time stamps of camera cam_0 or cam_1 jump at about [12][0-9] s, by about 2000 ms against each"),
    ],
)
def test_a_calibration_names_it_and_no_camera_that_moved(cameras: int, jump_s: float, told: str) -> None:
    options = CalibrationOptions(lens="pinhole5", max_sets=40, final_sets=60)
    result = calibrate(filmed(cameras, jump_s), BOARD, options=options)
    assert result.verdict == "poor"
    assert result.cause is not None
    assert result.cause.kind == "clock", result.cause
    assert re.match(told, result.cause.text), result.cause.text
    assert any("how its frames are stamped" in remedy for remedy in result.remedies), result.remedies
