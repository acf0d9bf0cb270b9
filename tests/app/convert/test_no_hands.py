"""Joints that are no hand's: left out beside others, and refused alone."""

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


def test_without_any_hand_nothing_is_written(tmp_path):
    arrays = pose_arrays(6)
    arrays["joints"][:] = ON_A_LINE
    with pytest.raises(NoHand, match=r"right_2, left_4: these joints are no hand's"):
        convert(write_pose_file(tmp_path / "poses.npz", arrays), tmp_path / "hands.glb")
    assert not (tmp_path / "hands.glb").exists()
