"""Pose files: what is in them is on one time axis, and what is none is refused with a reason."""

from types import SimpleNamespace

import numpy as np
import psutil
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


def test_measured_times_stay_and_those_of_gaps_lie_between(tmp_path):
    """Of cameras that slow down from 30 to 25 frames a second, with one set missing."""
    steps = np.r_[np.full(150, 1 / 30), np.full(150, 1 / 25)]
    steps[100] *= 2
    measured_ns = START_NS + np.round(1e9 * np.cumsum(steps)).astype(np.int64)
    one = pose_arrays(1)
    arrays = {name: np.repeat(values[:1], 300, axis=0) if values.ndim else values for name, values in one.items()}
    recording = read_recording(write_pose_file(tmp_path / "poses.npz", arrays, time=measured_ns))
    assert recording.frames == 301
    np.testing.assert_array_equal(recording.times_ns[recording.hands[0].valid], measured_ns)
    assert recording.times_ns[100] == pytest.approx((measured_ns[99] + measured_ns[100]) / 2, abs=1)
    assert (np.diff(recording.times_ns) > 0).all()


def renumbered(arrays: dict[str, np.ndarray], every: int) -> dict[str, np.ndarray]:
    """Each hand with another track number every so many frames."""
    frames = (arrays["time"] - START_NS) // STEP_NS
    return {**arrays, "track": arrays["track"] + 10 * (frames // every)}


def test_a_side_that_is_corrected_while_a_hand_is_followed_makes_no_second_hand(tmp_path):
    arrays = pose_arrays()
    right = np.flatnonzero(arrays["hand"] == "right")
    arrays["hand"][right[:5]] = "left"
    recording = read_recording(write_pose_file(tmp_path / "poses.npz", arrays))
    assert [hand.name for hand in recording.hands] == ["right_2", "left_4"]
    assert recording.hands[0].valid.all()


def test_hands_of_one_person_are_joined_on_request(tmp_path, caplog):
    arrays = pose_arrays()
    path = write_pose_file(tmp_path / "poses.npz", renumbered(arrays, 10))
    assert len(read_recording(path).hands) == 7
    joined = read_recording(path, join=True)
    assert [hand.name for hand in joined.hands] == ["right_2", "left_4"]
    for hand in joined.hands:
        np.testing.assert_array_equal(hand.joints_world_m[hand.valid], arrays["joints"][arrays["hand"] == hand.side])
    # One frame in which another right hand was seen, too: the one that is there longer stays.
    more = {name: np.concatenate([v, v[arrays["hand"] == "right"][:1]]) if v.ndim else v for name, v in arrays.items()}
    more["track"][-1], more["joints"][-1] = 99, 0.5
    joined = read_recording(write_pose_file(path, more), join=True)
    np.testing.assert_array_equal(joined.hands[0].joints_world_m, arrays["joints"][arrays["hand"] == "right"])
    assert "frames with two right hands: 1;" in caplog.text


def test_hands_of_two_people_are_not_joined(tmp_path):
    arrays = pose_arrays()
    twice = {name: np.concatenate([v, v]) if v.ndim else v for name, v in arrays.items()}
    twice["track"][len(arrays["track"]) :] += 10
    path = write_pose_file(tmp_path / "poses.npz", twice)
    with pytest.raises(UserError, match=r"two left hands are there at once in 23 of 23 frames.*Leave `--join` out"):
        read_recording(path, join=True)


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
        ({"set_time": np.array(["5", "6"])}, "`set_time` is to be whole numbers"),
        ({"set_time": np.zeros((2, 2), int)}, "`set_time` is to be whole numbers"),
    ],
)
def test_a_file_that_is_no_pose_file_is_refused(tmp_path, changes, said):
    with pytest.raises(UserError, match=said):
        read_recording(write_pose_file(tmp_path / "poses.npz", **changes))


def test_a_damaged_or_foreign_file_is_refused(tmp_path, pose_file):
    path = tmp_path / "poses.npz"
    with pytest.raises(UserError, match="no such file"):
        read_recording(path)
    with pytest.raises(UserError, match="cannot be opened"):
        read_recording(tmp_path / (300 * "a" + ".npz"))
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


def test_what_does_not_fit_into_memory_is_said_before_it_is_tried(tmp_path, monkeypatch):
    path = write_pose_file(tmp_path / "poses.npz", pose_arrays())
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=100_000))
    with pytest.raises(UserError, match=r"of memory and more, and 0\.0 GB are free.*`usthand replay SESSION --from"):
        read_recording(path)
