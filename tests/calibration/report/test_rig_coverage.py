"""The picture of a rig: what its cameras see, against geometry that is known."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.cli import main
from calibration.camera import Camera
from calibration.report.rig_coverage import count_views, looked_at_world_m, write_rig_picture
from calibration.rig import Rig, RigCamera, write_rig
from models.simulation.simulated_rig import ring_rig


def camera(name: str, z_m: float, distortion: tuple[float, ...] = (0, 0, 0, 0, 0)) -> RigCamera:
    """At (0, 0, z), looking along +z, 90 degrees wide and high: it sees |x|, |y| <= z' at a distance of z'."""
    matrix = np.array([[100.0, 0, 100], [0, 100.0, 100], [0, 0, 1]])
    lens = Camera(width=201, height=201, lens="pinhole5", matrix=matrix, distortion=np.array(distortion, float))
    pose = np.eye(4)
    pose[2, 3] = -z_m
    return RigCamera(camera_id=name, camera=lens, T_cam_world=pose)


def test_a_place_is_seen_by_the_cameras_whose_field_it_lies_in() -> None:
    rig = Rig((camera("a", 0.0), camera("b", 1.0)))
    points = np.random.default_rng(1).uniform(-3, 3, (2000, 3))
    widest = np.abs(points[:, :2]).max(axis=1)
    expected = (widest < points[:, 2]).astype(int) + (widest < points[:, 2] - 1)
    assert (count_views(rig, points) == expected).all() and set(expected) == {0, 1, 2}


def test_what_a_lens_model_folds_back_into_the_image_is_not_seen() -> None:
    # With this distortion r (1 - 0.3 r^2) has its peak at r = 1.05 and is 0 again at r = 1.83.
    rig = Rig((camera("a", 0.0, (-0.3, 0, 0, 0, 0)), camera("b", 0.0)))
    assert count_views(rig, np.array([[0.5, 0, 1], [1.8, 0, 1], [1.7, 0.2, 1]])).tolist() == [2, 0, 0]


def test_the_point_that_all_look_at_is_found() -> None:
    rig = ring_rig(4)
    moved = np.eye(4)
    moved[:3, 3] = (0.3, -0.2, 0.1)
    shifted = Rig(tuple(replace(each, T_cam_world=each.T_cam_world @ np.linalg.inv(moved)) for each in rig.cameras))
    np.testing.assert_allclose(looked_at_world_m(shifted) - looked_at_world_m(rig), moved[:3, 3], atol=1e-6)
    for each in rig.cameras:
        x, y, z = each.T_cam_world[:3, :3] @ looked_at_world_m(rig) + each.T_cam_world[:3, 3]
        assert z > 0 and np.hypot(x, y) < 0.02 * z


def test_the_command_draws_a_picture_that_is_the_same_each_time(tmp_path: Path) -> None:
    write_rig(tmp_path / "rig.yaml", ring_rig(3))
    assert main(["rig", "show", str(tmp_path / "rig.yaml"), "--picture", str(tmp_path / "rig.png")]) == 0
    write_rig_picture(tmp_path / "again.png", ring_rig(3))
    assert (tmp_path / "rig.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    image = cv2.imread(str(tmp_path / "rig.png"))
    assert image is not None
    assert image.shape == (460, 960, 3)
    seen_by_three = (image == (234, 205, 165)).all(axis=-1)  # #a5cdea
    assert seen_by_three.sum() > 1000


def test_a_picture_has_the_name_of_a_png(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rig(tmp_path / "rig.yaml", ring_rig(3))
    assert main(["rig", "show", str(tmp_path / "rig.yaml"), "--picture", "rig.gif"]) == 2
    assert "must end in `.png`" in capsys.readouterr().err
