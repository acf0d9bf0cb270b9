"""What of a session is learned from, and that what is held out never is."""

from pathlib import Path

import numpy as np
import pytest

from app.adaptation.footage import plan_footage, teaching
from app.adaptation.settings import FootageSettings
from app.assembly.recorded_sets import recorded_sets
from calibration.errors import UserError
from tests.support.exact_footage import FPS, FRAMES, make_session

SMALL = FootageSettings(holdout=0.4, rate_hz=FPS, least_sets=6, least_held_sets=4)


@pytest.fixture
def recording(tmp_path: Path, write_video):
    return make_session(tmp_path / "session", write_video)


def times_of(sets) -> list[int]:
    return [each.reference_time_ns for each in sets]


def test_every_set_is_to_learn_from_or_is_held_out(recording):
    footage = plan_footage(recording.session, 600, SMALL)
    every = times_of(recorded_sets(recording.session, recording.rig, recording.phases_ns))
    learning, held = times_of(footage.learning_sets()), times_of(footage.sets_between(*footage.held_out(1000), 0.0))
    assert learning + held == every and len(every) == FRAMES
    assert max(learning) < footage.held_ns <= min(held)
    assert len(held) == pytest.approx(0.4 * FRAMES, abs=1)


def test_the_last_hands_to_learn_from_are_chosen_by():
    times_ns = np.repeat(np.arange(10), 2)
    teaches = teaching(times_ns, 0.25)
    assert teaches.tolist() == [True] * 14 + [False] * 6  # of seven sets and a half, the eighth's hands are together
    assert not teaching(np.zeros(4), 0.25).any()


def test_methods_warm_up_before_what_is_measured(recording):
    footage = plan_footage(recording.session, 600, SMALL)
    start_ns, until_ns = footage.held_out(3)
    held = np.array(times_of(footage.sets_between(start_ns, until_ns, 0.1)))
    assert (held >= start_ns).sum() == 3
    assert start_ns - held.min() == pytest.approx(0.1e9, abs=1e9 / FPS)
    before = times_of(footage.sets_between(*footage.before_held_out(3), 0.0))
    assert len(before) == 3 and max(before) < footage.held_ns


def test_of_much_footage_blocks_from_all_over_it_are_taken(recording):
    settings = FootageSettings(holdout=0.4, rate_hz=FPS, block_sets=2, least_sets=6, least_held_sets=4)
    footage = plan_footage(recording.session, 6, settings)
    times = np.array(times_of(footage.learning_sets()))
    assert len(times) == 6
    gaps = np.diff(times) > 1.5e9 / FPS
    assert gaps.tolist() == [False, True, False, True, False]
    assert times[-1] < footage.held_ns and times[0] == min(times_of(recorded_sets(
        recording.session, recording.rig, recording.phases_ns)))  # fmt: skip


def test_a_faster_recording_gives_every_so_many_sets(recording):
    settings = FootageSettings(holdout=0.4, rate_hz=FPS / 2, least_sets=3, least_held_sets=4)
    footage = plan_footage(recording.session, 600, settings)
    times = np.array(times_of(footage.learning_sets()))
    assert np.diff(times) == pytest.approx(2e9 / FPS, rel=0.01)


def test_a_session_that_is_too_short_says_how_long_it_must_be(recording):
    with pytest.raises(UserError, match=r"lasts 0\.8 s with 20 frame sets, too short.*Record at least 4 s"):
        plan_footage(recording.session, 600, FootageSettings(rate_hz=FPS))
