"""What views say of a track is evidence that adds up: no single score decides that it is a hand, or which."""

from dataclasses import replace

import numpy as np
import pytest

from app.estimators.detection import Detection
from app.estimators.multiview.detection_batch import gather
from app.estimators.settings import TrackerSettings
from app.estimators.tracks import HandTrack, HandTracks, Motion
from models.simulation.hands import hands_at
from models.simulation.simulated_rig import ring_rig

SETTINGS = TrackerSettings()


def new_track() -> HandTrack:
    joints_m = np.zeros((21, 3))
    return HandTrack(track_id=1, joints_m=joints_m, motion=Motion.start(0, joints_m, 1.0, SETTINGS), seen_time_ns=0)


def log_odds(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


def test_each_view_adds_its_log_odds_weighed_for_erring_together() -> None:
    track = new_track()
    before = track.presence_log_odds
    track.add_presence_evidence(np.array([0.8, 0.6, 0.5]))
    assert track.presence_log_odds - before == pytest.approx(
        SETTINGS.evidence_per_view * (log_odds(0.8) + log_odds(0.6))
    )


def test_a_view_that_is_doubtful_or_blind_ends_no_hand_but_doubt_that_lasts_does() -> None:
    """One view of four with a presence far below any usual threshold; then all of them, set after set."""
    track = new_track()
    for _ in range(5):
        track.add_presence_evidence(np.array([0.9, 0.9, 0.9, 0.02]))
        assert track.present
    sets = 0
    while track.present and sets < 100:
        track.add_presence_evidence(np.array([0.25, 0.3, 0.3, 0.25]))
        sets += 1
    assert 2 <= sets <= 10
    for _ in range(10):
        track.add_presence_evidence(np.full(4, 0.9))
    assert track.present


@pytest.mark.parametrize("sure", [0.0, 1.0])
def test_no_certainty_of_a_view_counts_more_than_its_limit(sure: float) -> None:
    """A probability of 1 is said by networks that are wrong, too."""
    track = new_track()
    track.add_handedness_evidence(np.array([sure]))
    assert abs(track.right_log_odds) == SETTINGS.evidence_per_view * SETTINGS.evidence_limit_per_view
    for _ in range(1000):
        track.add_handedness_evidence(np.full(8, sure))
    assert abs(track.right_log_odds) == SETTINGS.evidence_limit


def test_a_side_outlives_wrong_sets_and_is_turned_by_what_lasts() -> None:
    track = new_track()
    for _ in range(30):
        track.add_handedness_evidence(np.full(4, 0.9))
    track.add_handedness_evidence(np.full(4, 0.1))
    assert track.right_log_odds > 0
    for _ in range(3):
        track.add_handedness_evidence(np.full(4, 0.1))
    assert track.right_log_odds < 0


def test_what_is_hardly_a_hand_says_little_about_which() -> None:
    cameras = list(ring_rig(2).cameras)
    keypoints_px = np.random.default_rng(0).uniform(100, 200, (21, 2))
    found = [[Detection(keypoints_px, np.ones(21), 0.95, presence)] for presence in (1.0, 0.3)]
    right = gather(cameras, found, np.ones(2)).right
    assert right[0] == pytest.approx(0.95)
    assert 0.5 < right[1] < 0.55


@pytest.mark.parametrize(("away_s", "known"), [(5, True), (3600, False)])
def test_a_hand_that_comes_back_soon_is_the_same_persons(away_s: int, known: bool) -> None:
    tracks: HandTracks[HandTrack] = HandTracks(2, SETTINGS)
    joints_m = hands_at(0.0)["right"]
    first = tracks.new(HandTrack, 0, joints_m, 1e-4, right_log_odds=5.0)
    tracks.add(first)
    for _ in range(100):
        first.bones.add(joints_m)
    first.ended = True
    assert tracks.drop_lost(0) == [first]
    again = tracks.new(HandTrack, away_s * 10**9, joints_m, 1e-4, right_log_odds=5.0)
    tracks.add(again)
    assert (again.bones is first.bones) == again.bones.held == known


def test_joints_that_are_not_seen_stop_after_a_while() -> None:
    """Each goes on at its own speed, and would be metres away after a pause."""
    motion = replace(Motion.start(0, np.zeros((21, 3)), 1e-4, SETTINGS), velocity_m_s=np.full((21, 3), 0.8))
    assert motion.predict(200_000_000).position_m == pytest.approx(0.16)
    assert motion.predict(5_000_000_000).position_m == pytest.approx(0.8 * SETTINGS.coast_s)


@pytest.mark.parametrize(("rate_hz", "sets"), [(10, 4), (30, 4), (60, 8), (120, 15)])
def test_a_hand_is_lost_after_as_long_a_time_with_fast_cameras(rate_hz: int, sets: int) -> None:
    joints_m = np.zeros((21, 3))
    motion = Motion.start(0, joints_m, 1.0, replace(SETTINGS, misses_to_lose=4))
    track = HandTrack(track_id=1, joints_m=joints_m, motion=motion, seen_time_ns=0)
    missed = 0
    while not track.lost(round(missed * 1e9 / rate_hz)):
        track.miss()
        missed += 1
    assert missed == sets


def lost_and_found(after_s: float, at_m: float = 0.1, *, right: bool = True, ended: bool = False) -> tuple[int, int]:
    """The numbers of a right hand, and of one that is found after it was lost."""
    tracks = HandTracks[HandTrack](4, replace(SETTINGS, misses_to_lose=4))
    before = tracks.new(HandTrack, 0, np.zeros((21, 3)), 1.0, right_log_odds=3.0)
    tracks.add(before)
    before.misses, before.ended = 4, ended
    assert tracks.drop_lost(round(0.15e9)) == [before]
    joints_m = np.full((21, 3), [at_m, 0.0, 0.0])
    after = tracks.new(HandTrack, round(after_s * 1e9), joints_m, 1.0, right_log_odds=3.0 if right else -3.0)
    tracks.add(after)
    return before.track_id, after.track_id


def test_a_hand_that_was_lost_for_a_moment_has_its_number_again() -> None:
    before, after = lost_and_found(0.3)
    assert before == after
    for before, after in (
        lost_and_found(0.7),
        lost_and_found(0.3, at_m=1.0),
        lost_and_found(0.3, right=False),
        lost_and_found(0.3, ended=True),
    ):
        assert before != after


def test_a_number_that_was_taken_up_again_is_not_given_twice() -> None:
    tracks = HandTracks[HandTrack](4, replace(SETTINGS, misses_to_lose=4))
    lost = [tracks.new(HandTrack, 0, np.full((21, 3), x), 1.0, right_log_odds=3.0) for x in (0.0, 0.1)]
    for track in lost:
        tracks.add(track)
        track.misses = 4
    tracks.drop_lost(round(0.15e9))
    found = [
        tracks.new(HandTrack, round(0.3e9), np.full((21, 3), x), 1.0, right_log_odds=3.0) for x in (0.1, 0.02, 0.05)
    ]
    for track in found:
        tracks.add(track)
    assert [track.track_id for track in found] == [2, 1, 5]
