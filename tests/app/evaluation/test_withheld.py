"""The withheld-view error of hands whose error is known exactly."""

import numpy as np
import pytest

from app.evaluation.withheld import (
    GivenHand,
    WithheldErrors,
    WithheldSettings,
    joints_at,
    withheld_errors,
    withheld_figures,
)
from calibration.hand import JOINTS, hand_size_px
from models.simulation.hands import hands_at
from models.simulation.simulated_rig import ring_rig

CAMERA = ring_rig(3).cameras[0]
SETTINGS = WithheldSettings()
PERIOD_NS = 100_000_000
VELOCITY_M_S = np.array([0.3, -0.2, 0.1])


def hand_m(time_ns: int) -> np.ndarray:
    """A hand that moves evenly."""
    return hands_at(1.0)["right"] + VELOCITY_M_S * time_ns * 1e-9


def given(times_ns, track: int = 1, shift_m=(0.0, 0.0, 0.0)) -> list[list[GivenHand]]:
    return [[GivenHand(track, time_ns, hand_m(time_ns) + shift_m)] for time_ns in times_ns]


def test_the_error_is_taken_at_the_withheld_cameras_own_time():
    times_ns = [number * PERIOD_NS for number in range(8)]
    frames_ns = [time_ns + 37_000_000 for time_ns in times_ns]
    seen_px = [(CAMERA.project(hand_m(time_ns)) + [3.0, 4.0])[None] for time_ns in frames_ns]
    errors = withheld_errors(CAMERA, frames_ns, seen_px, given(times_ns), SETTINGS)
    # The last set's frame is beyond the track's end; there the hand is where it was.
    assert errors.px[:-1] == pytest.approx(np.full((7, JOINTS), 5.0), abs=1e-6)
    assert errors.size_px == pytest.approx([hand_size_px(each)[0] for each in seen_px])
    not_followed = [[hand._replace(track=hand.time_ns) for hand in hands] for hands in given(times_ns)]
    assert np.median(withheld_errors(CAMERA, frames_ns, seen_px, not_followed, SETTINGS).px) > 8


def test_every_hand_that_is_seen_counts_once_given_or_missed():
    times_ns = [0, PERIOD_NS]
    one, other = hand_m(0), hand_m(0) + [0.2, 0, 0]
    seen_px = [np.stack([CAMERA.project(one), CAMERA.project(other)])] * 2
    # In the first set both, in another order; in the second one of them, and one that is seen nowhere.
    hands = [
        [GivenHand(1, 0, other), GivenHand(2, 0, one)],
        [GivenHand(2, PERIOD_NS, one), GivenHand(3, PERIOD_NS, one + [0, 0.5, 0])],
    ]
    errors = withheld_errors(CAMERA, times_ns, seen_px, hands, SETTINGS)
    assert errors.given.tolist() == [True, True, True, False]
    assert np.nanmax(errors.px) < 1e-6
    assert withheld_figures(errors)["withheld_missed"] == 0.25
    none = withheld_errors(CAMERA, times_ns, seen_px, [[], []], SETTINGS)
    assert withheld_figures(none)["withheld_missed"] == 1
    assert withheld_figures(none)["withheld_px_median"] is None


def test_sets_in_which_the_camera_has_no_frame_do_not_count():
    errors = withheld_errors(CAMERA, [None, 0], [CAMERA.project(hand_m(0))[None]] * 2, given([0, 0]), SETTINGS)
    assert len(errors.px) == 1


def test_a_hand_that_is_farther_off_than_it_is_large_is_missed():
    size_m = np.ptp(hand_m(0), axis=0).max()
    for share, missed in ((0.2, False), (2.0, True)):
        across = share * size_m * np.linalg.inv(CAMERA.T_cam_world)[:3, 0]
        errors = withheld_errors(CAMERA, [0], [CAMERA.project(hand_m(0))[None]], given([0], shift_m=across), SETTINGS)
        assert errors.given.tolist() == [not missed]


def test_wrist_and_thumb_base_are_left_out_where_it_says_so():
    px = np.full((4, JOINTS), 2.0)
    px[:, :2] = 50.0
    px[:, 2:8] = 1.0
    figures = withheld_figures(WithheldErrors(px, np.array([50.0, 100.0, 100.0, 100.0])))
    assert figures["withheld_px_median"] == 2.0
    assert figures["withheld_percent_median"] == 2.0
    by_joint = figures["withheld_px_median_by_joint"]
    assert by_joint == [50.0] * 2 + [1.0] * 6 + [2.0] * 13
    px[:, 8:16] = 1.0
    assert withheld_figures(WithheldErrors(px, np.full(4, 100.0)))["withheld_px_median_without_wrist_thumb_base"] == 1.0


def test_a_hand_alone_in_time_stays_where_it_was_given():
    lone = joints_at([[], [GivenHand(1, PERIOD_NS, hand_m(PERIOD_NS))], []], [0, PERIOD_NS + 40_000_000, 0], 0.45)
    assert lone[1][0] == pytest.approx(hand_m(PERIOD_NS))
    assert [len(each) for each in lone] == [0, 1, 0]
