"""`--up`: what points up in the rig's world points up in every file, and nothing else is changed."""

import json

import numpy as np
import pytest

from app.cli import main
from app.convert.reading import read_recording
from app.convert.up import UPS, turn_up
from calibration.errors import UserError
from tests.support.skeleton_files import read_bvh


@pytest.mark.parametrize("up", UPS)
def test_an_axis_that_is_up_becomes_z_by_a_rotation(up):
    R = UPS[up]
    axis = np.zeros(3)
    axis["xyz".index(up[-1])] = -1 if up.startswith("-") else 1
    np.testing.assert_array_equal(R @ axis, [0, 0, 1])
    np.testing.assert_array_equal(R @ R.T, np.eye(3))
    assert np.linalg.det(R) == pytest.approx(1)


def test_joints_covariances_and_arms_are_turned(arm_file):
    recording = read_recording(arm_file)
    turned = turn_up(recording, "-y")
    for one, other in zip(turned.hands, recording.hands, strict=True):
        x, y, z = np.moveaxis(other.points_world_m, -1, 0)
        np.testing.assert_array_equal(one.points_world_m, np.stack([x, z, -y], axis=-1))
        variance = np.diagonal(other.points_covariance_m2, axis1=2, axis2=3)
        np.testing.assert_allclose(np.diagonal(one.points_covariance_m2, axis1=2, axis2=3), variance[..., [0, 2, 1]])
    assert turn_up(recording, "z") is recording
    with pytest.raises(UserError, match="turned already, by `--up -y`"):
        turn_up(turned, "y")


def test_a_file_is_turned_and_says_so(pose_file, tmp_path):
    """As if the same hand had been recorded in a rig whose z is up."""
    assert main(["convert", str(pose_file), str(tmp_path / "turned.npz"), "--up", "-y"]) == 0
    with np.load(tmp_path / "turned.npz") as turned, np.load(pose_file) as given:
        np.testing.assert_allclose(turned["joints"][..., 2].min(), -given["joints"][..., 1].max(), atol=1e-7)
    for ending in (".bvh", ".jsonl", ".mot"):
        assert main(["convert", str(pose_file), str(tmp_path / f"one{ending}"), "--up=-y"]) == 0
        assert main(["convert", str(tmp_path / "turned.npz"), str(tmp_path / f"two{ending}")]) == 0
    for one, two in zip(*(read_bvh(tmp_path / f"{name}.bvh")[0].values() for name in ("one", "two")), strict=True):
        np.testing.assert_allclose(one, two, atol=0.02)
    header = json.loads((tmp_path / "two.jsonl").read_text().splitlines()[0])
    assert "of which -y points up" in header["axes"]
    assert "of which -y points up" in (tmp_path / "one.mot").read_text()
    assert "lay flat" not in (tmp_path / "one.mot").read_text()


def test_what_is_no_axis_is_refused(pose_file, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["convert", str(pose_file), str(tmp_path / "hands.csv"), "--up", "down"])
    assert "--up" in capsys.readouterr().err
