"""Pose files: what is in them is on one time axis, and what is none is refused with a reason."""

import numpy as np
import pytest

from app.convert.reading import read_recording
from calibration.errors import UserError
from tests.support.pose_files import GAPS, START_NS, STEP_NS, pose_arrays, write_pose_file


def test_hands_are_in_the_frames_in_which_they_were_seen(pose_file):
    recording = read_recording(pose_file)
    assert recording.rate_hz == 50
    assert [hand.name for hand in recording.hands] == ["right_2", "left_4"]
    np.testing.assert_array_equal(recording.times_ns, START_NS + STEP_NS * np.arange(40))
    arrays = pose_arrays()
    for hand in recording.hands:
        assert list(np.flatnonzero(~hand.valid)) == [frame for gap in GAPS[hand.side] for frame in gap]
        rows = arrays["hand"] == hand.side
        np.testing.assert_array_equal(hand.joints_world_m[hand.valid], arrays["joints"][rows])
        np.testing.assert_array_equal(hand.covariance_m2[hand.valid], arrays["covariance"][rows])
        assert hand.confidence[~hand.valid].sum() == 0
    assert recording.hands[1].gaps() == [(6, 9), (20, 34)]


def test_frames_in_which_no_hand_was_seen_count(tmp_path):
    """By the times of the sets, where the file has them, and by the time that passes."""
    arrays = pose_arrays()
    right = arrays["hand"] == "right"
    arrays = {name: values[right] if values.ndim else values for name, values in arrays.items()}
    seen = (arrays["time"] - START_NS) // STEP_NS
    kept = (seen < 10) | (seen >= 25)
    arrays = {name: values[kept] if values.ndim else values for name, values in arrays.items()}
    for more in ({}, {"set_time": START_NS + STEP_NS * np.arange(-2, 45)}):
        recording = read_recording(write_pose_file(tmp_path / "poses.npz", arrays, **more))
        first = 2 if more else 0
        assert recording.frames == (47 if more else 40)
        assert recording.hands[0].gaps() == [(first + 10, first + 25)]
        np.testing.assert_allclose(np.diff(recording.times_ns), STEP_NS)


def test_the_rate_is_found_despite_jitter(tmp_path):
    arrays = pose_arrays(200)
    jitter = np.random.default_rng(3).integers(-3_000_000, 3_000_000, 200)
    arrays["time"] = arrays["time"] + jitter[(arrays["time"] - START_NS) // STEP_NS]
    recording = read_recording(write_pose_file(tmp_path / "poses.npz", arrays))
    assert recording.rate_hz == pytest.approx(50, rel=1e-3)
    assert recording.frames == 200


def test_one_frame_alone_is_a_recording(tmp_path):
    recording = read_recording(write_pose_file(tmp_path / "poses.npz", pose_arrays(1)))
    assert recording.frames == 1
    assert len(recording.hands) == 2


def test_a_track_that_changes_sides_is_two_hands(tmp_path):
    arrays = pose_arrays()
    recording = read_recording(write_pose_file(tmp_path / "poses.npz", arrays, track=np.ones_like(arrays["track"])))
    assert [hand.name for hand in recording.hands] == ["left_1", "right_1"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": np.array(7)}, "a pose file of version 7, and this program reads 1"),
        ({"definition": np.array("knuckles")}, "unknown definition `knuckles`"),
        ({"joints": np.zeros((3, 21, 3), np.float32)}, "`joints` has the shape"),
        ({"joints": np.full((66 - 3, 21, 3), np.nan, np.float32)}, "there is no hand in it"),
        ({"hand": np.full(66 - 3, "foot")}, "`hand` is to be left or right"),
        ({"filled": np.zeros(66 - 3)}, "`filled` is to be true or false"),
        ({"smoothed": np.array("yes")}, "`smoothed` is to be one number"),
        ({"time": np.linspace(0, 1, 66 - 3)}, "whole numbers"),
        ({"time": np.append(np.arange(62), 1 << 40)}, "frames"),
    ],
)
def test_a_file_that_is_no_pose_file_is_refused(tmp_path, changes, said):
    with pytest.raises(UserError, match=said):
        read_recording(write_pose_file(tmp_path / "poses.npz", **changes))


def test_a_damaged_or_foreign_file_is_refused(tmp_path, pose_file):
    path = tmp_path / "poses.npz"
    with pytest.raises(UserError, match="no such file"):
        read_recording(path)
    path.write_bytes(pose_file.read_bytes()[:-3000])
    with pytest.raises(UserError, match="cannot be read as poses"):
        read_recording(path)
    path.write_text("time,hand\n")
    with pytest.raises(UserError, match="cannot be read as poses"):
        read_recording(path)
    np.savez(path, pictures=np.zeros(3))
    with pytest.raises(UserError, match="no pose file, for it has no `time`"):
        read_recording(path)
    write_pose_file(path, {name: values[:0] if values.ndim else values for name, values in pose_arrays().items()})
    with pytest.raises(UserError, match="there is no hand in it"):
        read_recording(path)
