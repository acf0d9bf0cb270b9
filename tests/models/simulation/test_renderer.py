"""The renderer: geometry against projection, blur against many exposures, crops against whole images, visibility."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.spatial import KDTree
from scipy.spatial.distance import pdist

from calibration.camera import LensModel
from calibration.errors import UserError
from models.hand.builtin import BuiltinHand
from models.hand.crop import hand_box, make_crop
from models.hand.skeleton import LIMITS_RAD, REST_ANGLES_RAD
from models.simulation.arm import arm_model, bend_wrist
from models.simulation.backgrounds import random_background
from models.simulation.looks import random_lighting, random_sensor
from models.simulation.objects import make_thing
from models.simulation.renderer import hands_in_image, render, render_crop
from models.simulation.scene import Light, Lighting, PosedObject, SceneState, SceneView
from models.simulation.skin import Skin, random_skin
from tests.support.renderer_scene import DISTORTION, PLAIN, camera, hand, shifted, state

BRIGHT = Skin(melanin=0.0, wrinkles=0.0)
BLACK = np.zeros((48, 64, 3), np.uint8)


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


@pytest.mark.parametrize(("lens", "distorted"), [("pinhole5", False), *((lens, True) for lens in DISTORTION)])
def test_the_rendered_fingertip_lies_where_its_joint_projects(lens: LensModel, distorted: bool) -> None:
    # Seen from the side that the fingers point to, off the axis so that the lens matters. The middle finger reaches
    # farthest: the silhouette ends where the tip is.
    posed = hand(skin=BRIGHT)
    view = camera((0.12, 0.0, 0.45), (0.03, -0.07, 0.0), lens, distorted)
    image = render(view, state(posed, background=BLACK)).image
    skin = image.max(axis=2) > 40
    tip = view.project(posed.joints_m[12])
    wrist = view.project(posed.joints_m[0])
    ahead = (tip - wrist) / np.linalg.norm(tip - wrist)
    rows, columns = np.nonzero(skin)
    reach = (np.stack([columns, rows], axis=1) @ ahead).max()
    vertices = view.project(posed.vertices_start_m)
    assert reach == pytest.approx((vertices @ ahead).max(), abs=1.0)
    assert np.linalg.norm(vertices - tip, axis=1).min() < 0.5
    assert reach == pytest.approx(tip @ ahead, abs=1.5)


@pytest.mark.parametrize("lens", DISTORTION)
def test_the_silhouette_is_the_projected_mesh(lens: LensModel) -> None:
    posed = hand(skin=BRIGHT)
    view = camera((0.3, -0.25, 0.45), (0.02, 0.05, 0.0), lens)
    image = render(view, state(posed, background=BLACK)).image
    expected = np.zeros((480, 640), np.uint8)
    corners = view.project(posed.vertices_start_m)[posed.surface.faces]
    for triangle in np.rint(corners * 16).astype(np.int32):
        cv2.fillConvexPoly(expected, triangle, (1,), cv2.LINE_8, 4)
    seen = image.max(axis=2) > 12
    around = cv2.morphologyEx(expected, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    assert (seen == (expected > 0))[~around].all()


def test_a_crop_rendered_directly_is_the_crop_of_the_image() -> None:
    rng = np.random.default_rng(0)
    posed = hand()
    view = camera((0.25, -0.2, 0.4))
    scene = state(posed, background=random_background(rng), lighting=random_lighting(rng))
    image = render(view, scene).image
    target_m, half_width_m = hand_box(posed.joints_m)
    for size in (96, 224):
        for mirror in (False, True):
            crop = make_crop(view, target_m, half_width_m, size, mirror=mirror, roll_rad=0.4, offset=(0.05, 0.02))
            direct = render_crop(crop, view, scene)
            assert direct.shape == (size, size, 3)
            assert _difference(direct, crop.image(image)) < 4
            assert _difference(direct[:, ::-1], crop.image(image)) > 15


def test_a_crop_beyond_the_border_is_black_there() -> None:
    posed = hand()
    view = camera((0.08, 0.0, 0.5), (0.3, 0.0, 0.0))
    crop = make_crop(view, posed.joints_m.mean(axis=0), 0.14, 128)
    scene = state(posed, background=np.full((48, 64, 3), 200, np.uint8))
    expected = crop.image(np.full((480, 640, 3), 255, np.uint8)).max(axis=2) == 0
    direct = render_crop(crop, view, scene).max(axis=2) == 0
    assert 0.1 < expected.mean() < 0.9
    assert (expected == direct).mean() > 0.97


def test_a_seed_gives_the_same_picture_twice_and_another_seed_another() -> None:
    def picture(seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(5)
        posed = hand(moved_m=(0.0, 0.01, 0.0), skin=random_skin(rng))
        sensor = replace(random_sensor(rng), noise=3.0)
        scene = state(posed, sensor=sensor, background=random_background(rng), noise_seed=seed)
        view = camera((0.25, -0.2, 0.4))
        crop = make_crop(view, posed.joints_m.mean(axis=0), 0.1, 96)
        return render(view, scene).image, render_crop(crop, view, scene)

    (image, crop), (again, crop_again), (other, _) = picture(1), picture(1), picture(2)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(crop, crop_again)
    assert _difference(image, other) > 1


def test_motion_blur_is_the_mean_of_many_short_exposures() -> None:
    rng = np.random.default_rng(2)
    background = random_background(rng)
    view = camera((0.08, -0.01, 0.5))
    moved_m = np.array([0.004, 0.016, 0.0])
    moving = hand(moved_m=moved_m)
    blurred = render(view, state(moving, background=background)).image
    shares = (np.arange(24) + 0.5) / 24 - 0.5
    sharp = [render(view, state(shifted(moving, share * moved_m), background=background)).image for share in shares]
    truth = np.mean(sharp, axis=0)
    still = render(view, state(shifted(moving, np.zeros(3)), background=background)).image
    assert _difference(blurred, truth) < 0.35 * _difference(still, truth)


def test_a_left_hand_is_the_mirror_image_of_a_right_one() -> None:
    def seen(side, mirror: int) -> np.ndarray:
        posed = hand(side)
        view = camera((0.2, 0.2 * mirror, 0.4), distorted=False)
        light = Light((0.4, 0.6 * mirror, 0.7), (0.7, 0.7, 0.7), 0.05)
        scene = state(posed, lighting=Lighting((light,)), background=BLACK)
        target_m = posed.joints_m.mean(axis=0)
        return render_crop(make_crop(view, target_m, 0.12, 128, mirror=mirror < 0), view, scene)

    right, left = seen("right", 1), seen("left", -1)
    assert right.mean() > 20
    assert _difference(right, left) < 1.5


def test_visible_joints() -> None:
    above, below = camera((0.08, -0.01, 0.5)), camera((0.08, -0.01, -0.5))
    flat = state(hand())
    assert hands_in_image(above, flat)[0].visible.all()
    assert hands_in_image(below, flat)[0].visible.all()

    fist = REST_ANGLES_RAD.copy()
    fist[5::4], fist[7::4], fist[8::4] = LIMITS_RAD[5::4, 1], 0.9 * LIMITS_RAD[7::4, 1], 0.7 * LIMITS_RAD[8::4, 1]
    seen = hands_in_image(above, state(hand(angles_rad=fist)))[0].visible
    assert not seen[[8, 12, 16, 20]].any()
    assert seen[[0, 5, 9, 13, 17]].all()

    thing = make_thing("box", np.array([0.03, 0.06, 0.01]), np.full((2, 3), 0.3), 0.2, 0)
    over_tips = thing.vertices_m + hand().joints_m[12] + (-0.01, 0.0, 0.06)
    hidden = state(hand(), objects=(PosedObject(over_tips, over_tips, thing.surface),))
    seen = hands_in_image(above, hidden)[0].visible
    assert not seen[[8, 12, 16]].any()
    assert seen[[0, 1, 2, 5, 9, 13, 17]].all()

    half_out = camera((0.08, 0.0, 0.2), (-0.03, 0.0, 0.0))
    truth = hands_in_image(half_out, flat)[0]
    inside = ((truth.keypoints_px >= -0.5) & (truth.keypoints_px < (639.5, 479.5))).all(axis=1)
    assert 0 < inside.sum() < 21
    np.testing.assert_array_equal(truth.visible, inside)
    assert truth.box_px is not None
    assert 0 <= truth.box_px[0] < truth.box_px[2] <= 640


def test_the_box_holds_the_hand() -> None:
    posed = hand()
    view = camera((0.2, -0.2, 0.5))
    box = hands_in_image(view, state(posed))[0].box_px
    assert box is not None
    _, vertices_m = BuiltinHand("right").pose(REST_ANGLES_RAD, np.eye(4), arm_model("right").default_shape())
    pixels = view.project(vertices_m[vertices_m[:, 0] > 0])
    assert (pixels.min(axis=0) > np.array(box[:2]) - 4).all()
    assert (pixels.max(axis=0) < np.array(box[2:]) + 4).all()
    assert (box[2] - box[0]) * (box[3] - box[1]) < 1.6 * np.prod(np.ptp(pixels, axis=0))


def test_a_camera_inside_a_hand_is_refused() -> None:
    inside = camera((0.06, 0.0, -0.005), (0.2, 0.0, 0.0))
    with pytest.raises(UserError, match=r"camera `cam_0` is inside a hand.*Move the camera away"):
        render(inside, state())
    near = camera((0.06, 0.0, 0.07), (0.08, 0.0, 0.0))
    assert render(near, state()).image.std() > 5


def test_a_camera_without_a_pose_is_refused_and_one_overhead_is_not() -> None:
    overhead = camera((0.08, 0.0, 0.5), (0.08, 0.0, 0.0))
    assert hands_in_image(overhead, state())[0].visible.any()
    lost = replace(overhead, T_cam_world=overhead.T_cam_world * np.nan)
    crop = make_crop(overhead, np.array([0.08, 0.0, 0.0]), 0.1, 64)
    for draw in (render, hands_in_image, lambda of, scene: render_crop(crop, of, scene)):
        with pytest.raises(UserError, match="camera `cam_0`: T_cam_world holds numbers that are not finite"):
            draw(lost, state())


def test_a_hand_behind_the_camera_and_no_hand_at_all_leave_the_background() -> None:
    away = camera((0.08, 0.0, 0.5), (0.08, 0.001, 1.0))
    behind, empty = (
        render(away, state(background=BLACK + 90)),
        render(away, SceneState(hands=(), views={"cam_0": SceneView(BLACK + 90, PLAIN)})),
    )
    np.testing.assert_array_equal(behind.image, np.full((480, 640, 3), 90))
    np.testing.assert_array_equal(empty.image, behind.image)
    assert np.isnan(behind.hands[0].keypoints_px).all()
    assert not behind.hands[0].visible.any()
    assert behind.hands[0].box_px is None


def test_noise_is_as_strong_as_asked_for() -> None:
    away = camera((0.08, 0.0, 0.5), (0.08, 0.001, 1.0))
    grey = np.full((48, 64, 3), 128, np.uint8)
    for noise in (2.0, 6.0):
        sensor = replace(PLAIN, noise=noise)
        images = [render(away, state(sensor=sensor, background=grey, noise_seed=seed)).image for seed in range(2)]
        assert images[0].std() == pytest.approx(noise, rel=0.1)
        assert np.corrcoef(images[0].ravel(), images[1].ravel())[0, 1] == pytest.approx(0, abs=0.05)


def test_shade_falls_where_the_lamp_is_hidden() -> None:
    thing = make_thing("box", np.array([0.03, 0.03, 0.005]), np.full((2, 3), 0.3), 0.0, 0)
    between = thing.vertices_m + (0.06, 0.0, 0.12)
    lamp = Lighting((Light((0.0, 0.0, 1.0), (0.8, 0.8, 0.8), 0.02),), (0.05, 0.05, 0.05), (0.05, 0.05, 0.05))
    view = camera((0.06, -0.4, 0.25))
    lit = render(view, state(lighting=lamp)).image
    shaded = render(view, state(lighting=lamp, objects=(PosedObject(between, between, thing.surface),))).image
    u, v = np.rint(view.project(np.array([0.06, 0.0, 0.018]))).astype(int)
    assert shaded[v, u].mean() < 0.6 * lit[v, u].mean()
    u, v = np.rint(view.project(hand().joints_m[8])).astype(int)
    assert shaded[v - 2 : v + 3, u - 2 : u + 3].mean() > 0.9 * lit[v - 2 : v + 3, u - 2 : u + 3].mean()


def test_the_forearm_changes_nothing_of_the_hand() -> None:
    model, plain = arm_model("left"), BuiltinHand("left")
    shape = plain.default_shape()
    joints_m, vertices_m = model.pose(REST_ANGLES_RAD, np.eye(4), shape)
    plain_joints_m, plain_vertices_m = plain.pose(REST_ANGLES_RAD, np.eye(4), shape)
    np.testing.assert_allclose(joints_m, plain_joints_m, atol=1e-12)
    assert KDTree(vertices_m).query(plain_vertices_m[plain_vertices_m[:, 0] > -0.03])[0].max() < 1e-9
    np.testing.assert_allclose(vertices_m[model.mesh.tips], joints_m[[4, 8, 12, 16, 20]], atol=1e-4)
    edges = np.concatenate([model.faces[:, [0, 1]], model.faces[:, [1, 2]], model.faces[:, [2, 0]]])
    assert {tuple(edge) for edge in edges} == {tuple(edge[::-1]) for edge in edges}


def test_backgrounds_come_from_the_folder_that_is_named(tmp_path) -> None:
    with pytest.raises(UserError, match="no background image in it"):
        random_background(np.random.default_rng(0), tmp_path)
    cv2.imwrite(str(tmp_path / "red.png"), np.full((90, 120, 3), (10, 20, 200), np.uint8))
    picture = random_background(np.random.default_rng(0), tmp_path)
    assert (picture == (10, 20, 200)).all()
    (tmp_path / "red.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="not an image"):
        random_background(np.random.default_rng(0), tmp_path)


def test_a_sensor_does_what_it_says() -> None:
    away = camera((0.08, 0.0, 0.5), (0.08, 0.001, 1.0))
    grey = np.full((48, 64, 3), 100, np.uint8)

    def level(**settings) -> np.ndarray:
        return render(away, state(sensor=replace(PLAIN, **settings), background=grey)).image.reshape(-1, 3).mean(axis=0)

    linear = ((100 / 255 + 0.055) / 1.055) ** 2.4
    doubled = 255 * (1.055 * (2 * linear) ** (1 / 2.4) - 0.055)
    assert level(exposure=2.0) == pytest.approx([doubled] * 3, abs=1)
    assert level(white_balance=(2.0, 1.0, 1.0)) == pytest.approx([100, 100, doubled], abs=1)
    assert level(gamma=2.0) == pytest.approx([255 * (100 / 255) ** 2] * 3, abs=1)
    assert level(jpeg_quality=50) == pytest.approx([100] * 3, abs=2)


def test_a_bent_wrist_turns_the_forearm_as_a_whole() -> None:
    for side, thumb_side in (("right", 1), ("left", -1)):
        model = arm_model(side)
        T_world_hand = np.eye(4)
        T_world_hand[:3, 3] = 0.3, -0.2, 0.1
        _, straight_m = model.pose(REST_ANGLES_RAD, T_world_hand, model.default_shape())
        arm = np.flatnonzero(model.mesh.rest_vertices_m[:, 0] < -0.05)
        for flexion, deviation in ((0.7, 0.0), (-0.6, 0.2), (0.0, 0.3)):
            bent_m = bend_wrist(straight_m, model, T_world_hand, flexion, deviation)
            np.testing.assert_allclose(pdist(bent_m[arm[::20]]), pdist(straight_m[arm[::20]]), atol=1e-9)
            np.testing.assert_array_equal(
                bent_m[model.mesh.rest_vertices_m[:, 0] > 0.02], straight_m[model.mesh.rest_vertices_m[:, 0] > 0.02]
            )
            back = bent_m[arm].mean(axis=0) - T_world_hand[:3, 3]
            assert np.arctan2(-back[2], np.hypot(back[0], back[1])) == pytest.approx(flexion, abs=0.08)
            assert np.arctan2(thumb_side * back[1], -back[0]) == pytest.approx(deviation, abs=0.03)
