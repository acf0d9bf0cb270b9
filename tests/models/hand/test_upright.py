"""Upright crops: where the hand lies in them, however it is turned, and that the camera that comes with them fits."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from models.hand.crop import MIRROR_X
from models.hand.upright import make_upright_crop, square_around
from models.simulation.hands import hands_at
from models.simulation.simulated_rig import ring_rig

SIZE_PX = 224
JOINTS_M = hands_at(0.4)["right"]
RIG = ring_rig(4)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("mirror", [False, True])
def test_the_hand_points_up_and_fills_the_square(seed: int, mirror: bool) -> None:
    turn = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    middle_m = JOINTS_M.mean(0)
    joints_m = (JOINTS_M - middle_m) @ turn.T + middle_m
    for camera in RIG.cameras:
        crop = make_upright_crop(camera, middle_m, joints_m, SIZE_PX, mirror)
        hand_m = joints_m - middle_m
        square = square_around(crop.project(hand_m @ MIRROR_X if mirror else hand_m))
        assert square.centre_px == pytest.approx([(SIZE_PX - 1) / 2] * 2, abs=1e-6)
        assert square.side_px == pytest.approx(SIZE_PX, abs=1e-6)
        assert abs(square.angle_rad) < 1e-9


def test_a_margin_shows_more_around_the_same_middle() -> None:
    camera, middle_m = RIG.cameras[0], JOINTS_M.mean(0)
    tight, wide = (make_upright_crop(camera, middle_m, JOINTS_M, SIZE_PX, margin=margin) for margin in (1.0, 1.25))
    offsets = [crop.project(JOINTS_M - middle_m) - (SIZE_PX - 1) / 2 for crop in (tight, wide)]
    assert offsets[0] == pytest.approx(1.25 * offsets[1], abs=1e-6)


def test_the_crops_camera_is_that_of_its_picture() -> None:
    """What the image shows at a joint's pixel lies in the crop where the crop's own camera puts the joint."""
    camera, middle_m = RIG.cameras[1], JOINTS_M.mean(0)
    crop = make_upright_crop(camera, middle_m, JOINTS_M, SIZE_PX)
    assert crop.to_crop_px(camera.project(JOINTS_M)) == pytest.approx(crop.project(JOINTS_M - middle_m), abs=0.01)


def test_a_hand_behind_the_camera_is_refused() -> None:
    camera = RIG.cameras[0]
    behind_m = camera.centre_world_m - 0.3 * camera.T_cam_world[2, :3]
    with pytest.raises(ValueError, match="not in front"):
        make_upright_crop(camera, behind_m, JOINTS_M - JOINTS_M.mean(0) + behind_m, SIZE_PX)
