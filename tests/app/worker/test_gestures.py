"""Pinch, grab and point of known hands, and that noise between the two limits changes nothing."""

import numpy as np
import pytest

from app.estimators.estimator import Hand
from app.transport.messages import Gesture
from app.worker.gestures import Gestures, GestureSettings, measure
from calibration.hand import Definition, Side
from models.hand import definition as joint_definition
from models.hand.builtin import BuiltinHand
from models.simulation.gestures import GESTURES

T_WORLD_HAND = np.array([[0, -1, 0, 0.3], [0, 0, 1, -0.2], [-1, 0, 0, 0.5], [0, 0, 0, 1.0]])
SIDES: tuple[Side, ...] = ("left", "right")


def joints_of(gesture: str, side: Side, seed: int = 0) -> np.ndarray:
    model = BuiltinHand(side)
    angles = np.deg2rad(GESTURES[gesture][0](np.random.default_rng(seed)))
    return model.joints(angles, T_WORLD_HAND, model.default_shape())


def hand(joints_m: np.ndarray, side: Side = "right", track_id: int = 1) -> Hand:
    return Hand(
        side=side,
        track_id=track_id,
        capture_time_ns=0,
        joints_world_m=joints_m,
        covariance_m2=np.tile(1e-6 * np.eye(3), (21, 1, 1)),
        confidence=np.ones(21),
        detections_px={},
        inliers={},
    )


def with_gap(pinch_m: float) -> np.ndarray:
    """A flat hand's joints, but for the thumb's tip, which is so far from the index finger's."""
    joints = joints_of("flat", "right")
    joints[4] = joints[8] + [pinch_m, 0, 0]
    return joints


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("posture", "expected"),
    [("fist", ["grab"]), ("thumb up", ["grab"]), ("point", ["point"]), ("flat", []), ("spread", []), ("claw", [])],
)
def test_known_postures_are_told_apart(posture: str, expected: list[Gesture], side: Side) -> None:
    for seed in range(10):
        told = Gestures().of([hand(joints_of(posture, side, seed), side)], "anatomical", [])
        assert told == {1: expected}, seed


@pytest.mark.parametrize("side", SIDES)
def test_joints_of_a_detector_give_the_same_gestures(side: Side) -> None:
    mirror = np.diag([1.0, -1, 1]) if side == "left" else np.eye(3)
    to_detector: tuple[Definition, Definition] = "anatomical", "detector"
    for posture, expected in (("fist", ["grab"]), ("point", ["point"]), ("flat", [])):
        joints = joint_definition.convert(joints_of(posture, side) @ mirror, *to_detector) @ mirror
        assert Gestures().of([hand(joints, side)], "detector", []) == {1: expected}


def test_a_pinch_begins_at_15_mm_and_ends_at_30() -> None:
    gestures = Gestures()
    told = [
        "pinch" in gestures.of([hand(with_gap(mm / 1e3))], "anatomical", [])[1]
        for mm in (40, 16, 14, 29, 16, 29, 31, 16, 29, 14.9)
    ]
    assert told == [False, False, True, True, True, True, False, False, False, True]
    assert (GestureSettings().close_m, GestureSettings().release_m) == (0.015, 0.030)


def test_noise_does_not_make_a_pinch_flicker() -> None:
    random, gestures = np.random.default_rng(0), Gestures()
    changes, before = 0, False
    for mm in np.linspace(60, 5, 300):  # a slow pinch: 3 mm of noise on a way of 0.2 mm a frame
        now = "pinch" in gestures.of([hand(with_gap((mm + random.normal(0, 3)) / 1e3))], "anatomical", [])[1]
        changes, before = changes + (now != before), now
    assert changes == 1


def test_a_hand_out_of_sight_keeps_its_gesture_and_one_that_is_lost_does_not() -> None:
    gestures = Gestures()
    near, between = hand(with_gap(0.01)), hand(with_gap(0.02))
    assert gestures.of([near], "anatomical", []) == {1: ["pinch"]}
    assert gestures.of([], "anatomical", [1]) == {}
    assert gestures.of([between], "anatomical", [1]) == {1: ["pinch"]}
    gestures.of([], "anatomical", [])
    assert gestures.of([between], "anatomical", [1]) == {1: []}


def test_gaps_are_those_of_the_hand() -> None:
    measured = measure(with_gap(0.02), "right", "anatomical")
    assert measured.pinch_m == pytest.approx(0.02)
    assert measured.straight == pytest.approx(1.0, abs=0.01)
    # A fingertip on the palm's skin, which lies 18 mm before the line of the middle metacarpal bone.
    joints = joints_of("flat", "right")
    middle = 0.6 * joints[9] + 0.4 * joints[0]
    palm = T_WORLD_HAND[:3, :3] @ [0, 0, -1.0]
    joints[12] = middle + 0.018 * palm
    assert measure(joints, "right", "anatomical").palm_m[1] == pytest.approx(0, abs=0.001)
