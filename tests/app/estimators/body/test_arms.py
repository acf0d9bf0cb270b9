"""Arms from people whose points are projected, with what the pose network does wrong: noise, hidden, swapped arms."""

from dataclasses import dataclass

import numpy as np

from app.estimators.body.arm_matching import ELBOWS, SHOULDERS, WRISTS
from app.estimators.body.arms import Arms
from app.estimators.body.body_landmarks import BODY_POINTS, BodyView
from app.estimators.body.body_views import BodiesSeen
from app.estimators.body.settings import BODY
from app.estimators.detectors.hand_crop import HandCrop
from calibration.hand import Side
from calibration.rig import Rig
from models.simulation.simulated_rig import ring_rig

LEFT, RIGHT = 0, 1
LOOK_NS = round(BODY.period_s * 1e9)


@dataclass(frozen=True)
class FoundHand:
    side: Side
    track_id: int
    joints_world_m: np.ndarray


@dataclass
class Person:
    """Shoulders, elbows and wrists (3, 2, 3) in the world, left ones first."""

    points_m: np.ndarray

    @classmethod
    def at(cls, place_m: np.ndarray) -> "Person":
        """Facing along y, the hands in the middle of the rig."""
        left = np.array([[-0.19, 0.4, 0.35], [-0.25, 0.28, 0.08], [-0.12, 0.05, 0.05]])
        right = left * [-1, 1, 1] + [0.02, 0.03, 0.04]
        return cls(np.stack([left, right], axis=1) + place_m)

    def hands(self, first: int = 1) -> list[FoundHand]:
        """Their joints are all at the wrist: no other is asked for."""
        sides: tuple[Side, Side] = ("left", "right")
        return [FoundHand(side, first + k, np.tile(self.points_m[2, k], (21, 1))) for k, side in enumerate(sides)]


def seen(rig: Rig, people: list[Person], look: int, error_px: float, rng: np.random.Generator, **swapped) -> BodiesSeen:
    """The people of a look; `swapped` names cameras that take the one arm for the other."""
    bodies = {}
    for camera in rig.cameras:
        of_view = []
        for person in people:
            points = np.zeros((BODY_POINTS, 2))
            order = [1, 0] if swapped.get(camera.camera_id) else [0, 1]
            for level, indices in enumerate((SHOULDERS, ELBOWS, WRISTS)):
                places = camera.project(person.points_m[level])[order]
                points[list(indices)] = places + rng.normal(0, error_px, (2, 2))
            crop = HandCrop(points[[11, 12]].mean(0), error_px / BODY.point_error, 0.0)
            of_view.append(BodyView(points_px=points, visibility=np.ones(BODY_POINTS), presence=1.0, next_crop=crop))
        bodies[camera.camera_id] = of_view
    return BodiesSeen(time_ns=look * LOOK_NS, bodies=bodies)


def test_elbows_and_shoulders_are_where_they_are_and_errors_as_large_as_is_said() -> None:
    rig, rng = ring_rig(4, distance_m=1.6), np.random.default_rng(0)
    misses = []
    for _ in range(60):
        person = Person.at(rng.normal(0, 0.03, 3))
        arms = Arms(rig, one_person=True)
        arms.see(seen(rig, [person], 1, 4.0, rng), person.hands())
        for track, side in ((1, LEFT), (2, RIGHT)):
            arm = arms.at(track, LOOK_NS)
            assert arm is not None and arm.side == ("left", "right")[side] and len(arm.views) >= 2
            assert arm.shoulder_world_m is not None and arm.shoulder_covariance_m2 is not None
            for found, covariance, level in (
                (arm.elbow_world_m, arm.elbow_covariance_m2, 1),
                (arm.shoulder_world_m, arm.shoulder_covariance_m2, 0),
            ):
                miss = found - person.points_m[level, side]
                misses.append(miss @ np.linalg.solve(covariance, miss))
    # Squared lengths in deviations: chi-squared of three degrees of freedom, whose median is 2.37.
    assert 1.2 < np.median(misses) < 3.2
    assert np.mean(np.array(misses) > 11.3) < 0.06, "of a normal distribution 1 %"


def test_a_hand_has_the_arm_that_most_views_say_and_two_people_keep_their_own() -> None:
    rig, rng = ring_rig(4, distance_m=1.6), np.random.default_rng(1)
    people = [Person.at(np.array([-0.25, 0, 0])), Person.at(np.array([0.3, 0.05, 0.02]))]
    arms = Arms(rig, one_person=False)
    for look in range(1, 6):
        hands = people[0].hands(1) + people[1].hands(3)
        arms.see(seen(rig, people, look, 4.0, rng, cam_1=True), hands)
    for number, person in enumerate(people):
        for side in (LEFT, RIGHT):
            arm = arms.at(1 + 2 * number + side, 5 * LOOK_NS)
            assert arm is not None and arm.side == ("left", "right")[side]
            assert (arm.right_probability if side == RIGHT else 1 - arm.right_probability) > 0.9
            assert np.linalg.norm(arm.elbow_world_m - person.points_m[1, side]) < 0.03


def test_a_view_that_sees_the_elbow_elsewhere_is_left_out() -> None:
    rig, rng = ring_rig(4, distance_m=1.6), np.random.default_rng(2)
    person = Person.at(np.zeros(3))
    arms = Arms(rig, one_person=True)
    for look in range(1, 4):
        bodies = seen(rig, [person], look, 4.0, rng)
        bodies.bodies["cam_2"][0].points_px[ELBOWS[RIGHT]] += [120, -90]
        arms.see(bodies, person.hands())
    arm = arms.at(2, 3 * LOOK_NS)
    assert arm is not None and "cam_2" not in arm.views and len(arm.views) == 3
    assert np.linalg.norm(arm.elbow_world_m - person.points_m[1, RIGHT]) < 0.03


def test_a_hidden_elbow_that_is_supposed_elsewhere_is_not_said_once_the_forearm_is_known() -> None:
    """All views agree on a place that makes the forearm half as long: nothing but its length tells."""
    rig, rng = ring_rig(4, distance_m=1.6), np.random.default_rng(3)
    person = Person.at(np.zeros(3))
    arms = Arms(rig, one_person=True)
    for look in range(1, 12):
        arms.see(seen(rig, [person], look, 4.0, rng), person.hands())
    hidden = Person(person.points_m.copy())
    hidden.points_m[1, RIGHT] = person.points_m[[1, 2], RIGHT].mean(0)
    for look in range(12, 24):
        arms.see(seen(rig, [hidden], look, 4.0, rng), person.hands())
    assert arms.at(2, 23 * LOOK_NS) is None
    left = arms.at(1, 23 * LOOK_NS)
    assert left is not None and np.linalg.norm(left.elbow_world_m - person.points_m[1, LEFT]) < 0.03


def test_a_forearm_that_was_learnt_does_not_keep_out_another_persons_nor_the_true_one_for_good() -> None:
    rig, rng = ring_rig(4, distance_m=1.6), np.random.default_rng(6)
    adult = Person.at(np.zeros(3))
    child = Person(adult.points_m[2] + 0.68 * (adult.points_m - adult.points_m[2]))
    hidden = Person(adult.points_m.copy())
    hidden.points_m[1] = 0.45 * adult.points_m[2] + 0.55 * adult.points_m[1]
    after = round(BODY.same_person_s / BODY.period_s)
    # A child a minute later, under other numbers; an elbow that was supposed elsewhere at first, seen from then on.
    for first, then, track, looks in (
        (adult, child, 5, range(2 * after, 2 * after + 8)),
        (hidden, adult, 1, range(20, after + 30)),
    ):
        arms = Arms(rig, one_person=True)
        for look in range(1, 20):
            arms.see(seen(rig, [first], look, 4.0, rng), first.hands())
        for look in looks:
            arms.see(seen(rig, [then], look, 4.0, rng), then.hands(track))
        for side in (LEFT, RIGHT):
            arm = arms.at(track + side, looks[-1] * LOOK_NS)
            assert arm is not None and np.linalg.norm(arm.elbow_world_m - then.points_m[1, side]) < 0.03


def test_between_looks_an_arm_goes_on_and_becomes_less_certain_until_it_is_forgotten() -> None:
    rig, rng = ring_rig(4, distance_m=1.6), np.random.default_rng(4)
    arms = Arms(rig, one_person=True)
    speed_m_s = np.array([0.3, 0.1, 0.0])
    for look in range(1, 21):
        person = Person.at(speed_m_s * look * BODY.period_s)
        arms.see(seen(rig, [person], look, 3.0, rng), person.hands())
    now_ns = 20 * LOOK_NS
    sds, ahead_ns = [], (0, LOOK_NS // 2, LOOK_NS)
    for later_ns in ahead_ns:
        arm = arms.at(2, now_ns + later_ns)
        assert arm is not None and arm.seen_time_ns == now_ns
        truth = Person.at(speed_m_s * (20 * BODY.period_s + later_ns * 1e-9)).points_m[1, RIGHT]
        assert np.linalg.norm(arm.elbow_world_m - truth) < 0.04
        sds.append(np.trace(arm.elbow_covariance_m2))
    assert sds[0] < sds[1] < sds[2]
    assert arms.at(2, now_ns + round(1.1 * BODY.forget_s * 1e9)) is None
    assert arms.at(7, now_ns) is None


def test_one_view_gives_no_arm_and_neither_does_a_body_without_the_hand() -> None:
    rig, rng = ring_rig(4, distance_m=1.6), np.random.default_rng(5)
    person = Person.at(np.zeros(3))
    alone = seen(rig, [person], 1, 3.0, rng)
    for camera_id in ("cam_1", "cam_2", "cam_3"):
        alone.bodies[camera_id].clear()
    arms = Arms(rig, one_person=True)
    arms.see(alone, person.hands())
    assert arms.at(1, LOOK_NS) is None
    far = [FoundHand("right", 9, np.tile(person.points_m[2, RIGHT] + [0, 0, 0.5], (21, 1)))]
    arms.see(seen(rig, [person], 2, 3.0, rng), far)
    assert arms.at(9, 2 * LOOK_NS) is None
    arms.see(seen(rig, [], 3, 3.0, rng), person.hands())
    arms.see(seen(rig, [person], 4, 3.0, rng), [])
