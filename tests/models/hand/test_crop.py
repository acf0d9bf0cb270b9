"""Crops: the linear camera that they claim to be is the one that their pixels show."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from calibration.camera import Camera
from calibration.rig import RigCamera
from models.hand.crop import MIRROR_X, Crop, hand_box, make_crop
from models.simulation.hands import hands_at
from models.simulation.simulated_rig import look_at

LENSES = {
    "pinhole5": [-0.28, 0.09, 0.0008, -0.0006, -0.01],
    "pinhole8": [0.3, -0.1, 0.0005, 0.0004, 0.02, 0.55, -0.05, 0.01],
    "fisheye4": [-0.02, 0.004, -0.001, 0.0002],
}
TARGET_M = np.array([0.12, -0.07, 0.25])


def make_camera(lens: str) -> RigCamera:
    matrix = np.array([[520.0, 0, 330], [0, 515.0, 232], [0, 0, 1]])
    camera = Camera(width=640, height=480, lens=lens, matrix=matrix, distortion=np.array(LENSES[lens]))  # pyright: ignore[reportArgumentType]
    return RigCamera(
        camera_id="cam_0", camera=camera, T_cam_world=look_at(np.array([0.5, -0.4, 0.5]), np.array([0.0, 0.0, 0.2]))
    )


def augmented(camera: RigCamera, mirror: bool, size_px: int = 128) -> Crop:
    return make_crop(camera, TARGET_M, 0.1, size_px, mirror, roll_rad=0.15, scale=1.05, offset=(0.04, -0.03))


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("lens", LENSES)
def test_p_crop_agrees_with_the_camera_model(lens: str, mirror: bool) -> None:
    camera = make_camera(lens)
    crop = augmented(camera, mirror)
    hand_m = np.random.default_rng(1).uniform(-0.1, 0.1, (200, 3))
    image_px = camera.project(TARGET_M + hand_m)
    expected = crop.to_crop_px(image_px)
    np.testing.assert_allclose(crop.project(hand_m @ MIRROR_X if mirror else hand_m), expected, atol=1e-3)
    np.testing.assert_allclose(crop.to_image_px(expected), image_px, atol=1e-3)
    assert np.ptp(expected, axis=0).min() > 100  # they are spread over the crop


@pytest.mark.parametrize("mirror", [False, True])
def test_the_arguments_do_what_they_say(mirror: bool) -> None:
    camera = make_camera("pinhole5")
    plain = make_crop(camera, TARGET_M, 0.1, 128, mirror)
    np.testing.assert_allclose(plain.project(np.zeros(3)), [63.5, 63.5], atol=1e-9)
    # Half the width at the target's distance, across the line of sight, reaches the crop's edge.
    sight = TARGET_M - camera.centre_world_m
    across = np.cross(sight, [0, 0, 1.0])
    across *= 0.1 / np.linalg.norm(across)
    hand = MIRROR_X @ across if mirror else across
    assert np.linalg.norm(plain.project(hand) - 63.5) == pytest.approx(64, abs=1e-6)
    # The mirrored crop shows what is to the right on the left.
    assert (plain.project(hand)[0] > 63.5) != mirror
    larger = make_crop(camera, TARGET_M, 0.1, 128, mirror, scale=1.5, offset=(0.1, 0.05))
    moved = larger.project(np.zeros(3)) - 63.5
    np.testing.assert_allclose(moved, [-12.8 if mirror else 12.8, 6.4], atol=1e-9)
    assert np.linalg.norm(larger.project(hand) - larger.project(np.zeros(3))) == pytest.approx(96, abs=1e-6)
    turned = make_crop(camera, TARGET_M, 0.1, 128, mirror, roll_rad=0.3).project(hand) - 63.5
    before = plain.project(hand) - 63.5
    angle = np.arctan2(turned[1], turned[0]) - np.arctan2(before[1], before[0])
    assert (angle + np.pi) % (2 * np.pi) - np.pi == pytest.approx(-0.3 if mirror else 0.3, abs=1e-6)


def test_a_mirrored_left_hand_looks_as_the_right_hand_that_it_mirrors() -> None:
    """In a rig mirrored at x = 0 the mirrored hand is seen as the left hand is, through the mirrored crop, in ours."""
    left = make_camera("pinhole5")
    lens = replace(left.camera, matrix=left.camera.matrix * 1.0, distortion=np.zeros(5))
    left = replace(left, camera=lens)
    joints = hands_at(1.3)["left"] + [0.2, 0, 0]
    target, half_width = hand_box(joints)
    crop = make_crop(left, target, half_width, 128, mirror=True)
    # The mirrored camera: its x axis is mirrored within the camera as well, so that it stays right-handed.
    T = left.T_cam_world.copy()
    T[:3, :3] = np.diag([-1, 1, 1]) @ T[:3, :3] @ MIRROR_X
    T[0, 3] *= -1
    right = replace(left, T_cam_world=T)
    right_crop = make_crop(right, MIRROR_X @ target, half_width, 128)
    mirrored = (joints - target) @ MIRROR_X
    np.testing.assert_allclose(crop.project(mirrored), right_crop.project(mirrored), atol=1e-6)


@pytest.mark.parametrize("size_px", [160, 40])
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("lens", LENSES)
def test_the_pixels_are_where_the_geometry_says(lens: str, mirror: bool, size_px: int) -> None:
    """A soft dot in the distorted image is found in the crop, also where the crop is much coarser than the image."""
    camera = make_camera(lens)
    crop = augmented(camera, mirror, size_px)
    v, u = np.mgrid[:480, :640]
    for hand_m in np.random.default_rng(2).uniform(-0.05, 0.05, (5, 3)):
        dot_px = camera.project(TARGET_M + hand_m)
        image = 255 * np.exp(-((u - dot_px[0]) ** 2 + (v - dot_px[1]) ** 2) / (2 * 5.0**2))
        shown = crop.image(cv2.merge([image.astype(np.uint8)] * 3))[..., 0].astype(float)
        found = np.array([(shown * axis).sum() / shown.sum() for axis in np.mgrid[:size_px, :size_px][::-1]])
        np.testing.assert_allclose(found, crop.to_crop_px(dot_px), atol=0.3)


@pytest.mark.parametrize("lens", LENSES)
def test_what_the_image_does_not_show_is_black(lens: str) -> None:
    """A crop over the image's corner: white where the image reaches, black beyond, also where a lens folds back."""
    camera = make_camera(lens)
    corner = np.append(camera.camera.undistort(np.array([639.0, 479.0])), 1.0)
    target = camera.T_cam_world[:3, :3].T @ (0.3 * corner - camera.T_cam_world[:3, 3])
    crop = make_crop(camera, target, 0.6, 96)
    shown = crop.image(np.full((480, 640, 3), 255, np.uint8))
    grid = np.stack(np.meshgrid(np.arange(96.0), np.arange(96.0)), axis=-1)
    beyond = crop.to_crop_px(np.array([[639.0, 479.0], [320, 240]]))
    assert shown[tuple(beyond[1].round().astype(int)[::-1])].min() > 250
    outward = beyond[0] - beyond[1]
    far = ((grid - beyond[0]) @ outward) / np.linalg.norm(outward) > 4
    assert far.sum() > 500
    assert shown[far].max() == 0


def test_a_crop_without_a_target_is_refused() -> None:
    camera = make_camera("pinhole5")
    behind = 2 * camera.centre_world_m - TARGET_M
    with pytest.raises(ValueError, match="not in front"):
        make_crop(camera, behind, 0.1, 128)
    with pytest.raises(ValueError, match="three known joints"):
        hand_box(np.full((21, 3), np.nan))


def test_the_box_holds_the_hand_in_spite_of_a_wrong_joint() -> None:
    camera = make_camera("pinhole5")
    for time_s in np.arange(0, 9, 0.7):
        joints = hands_at(time_s)["right"]
        target, half_width = hand_box(joints)
        inside = make_crop(camera, target, half_width, 128).project(joints - target)
        assert ((inside > 0) & (inside < 127)).all()
        wrong = joints.copy()
        wrong[8] += [1.0, 0, 0]
        wrong[3] = np.nan
        moved, wider = hand_box(wrong)
        assert np.linalg.norm(moved - target) < 0.06
        assert wider < half_width + 0.06
