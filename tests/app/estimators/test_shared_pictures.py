"""A hand that is made of two other hands' pictures is told from hands that lie near each other."""

from collections.abc import Mapping

import numpy as np

from app.estimators.estimator import Hand
from app.estimators.settings import JudgeSettings
from app.estimators.ust_hand.shared_pictures import made_of_others
from models.hand.skeleton import MEAN_BONE_LENGTHS_M, REST_ANGLES_RAD, chain
from models.simulation.simulated_rig import ring_rig

RIG = ring_rig(4)
REST_M = chain(REST_ANGLES_RAD, MEAN_BONE_LENGTHS_M).joints_m


def hand(
    number: int, centre_m: tuple[float, ...], pictures: Mapping[str, np.ndarray] | None = None, confidence: float = 0.8
) -> Hand:
    """At rest, seen by all cameras with errors of about a pixel, or with other joints' pictures (21, 3) by camera."""
    random = np.random.default_rng(number)
    joints_m: np.ndarray = REST_M - REST_M.mean(0) + centre_m
    shown = pictures or dict.fromkeys(RIG.camera_ids, joints_m)
    return Hand(
        side="right",
        track_id=number,
        capture_time_ns=0,
        joints_world_m=joints_m,
        covariance_m2=np.tile(1e-5 * np.eye(3), (21, 1, 1)),
        confidence=np.full(21, confidence),
        detections_px={name: RIG[name].project(of) + random.normal(0, 1, (21, 2)) for name, of in shown.items()},
        inliers={},
    )


def ghosts(*hands: Hand) -> set[int]:
    return made_of_others(hands, RIG, JudgeSettings().same_picture)


def test_a_hand_of_one_picture_of_each_of_two_others_is_none() -> None:
    one, other = hand(1, (0.1, 0, 0)), hand(2, (-0.1, 0.05, 0))
    made = hand(3, (0, 0, 0.2), {"cam_0": one.joints_world_m, "cam_1": other.joints_world_m}, 0.9)
    assert ghosts(made, one, other) == ghosts(other, made, one) == {3}


def test_of_two_views_that_show_one_other_hand_neither_counts() -> None:
    one = hand(1, (0.1, 0, 0))
    turned: dict[str, np.ndarray] = dict.fromkeys(RIG.camera_ids[2:], one.joints_world_m)
    assert ghosts(one, hand(2, (0.1, 0, 0.03), turned)) == {2}


def test_hands_beside_each_other_and_one_before_another_are_hands() -> None:
    one, near = hand(1, (0, 0, 0)), hand(2, (0.05, 0, 0))
    assert ghosts(one, near) == set()
    camera = RIG["cam_0"].centre_world_m
    before = hand(3, tuple(0.15 * camera))
    assert ghosts(one, before) == set(), "in one view alone it lies on the other"


def test_of_two_views_of_which_one_is_not_its_own_it_is_not_known_where_a_hand_is() -> None:
    one = hand(1, (0, 0, 0))
    beside = {"cam_0": REST_M - REST_M.mean(0) + (0.15, 0, 0), "cam_1": one.joints_world_m}
    assert ghosts(one, hand(2, (0.15, 0, 0), beside)) == {2}
    assert ghosts(hand(2, (0.15, 0, 0), beside)) == set(), "with no other hand they are its own"
