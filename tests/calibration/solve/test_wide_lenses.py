"""Fisheyes that see 120 to 180 degrees, calibrated from their footage alone."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, RotationSpline

from calibration.board.board import Board
from calibration.board.views import Detections
from calibration.camera import Camera
from calibration.rig import Rig
from calibration.rotations import rotation_from_vector
from calibration.solve.calibrate import calibrate
from calibration.solve.intrinsics import choose_intrinsics
from calibration.solve.view_table import make_table
from tests.support.board_scene import arc_rig, observe, pose_errors

BOARD = Board(type="charuco", columns=9, rows=7, square_m=0.04, dictionary="DICT_4X4_100", marker_m=0.03)
# The odd powers of the angle in the distorted angle, of the usual kinds of fisheye.
EQUIDISTANT, STEREOGRAPHIC, EQUISOLID = (
    (0.02, -0.01, 0.003, 0),
    (1 / 12, 1 / 120, 17 / 20160, 0),
    (-1 / 24, 1 / 1920, 0, 0),
)


def fisheye_rig(view_deg: float, coefficients: tuple[float, ...], size: tuple[int, int]) -> Rig:
    """Three cameras that see so many degrees from the left to the right edge of their images."""
    half, powers = np.radians(view_deg / 2), np.arange(2, 10, 2)
    focal_px = size[0] / 2 / (half * (1 + (np.array(coefficients) * half**powers).sum()))
    cameras = []
    for number, camera in enumerate(arc_rig(3, 0.8, size=size, span_deg=100).cameras):
        matrix = camera.camera.matrix.copy()
        matrix[[0, 1], [0, 1]] = focal_px * (1 + 0.01 * number)
        lens = Camera(width=size[0], height=size[1], lens="fisheye4", matrix=matrix, distortion=np.array(coefficients))
        cameras.append(replace(camera, camera=lens))
    return Rig(tuple(cameras))


def footage(rig: Rig, view_deg: float, seed: int = 0) -> Detections:
    """A board near each camera in all directions that it sees, always towards it but tilted, then amid all of them."""
    rng = np.random.default_rng(seed)
    places, turns = [], []
    for camera in rig.cameras:
        T_world_cam = np.linalg.inv(camera.T_cam_world)
        for number in range(16):
            off = np.radians(min(view_deg / 2 - 12, 72)) * np.sqrt((number + 0.5) / 16)
            around = 2.4 * number
            z = np.array([np.sin(off) * np.cos(around), 0.6 * np.sin(off) * np.sin(around), np.cos(off)])
            z /= np.linalg.norm(z)
            x = np.cross([0, 1.0, 0], z)
            x /= np.linalg.norm(x)
            towards = np.stack([x, np.cross(z, x), z], axis=1)
            tilt = rotation_from_vector(
                0.5 * np.array([np.cos(1.7 * number), np.sin(1.7 * number), rng.uniform(-0.6, 0.6)])
            )
            places.append(T_world_cam[:3, :3] @ z * rng.uniform(0.25, 0.45) + T_world_cam[:3, 3])
            turns.append(T_world_cam[:3, :3] @ towards @ tilt)
    for _ in range(30):
        places.append(rng.uniform(-0.15, 0.15, 3))
        turns.append(rotation_from_vector(rng.uniform(-0.5, 0.5, 3)))
    knots, centre_m = np.arange(len(places), dtype=float), BOARD.corners_board_m.mean(0)
    place, turn = CubicSpline(knots, np.array(places)), RotationSpline(knots, Rotation.from_matrix(np.array(turns)))

    def path(times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        R = turn(np.asarray(times_s)).as_matrix()
        return R, place(times_s) - R @ centre_m

    seen = observe(rig, BOARD, path, int(3 * knots[-1]), rng, fps=3.0, noise_px=0.2)  # type: ignore[arg-type]
    usable = {name: [view for view in views if len(view.corner_ids) >= 12] for name, views in seen.views.items()}
    return replace(seen, views=usable)


@pytest.mark.parametrize(
    ("view_deg", "coefficients", "size"),
    [
        (150, EQUIDISTANT, (1280, 720)),
        pytest.param(120, EQUISOLID, (1280, 720), marks=pytest.mark.slow),
        pytest.param(150, EQUIDISTANT, (960, 960), marks=pytest.mark.slow),
        pytest.param(178, STEREOGRAPHIC, (1280, 720), marks=pytest.mark.slow),
        pytest.param(180, EQUIDISTANT, (960, 960), marks=pytest.mark.slow),
    ],
)
def test_very_wide_lenses_are_found_from_footage(
    view_deg: float, coefficients: tuple[float, ...], size: tuple[int, int]
) -> None:
    rig = fisheye_rig(view_deg, coefficients, size)
    result = calibrate(footage(rig, view_deg), BOARD)
    assert result.verdict == "good", result.reasons
    assert [camera.camera.lens for camera in result.rig.cameras] == ["fisheye4"] * 3
    rotation_deg, centre_mm, focal_percent = pose_errors(result.rig, rig)
    for name, turn, place, focal in zip(rig.camera_ids, rotation_deg, centre_mm, focal_percent, strict=True):
        assert turn < 0.1, f"{name} is turned by {turn:.3f} degrees"
        assert place < 1.5, f"{name} is {place:.2f} mm off"
        assert abs(focal) < 0.1, f"{name}: focal length {focal:+.2f} % off"


def test_a_pinhole_model_that_cannot_hold_is_named() -> None:
    rig = fisheye_rig(150, EQUIDISTANT, (1280, 720))
    table = make_table(footage(rig, 150), BOARD, rig.camera_ids)
    notes = choose_intrinsics(table, "pinhole5", {}).notes
    assert len(notes) == 3
    assert all(f"view of camera cam_{number} is too wide" in note for number, note in enumerate(notes))
    assert all("give `--lens fisheye4`" in note for note in notes)
    assert choose_intrinsics(table, "fisheye4", {}).notes == ()


@pytest.mark.parametrize(
    "coefficients", [EQUIDISTANT, STEREOGRAPHIC, EQUISOLID], ids=["even", "stereographic", "equisolid"]
)
def test_rays_of_a_fisheye_are_those_that_it_projects(coefficients: tuple[float, ...]) -> None:
    camera = fisheye_rig(180, coefficients, (1280, 720)).cameras[0].camera
    directions = np.random.default_rng(0).normal(size=(500, 3))
    directions[:, 2] = np.abs(directions[:, 2])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    ahead = directions[directions[:, 2] > 0.01]
    np.testing.assert_allclose(camera.rays(camera.project(ahead)), ahead, atol=1e-12)
    np.testing.assert_allclose(
        camera.undistort(camera.project(ahead)), ahead[:, :2] / ahead[:, 2:], rtol=1e-8, atol=1e-8
    )
    edges = camera.rays(camera.matrix[:2, 2] + [[-camera.width / 2, 0], [camera.width / 2, 0]])
    assert np.degrees(np.arctan2(edges[:, 0], edges[:, 2])) == pytest.approx([-90, 90], abs=1e-6)
