"""The board's pose at any moment in a rig that is known."""

import numpy as np
import pytest

from calibration.rotations import inverse_transform, make_transform, rotation_angle
from calibration.solve.board_in_rig import board_poses_at
from tests.support.board_scene import BOARD, arc_rig, board_path, observe


def errors(poses, path, times_ns) -> tuple[np.ndarray, np.ndarray]:
    """Of the poses that are given: millimetres at the board's middle, and degrees."""
    there = [index for index, pose in enumerate(poses) if pose is not None]
    R, t = path(times_ns[there] * 1e-9 - 100)
    found = np.stack([poses[index].T_world_board for index in there])
    middle = BOARD.corners_board_m.mean(0)
    apart = np.linalg.norm((found[:, :3, :3] - R) @ middle + found[:, :3, 3] - t, axis=1)
    turned = rotation_angle((found @ inverse_transform(make_transform(R, t)))[:, :3, :3])
    return 1000 * apart, np.degrees(turned)


@pytest.mark.parametrize("noise_px", [0.0, 0.3])
def test_a_moving_board_is_placed_at_moments_between_the_cameras_frames(noise_px):
    """Ten frames a second, cameras that are not exposed together: what remains is the noise and the interpolation's."""
    rng = np.random.default_rng(2)
    rig, seconds, fps = arc_rig(4), 6.0, 10.0
    path = board_path(BOARD, seconds, rng, reach_m=0.1, tilt_rad=0.3, pace_s=1.5)
    late_s = {"cam_0": 0.0, "cam_1": 0.03, "cam_2": -0.02, "cam_3": 0.05}
    seen = observe(rig, BOARD, path, int(seconds * fps), rng, noise_px=noise_px, fps=fps, late_s=late_s)
    rig = rig.with_time_offsets({name: round(1e9 * late) for name, late in late_s.items()})
    times_ns = np.round(1e9 * (100 + np.arange(0.5, seconds - 0.5, 0.07))).astype(np.int64)
    poses = board_poses_at(rig, BOARD, seen.views, times_ns)
    assert sum(pose is not None for pose in poses) > 0.9 * len(times_ns)
    apart_mm, turned_deg = errors(poses, path, times_ns)
    assert np.median(apart_mm) < 0.3 + noise_px
    assert np.median(turned_deg) < 0.1 + 0.5 * noise_px
    assert np.percentile(apart_mm, 95) < 2


def test_a_camera_that_is_elsewhere_makes_the_pose_unbelievable():
    rng = np.random.default_rng(3)
    rig = arc_rig(3)
    path = board_path(BOARD, 2.0, rng, reach_m=0.05, tilt_rad=0.2)
    seen = observe(arc_rig(3, distance_m=1.1), BOARD, path, 10, rng, noise_px=0.1)
    times_ns = np.array([view.time_ns for view in seen.views["cam_0"]])
    assert not any(board_poses_at(rig, BOARD, seen.views, times_ns))
    assert any(board_poses_at(arc_rig(3, distance_m=1.1), BOARD, seen.views, times_ns))


def test_one_camera_alone_places_no_board():
    rng = np.random.default_rng(4)
    rig = arc_rig(3)
    path = board_path(BOARD, 2.0, rng, reach_m=0.05, tilt_rad=0.2)
    seen = observe(rig, BOARD, path, 10, rng, sees={"cam_0": range(10), "cam_1": range(0), "cam_2": range(0)})
    times_ns = np.array([view.time_ns for view in seen.views["cam_0"]])
    assert len(times_ns)
    assert not any(board_poses_at(rig, BOARD, seen.views, times_ns))
