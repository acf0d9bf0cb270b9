"""One video under two names, videos under each other's names, and two boards alike: each is named."""

from dataclasses import replace

import numpy as np
import pytest

from calibration.board.views import Detections
from calibration.errors import UserError
from calibration.rig import Rig
from calibration.solve.calibrate import calibrate
from calibration.solve.drift import check_drift
from calibration.solve.exchanged import exchanged_cameras
from tests.support.board_scene import BOARD, arc_rig, board_path, observe


@pytest.fixture(scope="module")
def plain() -> tuple[Rig, Detections]:
    rng = np.random.default_rng(1)
    rig = arc_rig(3, span_deg=80)
    first, second, third = rig.cameras
    longer = replace(second.camera, matrix=second.camera.matrix * [[1.1, 1, 1], [1, 1.1, 1], [1, 1, 1]])
    rig = replace(rig, cameras=(first, replace(second, camera=longer), third))
    return rig, observe(rig, BOARD, board_path(BOARD, 20, rng), 60, rng, fps=4.0, noise_px=0.15)


def renamed(detections: Detections, source_of: dict[str, str]) -> Detections:
    """With each camera's views those of another."""
    views = {
        name: [replace(view, camera_id=name) for view in detections.views[source_of.get(name, name)]]
        for name in detections.views
    }
    return replace(detections, views=views)


@pytest.mark.parametrize(("noise_px", "every"), [(0.1, 1), (0.25, 2)])
def test_one_video_for_two_cameras_is_named(plain: tuple[Rig, Detections], noise_px: float, every: int) -> None:
    twice = renamed(plain[1], {"cam_2": "cam_0"})
    # Compressed anew, so that the board is lost in some images, and begun some frames later.
    rng = np.random.default_rng(0)
    noisy = [
        replace(view, corners_px=view.corners_px + rng.normal(0, noise_px, view.corners_px.shape))
        for view in twice.views["cam_2"][::every]
    ]
    with pytest.raises(UserError, match="`cam_0` and `cam_2` show the same pictures"):
        calibrate(replace(twice, views={**twice.views, "cam_2": noisy[3:]}), BOARD)


def test_exchanged_videos_are_named_by_given_lenses(plain: tuple[Rig, Detections]) -> None:
    rig, detections = plain
    given = {camera.camera_id: camera.camera for camera in rig.cameras}
    exchanged = renamed(detections, {"cam_0": "cam_1", "cam_1": "cam_0"})
    warnings = calibrate(exchanged, BOARD, given_intrinsics=given).warnings
    assert [each for each in warnings if "videos of cam_0 and cam_1 look exchanged" in each]
    assert not [each for each in calibrate(detections, BOARD, given_intrinsics=given).warnings if "exchanged" in each]


def test_exchanged_videos_are_named_by_the_rig_before(plain: tuple[Rig, Detections]) -> None:
    rig, detections = plain
    exchanged = renamed(detections, {"cam_1": "cam_2", "cam_2": "cam_1"})
    assert exchanged_cameras(rig, exchanged, BOARD) == ("cam_1", "cam_2")
    assert exchanged_cameras(rig, detections, BOARD) is None
    assert "cam_1 and cam_2 look exchanged" in check_drift(rig, exchanged, BOARD).note


def test_two_boards_alike_are_named(plain: tuple[Rig, Detections]) -> None:
    _, detections = plain
    rejected = {"cam_1": {"two boards": 9}}
    warnings = calibrate(replace(detections, rejected=rejected), BOARD).warnings
    assert any("two boards alike are in view at once in 9 images of cam_1" in warning for warning in warnings)
    none_left = replace(detections, rejected=rejected, views={**detections.views, "cam_1": []})
    with pytest.raises(UserError, match=r"two boards alike.*Of camera `cam_1` no image is left"):
        calibrate(none_left, BOARD)
