"""`--fill` closes short gaps near the truth and marks them; `--smooth` takes noise away without delay."""

from dataclasses import replace

import numpy as np
import pytest

from app.convert.conversion import convert, prepare
from app.convert.gaps import fill_gaps
from app.convert.hand_recording import RecordedHand
from app.convert.reading import read_recording
from app.convert.smoothing import SmoothingSettings, smooth
from calibration.errors import UserError
from tests.support.pose_files import pose_arrays, true_joints_m, write_pose_file


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """300 frames of both hands."""
    path = tmp_path_factory.mktemp("long") / "poses.npz"
    return read_recording(write_pose_file(path, pose_arrays(300, noise_m=0.003), covariance=covariances(300)))


def covariances(frames: int) -> np.ndarray:
    return np.tile(9e-6 * np.eye(3, dtype=np.float32), (len(pose_arrays(frames)["time"]), 21, 1, 1))


def test_short_gaps_are_filled_and_marked_and_long_ones_stay(pose_file):
    recording = read_recording(pose_file)
    left = recording.hands[1]
    filled = fill_gaps(left, recording.times_s, 0.1)
    assert list(np.flatnonzero(filled.filled)) == [6, 7, 8]
    assert filled.gaps() == [(20, 34)]
    assert filled.confidence[6:9].sum() == 0
    np.testing.assert_array_equal(filled.joints_world_m[left.valid], left.joints_world_m[left.valid])
    off = np.linalg.norm(filled.joints_world_m[6:9] - true_joints_m("left")[6:9], axis=2)
    assert off.mean() < 0.002
    # What is interpolated is less sure than what is on both sides.
    variance = np.trace(filled.covariance_m2, axis1=2, axis2=3)
    assert (variance[7] > variance[5]).all()


def test_a_gap_of_exactly_the_limit_is_filled_wherever_it_lies(long):
    right = long.hands[0]
    times_s = np.round(np.arange(300) * 1e8 / 3) / 1e9  # 30 Hz, so that three frames last 100 ms
    for limit_s, fills in ((100 / 1e3, True), (99.9999 / 1e3, False)):
        for begin in range(1, 297):
            joints = right.joints_world_m.copy()
            joints[begin : begin + 2] = np.nan
            filled = fill_gaps(replace(right, joints_world_m=joints), times_s, limit_s)
            assert filled.filled[begin] == fills, begin


def test_gaps_at_the_ends_are_no_gaps_between(pose_file):
    recording = read_recording(pose_file)
    joints = recording.hands[0].joints_world_m.copy()
    joints[:3] = np.nan
    late = replace(recording.hands[0], joints_world_m=joints)
    assert late.gaps() == []
    assert not fill_gaps(late, recording.times_s, 10).valid[:3].any()


def test_smoothing_leaves_less_error_and_its_covariance_says_how_much(long):
    right = long.hands[0]
    smoothed = smooth(right, long.times_s, SmoothingSettings(lasting=1))  # its noise is new in each frame
    truth = true_joints_m("right", 300)
    before = right.joints_world_m - truth
    after = smoothed.joints_world_m - truth
    assert np.sqrt(np.mean(after**2)) < 0.6 * np.sqrt(np.mean(before**2))
    # Squared errors over their covariances: 3 for each joint, where the covariance is right.
    squared = np.einsum("fja,fjab,fjb->fj", after, np.linalg.inv(smoothed.covariance_m2), after)
    assert 1.5 < squared.mean() < 4.5
    assert (np.trace(smoothed.covariance_m2, axis1=2, axis2=3) < 27e-6).all()


def test_what_was_done_before_stays_done(tmp_path):
    """A converted file that is converted again is as if all had been done at once."""
    poses = write_pose_file(tmp_path / "poses.npz")
    at_once = prepare(read_recording(poses), fill_ms=100, smoothed=True)
    convert(poses, tmp_path / "filled.npz", fill_ms=100)
    convert(tmp_path / "filled.npz", tmp_path / "smoothed.npz", smoothed=True)
    later = prepare(read_recording(tmp_path / "smoothed.npz"))
    assert (later.fill_ms, later.smoothed) == (100, True)
    for one, other in zip(later.hands, at_once.hands, strict=True):
        np.testing.assert_array_equal(one.filled, other.filled)
        np.testing.assert_allclose(one.joints_world_m, other.joints_world_m, atol=1e-6)
        np.testing.assert_allclose(one.covariance_m2, other.covariance_m2, atol=1e-10, rtol=1e-3)
    with pytest.raises(UserError, match="smoothed already"):
        prepare(later, smoothed=True)


def test_smoothing_does_not_delay(long):
    """The smoothed motion is nearest to the truth of the same frame, not of one before or after."""
    smoothed = smooth(long.hands[0], long.times_s).joints_world_m
    truth = true_joints_m("right", 300)
    away = {shift: np.abs(smoothed[5:-5] - truth[5 + shift : len(truth) - 5 + shift]).mean() for shift in range(-3, 4)}
    assert min(away, key=lambda shift: away[shift]) == 0
    assert away[-1] == pytest.approx(away[1], rel=0.15)


def test_smoothing_keeps_gaps_and_passes_over_them(long):
    left = long.hands[1]
    smoothed = smooth(left, long.times_s)
    np.testing.assert_array_equal(smoothed.valid, left.valid)
    off = np.linalg.norm(smoothed.joints_world_m - true_joints_m("left", 300), axis=2)
    assert np.nanmax(off) < 0.02


def test_block_after_block_a_recording_is_smoothed_as_at_once(long, monkeypatch):
    at_once = smooth(long.hands[0], long.times_s)
    monkeypatch.setattr("app.convert.smoothing._BLOCK", 30)
    in_blocks = smooth(long.hands[0], long.times_s)
    np.testing.assert_array_equal(in_blocks.joints_world_m, at_once.joints_world_m)
    np.testing.assert_array_equal(in_blocks.covariance_m2, at_once.covariance_m2)


def test_the_smoother_agrees_with_one_large_least_squares():
    """For a constant rate and a lag beyond the end, the smoother's answer is that of all equations at once."""
    generator = np.random.default_rng(0)
    n, step, q, r = 12, 0.02, 2.0, 0.003
    measured = np.cumsum(generator.normal(0, 0.01, n))
    joints = np.zeros((n, 21, 3))
    joints[:, 0, 0] = measured
    hand = RecordedHand(
        side="right",
        track_id=1,
        joints_world_m=joints,
        covariance_m2=np.tile(r**2 * np.eye(3), (n, 21, 1, 1)),
        confidence=np.ones((n, 21)),
        filled=np.zeros(n, bool),
    )
    settings = SmoothingSettings(lag_s=10, acceleration_density=q, lasting=1)
    got = smooth(hand, step * np.arange(n), settings)
    F = np.array([[1, step], [0, 1]])
    Q = q * np.array([[step**3 / 3, step**2 / 2], [step**2 / 2, step]])
    information, right_side = np.zeros((2 * n, 2 * n)), np.zeros(2 * n)
    first = np.diag([1 / (100 * 3 * r**2), 1 / settings.speed_std_mps**2])
    information[:2, :2] += first
    right_side[:2] += first @ [measured[0], 0]
    for i in range(n):
        information[2 * i, 2 * i] += 1 / r**2
        right_side[2 * i] += measured[i] / r**2
        if i:
            A = np.zeros((2, 2 * n))
            A[:, 2 * i - 2 : 2 * i], A[:, 2 * i : 2 * i + 2] = -F, np.eye(2)
            information += A.T @ np.linalg.inv(Q) @ A
    np.testing.assert_allclose(got.joints_world_m[:, 0, 0], np.linalg.solve(information, right_side)[::2], atol=1e-9)
    expected = np.diag(np.linalg.inv(information))[::2]
    np.testing.assert_allclose(got.covariance_m2[:, 0, 0, 0], expected, rtol=1e-6)
