"""Joints that are no hand's: left out beside others, a gap of a skeleton, and refused alone."""

import json
import struct

import numpy as np
import pytest

from app.convert.conversion import convert
from app.convert.reading import NoHand
from tests.support.pose_files import pose_arrays, write_pose_file

ON_A_LINE = np.zeros((21, 3), np.float32)
ON_A_LINE[:, 0] = 0.01 * np.arange(21)


@pytest.mark.parametrize("ending", [".bvh", ".glb", ".csv"])
def test_a_track_that_no_hand_fits_is_left_out(ending, tmp_path, caplog):
    arrays = pose_arrays(6)
    arrays["joints"][arrays["hand"] == "left"] = ON_A_LINE
    summary = convert(write_pose_file(tmp_path / "poses.npz", arrays), tmp_path / f"hands{ending}")
    assert [hand["name"] for hand in summary["hands"]] == ["right_2"]
    assert "left_4: left out" in caplog.text
    assert b"nan" not in (tmp_path / f"hands{ending}").read_bytes().lower()


@pytest.fixture
def broken_file(tmp_path):
    """Poses of two hands, of which one's joints lie on a line in two frames."""
    arrays = pose_arrays(6)
    arrays["joints"][np.flatnonzero(arrays["hand"] == "left")[2:4]] = ON_A_LINE
    return write_pose_file(tmp_path / "poses.npz", arrays)


def test_frames_that_no_hand_fits_are_gaps_of_a_skeleton(broken_file, tmp_path):
    convert(broken_file, tmp_path / "hands.bvh")
    rows = [row.split(",") for row in (tmp_path / "hands.bvh.valid.csv").read_text().split()]
    assert rows[0] == ["frame", "right_2", "left_4"]
    assert [row[1:] for row in rows[1:]] == [["1", "1"]] * 2 + [["1", "0"]] * 2 + [["1", "1"]] * 2

    convert(broken_file, tmp_path / "hands.glb")
    content = (tmp_path / "hands.glb").read_bytes()
    gltf = json.loads(content[20 : 20 + struct.unpack_from("<I", content, 12)[0]])
    assert gltf["asset"]["extras"]["gaps_s"] == {"right_2": [], "left_4": [pytest.approx([0.04, 0.06])]}
    (scale,) = (each for each in gltf["animations"][0]["channels"] if each["target"]["path"] == "scale")
    assert gltf["nodes"][scale["target"]["node"]]["name"] == "left_4_wrist"


def test_frames_that_no_hand_fits_are_invisible_in_usd(broken_file, tmp_path):
    usd = pytest.importorskip("pxr.Usd", reason="needs usd-core: pip install 'usthand-live[usd]'")
    convert(broken_file, tmp_path / "hands.usda")
    stage = usd.Stage.Open(str(tmp_path / "hands.usda"))
    seen = stage.GetPrimAtPath("/hands/left_4").GetAttribute("visibility")
    assert [seen.Get(frame) for frame in range(6)] == ["inherited"] * 2 + ["invisible"] * 2 + ["inherited"] * 2


def test_without_any_hand_nothing_is_written(tmp_path):
    arrays = pose_arrays(6)
    arrays["joints"][:] = ON_A_LINE
    with pytest.raises(NoHand, match=r"right_2, left_4: these joints are no hand's"):
        convert(write_pose_file(tmp_path / "poses.npz", arrays), tmp_path / "hands.glb")
    assert not (tmp_path / "hands.glb").exists()
