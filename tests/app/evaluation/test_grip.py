"""The grip test's figures on hands that hold a board in a known way."""

import numpy as np
import pytest

from app.estimators.estimator import Hand
from app.evaluation.grip import TIPS, Grips, grip_figures, grips_of
from calibration.board.board import Board
from calibration.hand import JOINTS, Side
from calibration.rotations import make_transform, rotation_from_vector
from calibration.solve.board_in_rig import PosedInRig

BOARD = Board(type="charuco", columns=4, rows=5, square_m=0.054, dictionary="DICT_4X4_50", marker_m=0.04)
SETS = 400
TIMES_NS = [number * 100_000_000 for number in range(SETS)]


def poses(rng: np.random.Generator) -> list[PosedInRig]:
    turns = rotation_from_vector(rng.normal(0, 0.5, (SETS, 3)))
    return [PosedInRig(T, 0.3) for T in make_transform(turns, rng.normal(0, 0.2, (SETS, 3)))]


def holding(pose: PosedInRig, side: Side, heights_mm) -> Hand:
    """A hand at the board's left or right edge with fingertips (5,) so far in front of its plane."""
    x = 0.0 if side == "left" else 0.216
    joints_board_m = np.tile([x, 0.13, 0.02], (JOINTS, 1))
    joints_board_m[list(TIPS), 1] += 0.02 * np.arange(5)
    joints_board_m[list(TIPS), 2] = -1e-3 * np.asarray(heights_mm)
    joints_m = joints_board_m @ pose.T_world_board[:3, :3].T + pose.T_world_board[:3, 3]
    return Hand(
        side=side,
        track_id=1,
        capture_time_ns=0,
        joints_world_m=joints_m,
        covariance_m2=np.zeros((JOINTS, 3, 3)),
        confidence=np.ones(JOINTS),
        detections_px={},
        inliers={},
    )


def held(posed, side: Side, height_mm, rng: np.random.Generator, sd_mm: float = 0.0) -> list[list[Hand]]:
    return [[holding(pose, side, height_mm + rng.normal(0, sd_mm, 5) if sd_mm else height_mm)] for pose in posed]


def grips(posed, reference, given) -> Grips:
    return grips_of(BOARD, posed, TIMES_NS[: len(posed)], reference, given)


def test_spread_and_gap_are_those_that_were_put_in():
    rng = np.random.default_rng(0)
    posed = poses(rng)
    heights = np.array([-4.0, 8.0, 10.0, 9.0, 11.0])
    reference = held(posed, "right", heights, rng)
    given = {"exact": reference, "noisy": held(posed, "right", heights + 5, rng, 3.0)}
    measured = grips(posed, reference, given)
    exact, noisy = grip_figures(measured, "exact"), grip_figures(measured, "noisy")
    assert exact == {
        "tips": 5 * SETS,
        "tips_missed": 0.0,
        "normal_sd_mm": pytest.approx(0, abs=1e-6),
        "gap_mm": pytest.approx(13.0),
        "wrong_side": 0.0,
        "grips": SETS,
    }
    assert noisy["normal_sd_mm"] == pytest.approx(3.0, rel=0.06)
    # The thumb's noise against the mean of two fingers': 13 mm are 3.5 standard deviations.
    assert noisy["gap_mm"] == pytest.approx(13.0, abs=0.6)
    assert noisy["wrong_side"] == pytest.approx(0, abs=0.005)


def test_a_thumb_on_the_wrong_side_is_told_whichever_side_is_right():
    rng = np.random.default_rng(1)
    posed = poses(rng)
    for thumb in (-6.0, 6.0):
        heights = np.array([thumb, -thumb, -thumb, -thumb, -thumb])
        reference = held(posed, "left", heights, rng)
        swapped = [hands if number % 4 else [holding(posed[number], "left", -heights)]
                   for number, hands in enumerate(reference)]  # fmt: skip
        figures = grip_figures(grips(posed, reference, {"a": swapped}), "a")
        assert figures["wrong_side"] == 0.25
        assert figures["gap_mm"] == pytest.approx(12.0)


def test_missed_are_tips_without_a_hand_and_tips_that_are_off_the_board():
    rng = np.random.default_rng(2)
    posed = poses(rng)
    heights = np.zeros(5) + [-3, 3, 3, 3, 3]
    reference = held(posed, "right", heights, rng)
    given = [hands if number % 2 else [] for number, hands in enumerate(reference)]
    far = [[holding(posed[number], "right", heights + [60, 0, 0, 0, 0])] for number in range(SETS)]
    measured = grips(posed, reference, {"half": given, "thumb off": far})
    assert grip_figures(measured, "half")["tips_missed"] == 0.5
    assert grip_figures(measured, "half")["grips"] == SETS // 2
    assert grip_figures(measured, "thumb off")["tips_missed"] == pytest.approx(0.2)
    assert grip_figures(measured, "thumb off")["wrong_side"] is None


def test_a_reference_that_loses_the_hand_for_a_moment_misses_its_tips():
    rng = np.random.default_rng(3)
    posed = poses(rng)[:11]
    # The board is still, so that the hand is where it was.
    posed = [posed[0]] * 11
    reference = held(posed, "right", np.array([-3.0, 3, 3, 3, 3]), rng)
    reference[5] = []
    figures = grip_figures(grips(posed, reference, {"reference": reference}), "reference")
    assert figures["tips"] == 55
    assert figures["tips_missed"] == pytest.approx(5 / 55, rel=1e-3)


def test_hands_away_from_the_board_and_sets_without_it_do_not_count():
    rng = np.random.default_rng(4)
    posed = poses(rng)[:20]
    near = held(posed, "right", np.array([-3.0, 3, 3, 3, 3]), rng)
    away = [[holding(pose, "right", np.full(5, 200.0))] for pose in posed]
    assert grip_figures(grips(posed, away, {"a": away}), "a")["tips"] == 0
    some = grips([pose if number < 5 else None for number, pose in enumerate(posed)], near, {"a": near})
    assert some.sets_with_board == 5
    assert grip_figures(some, "a")["tips"] == 25


def test_the_spread_is_each_hands_own_over_sessions():
    """Two sessions whose hands hold the board at other depths: joined, the spread within each stays zero."""
    rng = np.random.default_rng(5)
    posed = poses(rng)[:20]
    near = held(posed, "right", np.array([-3.0, 3, 3, 3, 3]), rng)
    deep = held(posed, "right", np.array([-9.0, 12, 12, 12, 12]), rng)
    joined = grips(posed, near, {"a": near}).joined(grips(posed, deep, {"a": deep}))
    figures = grip_figures(joined, "a")
    assert figures["normal_sd_mm"] == pytest.approx(0, abs=1e-6)
    assert figures["tips"] == 200
