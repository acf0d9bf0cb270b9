"""Crops of a hand in the views of a frame set, and the errors that they report."""

from dataclasses import replace

import numpy as np
import pytest

from app.estimators.settings import FinderSettings
from app.estimators.ust_hand.hand_finder import working_volume
from app.estimators.ust_hand.hand_views import HandViews, errors_px
from app.estimators.ust_hand.view_choice import SeenIn, best_views
from calibration.camera_source import MAX_CAMERAS
from calibration.frames import Frame, FrameSet
from calibration.hand import Side
from deploy.batches import empty_crops
from models.hand.crop import hand_box, to_pixels
from models.hand.seen_points import triangulate_seen
from models.network.config import MAX_VIEWS
from models.simulation.hands import CENTRE_WORLD_M, hands_at
from models.simulation.simulated_rig import ring_rig

RIG = ring_rig(4)
PIXELS = np.zeros((480, 640, 3), np.uint8)


def frame_set(lags_ms: dict[str, float] | None = None) -> FrameSet:
    lags = lags_ms or {}
    frames = {
        camera_id: Frame(
            camera_id=camera_id,
            sequence=0,
            capture_time_ns=10**9 + round(1e6 * lags.get(camera_id, 0)),
            grab_time_ns=0,
            publish_time_ns=0,
            pixels=PIXELS,
        )
        for camera_id in RIG.camera_ids
    }
    return FrameSet(0, 10**9, frames, 0)


def look(side: Side, velocity_m_s=(0, 0, 0), **lags_ms: float) -> tuple[HandViews, np.ndarray]:
    joints = hands_at(1.0)[side]
    target, half_width = hand_box(joints)
    into = empty_crops(1, 4, 128).hand(0)
    views = HandViews.look(
        RIG, frame_set(lags_ms), target, np.array(velocity_m_s, float), half_width, side == "left", into
    )
    return views, joints


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_true_joints_have_no_errors(side):
    views, joints = look(side)
    assert len(views.cameras) == 4
    keypoints = np.stack([to_pixels(P, views.to_hand_m(joints)) for P in views.P_crop])
    assert views.crop_distance(keypoints, joints) == pytest.approx(0, abs=1e-6)
    seen = triangulate_seen(np.stack(views.P_crop), keypoints, np.ones((4, 21)), 4.0, np.ones(4))
    errors = errors_px(views, keypoints, joints, seen.blind_m)
    assert errors.reprojection_px == pytest.approx(0, abs=1e-6)
    assert errors.leave_one_out_px == pytest.approx(0, abs=1e-4)
    for view, camera in enumerate(views.cameras):
        assert errors.keypoints_px[view] == pytest.approx(camera.project(joints), abs=1e-3)
    assert views.to_world_m(views.to_hand_m(joints)) == pytest.approx(joints)


def test_a_wrong_view_shows_in_its_own_leave_one_out_error():
    views, joints = look("right")
    keypoints = np.stack([to_pixels(P, views.to_hand_m(joints)) for P in views.P_crop])
    keypoints[2, 8] += (6.0, 8.0)
    seen = triangulate_seen(np.stack(views.P_crop), keypoints, np.ones((4, 21)), 4.0, np.ones(4))
    errors = errors_px(views, keypoints, joints, seen.blind_m)
    # Ten crop pixels, in the image as many as its pixels are finer or coarser.
    image = np.linalg.norm(errors.keypoints_px[2, 8] - RIG.cameras[2].project(joints)[8])
    assert errors.reprojection_px[2, 8] == pytest.approx(image)
    assert errors.leave_one_out_px[2, 8] == pytest.approx(image, rel=1e-3)
    assert errors.leave_one_out_px[:, :8] == pytest.approx(0, abs=1e-4)


def test_a_camera_that_a_hand_reaches_behind_is_left_out_of_upright_crops():
    """A hand of 20 cm whose middle is 7 cm from a lens: the finger behind that is in no image of it."""
    camera = RIG.cameras[0]
    forward = camera.T_cam_world[2, :3]
    joints = hands_at(1.0)["right"]
    stretched = np.linspace(-0.1, 0.1, 21)[:, None] * forward + 0.05 * (joints - joints.mean(0))
    joints = camera.centre_world_m + 0.07 * forward + stretched
    into = empty_crops(1, 4, 128).hand(0)
    views = HandViews.look(RIG, frame_set(), joints.mean(0), np.zeros(3), 0.1, False, into, joints)
    assert camera.camera_id not in [each.camera_id for each in views.cameras]
    plain = HandViews.look(RIG, frame_set(), joints.mean(0), np.zeros(3), 0.1, False, into)
    assert camera.camera_id in [each.camera_id for each in plain.cameras]


def test_a_camera_that_is_late_sees_a_moving_hand_where_it_was_then():
    velocity = np.array([0.4, -0.8, 0.3])
    views, joints = look("left", velocity, cam_1=12.0)
    late = joints + velocity * 0.012
    seen_late = views.crops[1].project(views.to_hand_m(late))
    assert to_pixels(views.P_crop[1], views.to_hand_m(joints)) == pytest.approx(seen_late, abs=1e-6)
    assert np.array_equal(views.P_crop[0], views.crops[0].P_crop)


def test_views_that_do_not_see_the_hand_or_whose_pixels_are_gone_are_left_out():
    gone = frame_set()
    frames = dict(gone.frames)
    frames["cam_3"] = replace(frames["cam_3"], intact=lambda: False)
    into = empty_crops(1, 5, 64).hand(0)
    views = HandViews.look(RIG, replace(gone, frames=frames), CENTRE_WORLD_M, np.zeros(3), 0.1, False, into)
    assert [camera.camera_id for camera in views.cameras] == ["cam_0", "cam_1", "cam_2"]
    assert into.view_mask.tolist() == [True] * 3 + [False] * 2
    assert into.P_crop[:3] == pytest.approx(np.stack(views.P_crop), rel=1e-6)
    far_m = CENTRE_WORLD_M + [0, 0, 3]
    assert not HandViews.look(RIG, gone, far_m, np.zeros(3), 0.1, False, into).cameras
    assert not into.view_mask.any()


def test_pixels_are_drawn_into_the_batch_as_rgb():
    blue = np.zeros((480, 640, 3), np.uint8)
    blue[..., 0] = 200
    frames = {name: replace(frame, pixels=blue) for name, frame in frame_set().frames.items()}
    into = empty_crops(2, 4, 64).hand(1)
    HandViews.look(RIG, replace(frame_set(), frames=frames), CENTRE_WORLD_M, np.zeros(3), 0.1, True, into)
    assert (into.crops_rgb[:, 32, 32] == (0, 0, 200)).all()


def test_the_working_volume_holds_the_hands_and_only_what_two_cameras_see():
    places = working_volume(RIG, FinderSettings())
    pixels = np.stack([camera.project(places) for camera in RIG.cameras])
    seen = ((pixels >= 0) & (pixels < (640, 480))).all(2).sum(0)
    assert seen.min() >= 2
    for joints in hands_at(2.0).values():
        assert np.linalg.norm(places - joints.mean(0), axis=1).min() < 0.09 * np.sqrt(3) / 2
    order = np.linalg.norm(places - places[0], axis=1)
    assert order[:4].max() < 0.1
    assert np.linalg.norm(places - places[0], axis=1).max() < 0.6 + 0.09


def test_the_working_volume_of_cameras_side_by_side_is_in_front_of_them():
    """Their axes meet nowhere, or, a little out of true, far behind the hands."""
    for inward_rad in (0.0, 0.01, -0.01):
        cameras = []
        for index, camera in enumerate(RIG.cameras[:2]):
            turn = np.eye(4)
            turn[[0, 2], [2, 0]] = np.array([1, -1]) * np.sin(inward_rad * (1 - 2 * index))
            turn[0, 0] = turn[2, 2] = np.cos(inward_rad)
            turn[0, 3] = -0.2 * index
            cameras.append(replace(camera, T_cam_world=turn))
        places = working_volume(replace(RIG, cameras=tuple(cameras)), FinderSettings())
        assert len(places) > 100
        assert np.linalg.norm(places - [0.1, 0, 0.7], axis=1).min() < 0.09
        assert 0.4 < places[:20, 2].mean() < 1.0


def test_a_target_right_at_a_camera_is_not_looked_at_by_it():
    camera = RIG.cameras[0]
    target = camera.centre_world_m + 0.01 * camera.T_cam_world[2, :3]
    assert camera.project(target[None])[0] == pytest.approx([319.5, 239.5])
    views = HandViews.look(RIG, frame_set(), target, np.zeros(3), 0.1, False, empty_crops(1, 4, 64).hand(0))
    assert camera not in views.cameras


def look_of_many(seen_in: SeenIn | None = None, away: tuple[str, ...] = (), most: int = MAX_VIEWS) -> list[str]:
    rig = ring_rig(MAX_CAMERAS)
    frames = {
        name: Frame(camera_id=name, sequence=0, capture_time_ns=0, grab_time_ns=0, publish_time_ns=0, pixels=PIXELS)
        for name in rig.camera_ids
        if name not in away
    }
    target, half_width = hand_box(hands_at(1.0)["right"])
    crops = empty_crops(1, most, 32).hand(0)
    views = HandViews.look(
        rig, FrameSet(0, 0, frames, 0), target, np.zeros(3), half_width, False, crops, seen_in=seen_in
    )
    assert crops.view_mask.sum() == len(views.cameras)
    return [camera.camera_id for camera in views.cameras]


def test_of_sixteen_views_eight_are_looked_at_and_they_stand_all_around():
    chosen = look_of_many()
    assert len(chosen) == MAX_VIEWS
    rig = ring_rig(MAX_CAMERAS)
    azimuth = np.sort([np.arctan2(*rig[name].centre_world_m[1::-1]) for name in chosen])
    assert np.diff(azimuth, append=azimuth[0] + 2 * np.pi).max() < np.deg2rad(120)
    away = tuple(rig.camera_ids[:9])
    assert look_of_many(away=away) == list(rig.camera_ids[9:]), "where there is room all are taken"


def test_a_view_that_did_not_show_the_hand_makes_way_for_another_and_is_tried_again():
    seen_in, chosen = SeenIn(), look_of_many()
    behind = chosen[:2]
    seen_in.learn(chosen, [0.01 if name in behind else 0.99 for name in chosen])
    others = look_of_many(seen_in)
    assert len(others) == MAX_VIEWS and not set(others) & set(behind)
    for _ in range(150):
        seen_in.learn(others, [0.9] * len(others))
    assert seen_in.trust(behind) == pytest.approx(1, abs=0.02)


def test_views_across_each_other_are_better_than_more_of_the_same():
    aside = np.array([[1, 0.02 * n, 0] for n in range(6)] + [[0, 1, 0]], float)
    rays = aside / np.linalg.norm(aside, axis=1, keepdims=True)
    assert 6 in best_views(rays, np.ones(7), np.ones(7), 2)
    nearest = best_views(rays, np.array([0.4, 0.4, 0.4, 1, 0.4, 0.4, 0.4]), np.ones(7), 2)
    assert nearest == [3, 6]
