"""The forecast: exact for what it takes a hand to do, better than none on simulated motion, and as sure as it says."""

import numpy as np
import pytest

from app.estimators.estimator import Hand, UnseenHand
from app.worker.look_ahead import FadingMotion, LookAhead, LookAheadSettings, pose_history
from calibration.hand import Side
from models.hand.bone_lengths import BoneLengths
from models.hand.builtin import BuiltinHand
from models.hand.definition import convert
from models.hand.fit import PoseFit
from models.simulation.motion import HandMotion

STEP_NS = 33_333_333
STD_M = 0.002
TIPS = [4, 8, 12, 16, 20]


def hand_at(time_ns: int, joints_m: np.ndarray, side: Side = "right") -> Hand:
    return Hand(
        side=side,
        track_id=1,
        capture_time_ns=time_ns,
        joints_world_m=joints_m,
        covariance_m2=np.tile(STD_M**2 * np.eye(3), (21, 1, 1)),
        confidence=np.ones(21),
        detections_px={},
        inliers={},
    )


def test_one_long_step_is_as_many_short_ones() -> None:
    settings = LookAheadSettings()
    random = np.random.default_rng(0)
    motion = FadingMotion.start(0, random.normal(size=(21, 3)), np.full(21, 1e-6), settings)
    motion.velocity_m_s = random.normal(size=(21, 3))
    long, short = motion.at(100_000_000), motion
    for time_ns in range(10_000_000, 110_000_000, 10_000_000):
        short = short.at(time_ns)
    assert np.allclose(long.position_m, short.position_m, atol=1e-12)
    assert np.allclose(long.velocity_m_s, short.velocity_m_s, atol=1e-12)
    assert np.allclose(long.variance, short.variance, rtol=1e-9)


def test_the_noise_of_a_step_is_that_of_many_random_ones() -> None:
    """Against a plain simulation of the process: dv = -v / fade dt + white acceleration."""
    settings = LookAheadSettings()
    random, steps, dt = np.random.default_rng(1), 200, 0.05 / 200
    position, velocity = np.zeros(20000), np.zeros(20000)
    for _ in range(steps):
        position += velocity * dt
        velocity += -velocity * dt / settings.fade_s
        velocity += random.normal(0, np.sqrt(settings.acceleration_psd * dt), velocity.shape)
    motion = FadingMotion.start(0, np.zeros((21, 3)), np.zeros(21), settings)
    motion.variance[:] = 0
    variance = motion.at(50_000_000).variance[0]
    assert variance == pytest.approx(np.cov(position, velocity), rel=0.05)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("ahead_ms", [20, 50, 100])
def test_a_hand_that_moves_is_forecast_nearer_than_it_was_seen_and_as_surely_as_is_so(
    side: Side, ahead_ms: int
) -> None:
    model, motion, random = BuiltinHand(side), HandMotion(5, side), np.random.default_rng(2)
    look_ahead = LookAhead(ahead_ms)
    forecast, stale, sds = [], [], []
    for frame in range(240):
        time_ns = frame * STEP_NS
        now, then = (
            model.joints(motion.angles_rad(t), motion.T_world_hand(t), model.default_shape())
            for t in (time_ns / 1e9, (time_ns + ahead_ms * 1e6) / 1e9)
        )
        seen = now + random.normal(0, STD_M, now.shape)
        [ahead] = look_ahead.of([hand_at(time_ns, seen, side)], [], time_ns, "anatomical")
        assert (ahead.time_ns, ahead.seen_time_ns, ahead.hand, ahead.state) == (
            time_ns + ahead_ms * 1_000_000,
            time_ns,
            side,
            "predicted",
        )
        forecast.append(np.array(ahead.joints_world_m) - then)
        stale.append(seen - then)
        sds.append(np.sqrt(np.array(ahead.covariance_m2)[:, [0, 1, 2], [0, 1, 2]]))
    forecast, stale, sds = (np.array(each)[30:, TIPS] for each in (forecast, stale, sds))
    error, without = (np.linalg.norm(each, axis=-1).mean() for each in (forecast, stale))
    assert error < 0.85 * without
    assert np.all(sds >= STD_M - 1e-9)
    assert 0.6 < np.sqrt(np.mean((forecast / sds) ** 2)) < 1.3


def test_a_hand_out_of_sight_is_forecast_ever_less_surely_and_one_that_is_lost_not_at_all() -> None:
    model = BuiltinHand("right")
    joints = model.joints(np.zeros(21), np.eye(4), model.default_shape())
    look_ahead = LookAhead(20)
    sds = []
    for frame in range(30):
        time_ns = frame * STEP_NS
        held = UnseenHand(
            side="right",
            track_id=1,
            state="held",
            seen_time_ns=9 * STEP_NS,
            joints_world_m=joints,
            covariance_m2=np.zeros((21, 3, 3)),
        )
        seen = frame < 10
        [ahead] = look_ahead.of(
            [hand_at(time_ns, joints)] if seen else [], [] if seen else [held], time_ns, "anatomical"
        )
        assert ahead.seen_time_ns == min(frame, 9) * STEP_NS
        sds.append(ahead.covariance_m2[8][0][0] ** 0.5)
    assert np.all(np.diff(sds[9:]) > 0)
    assert look_ahead.of([], [], 30 * STEP_NS, "anatomical") == []
    assert look_ahead.of([], [held], 31 * STEP_NS, "anatomical") == []  # nothing is known of it any more


def test_a_hand_found_far_from_where_it_was_expected_begins_anew_and_is_not_forecast_to_fly_on() -> None:
    model = BuiltinHand("right")
    joints = model.joints(np.zeros(21), np.eye(4), model.default_shape())
    look_ahead = LookAhead(50)
    for frame in range(20):
        seen = joints + [0.3 * (frame >= 10), 0, 0]
        [ahead] = look_ahead.of([hand_at(frame * STEP_NS, seen)], [], frame * STEP_NS, "anatomical")
        assert np.linalg.norm(np.array(ahead.joints_world_m) - seen, axis=1).max() < 0.01


def test_a_hand_seen_just_as_often_as_is_needed_has_a_history_at_all_times() -> None:
    fit = PoseFit(np.zeros(21), np.eye(4), np.zeros((21, 3)), 0.0)
    for now_ns in range(0, 10**9, 10**7):
        times_ns = [now_ns - 10**8 * back for back in (2, 1, 0)]
        assert pose_history([(time_ns, fit) for time_ns in times_ns], 0.1) is not None
        late = [times_ns[0], times_ns[1] - 1, times_ns[2]]
        assert pose_history([(time_ns, fit) for time_ns in late], 0.1) is None


def test_joints_of_a_detector_come_back_as_a_detectors() -> None:
    """A hand that rests is forecast where it is seen, whatever the definition of its joints and of its bones."""
    model = BuiltinHand("left")
    joints = model.joints(np.zeros(21), np.eye(4), model.default_shape())
    mirror = np.diag([1.0, -1, 1])
    seen = convert(joints @ mirror, "anatomical", "detector") @ mirror
    look_ahead, ahead, bones = LookAhead(50), [], BoneLengths()
    for frame in range(20):
        bones.add(seen)  # as the estimators do
        hand = hand_at(frame * STEP_NS, seen, "left")
        hand.bones = bones
        ahead = look_ahead.of([hand], [], frame * STEP_NS, "detector")
    assert np.linalg.norm(np.array(ahead[0].joints_world_m) - seen, axis=1).max() < 0.003
