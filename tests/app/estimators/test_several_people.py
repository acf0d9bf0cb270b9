"""Several people's hands on simulated detections: who is who, which side, and how near to the truth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from app.estimators.detection import Detection, Region
from app.estimators.multiview.estimator import MultiViewEstimator
from app.estimators.multiview.simulated import SimulatedDetector
from app.estimators.settings import TrackerSettings
from app.estimators.tracks import decide_sides
from calibration.frames import Frame
from calibration.hand import Side
from calibration.rig import Rig
from models.simulation.hands import hands_at, hands_of_people_at
from models.simulation.simulated_rig import ring_rig
from tests.support.frame_sets import set_at

SETS = 150
FPS = 30.0
Truth = Callable[[float], list[tuple[Side, np.ndarray]]]


@dataclass
class Outcome:
    """Per true hand the number of its track in each set, None where it was not found; side errors; joint errors."""

    tracks: list[list[int | None]]
    wrong_sides: int = 0
    errors_mm: list[np.ndarray] = field(default_factory=list)
    surplus: int = 0

    @property
    def found(self) -> float:
        return float(np.mean([track is not None for of_hand in self.tracks for track in of_hand]))

    @property
    def switches(self) -> int:
        """How often a true hand's track changes from one set with it to the next."""
        seen = [[track for track in of_hand if track is not None] for of_hand in self.tracks]
        return sum(one != other for of_hand in seen for one, other in zip(of_hand, of_hand[1:], strict=False))


def follow(rig: Rig, detector, truth: Truth, hands: int, sets: int = SETS) -> Outcome:
    estimator = MultiViewEstimator(rig, detector, hands)
    outcome = Outcome([[] for _ in truth(0.0)])
    for index in range(sets):
        time_ns = round(index / FPS * 1e9)
        found = estimator.estimate(set_at(index, time_ns, rig.camera_ids)).hands
        for of_hand, (side, joints_m) in zip(outcome.tracks, truth(time_ns / 1e9), strict=True):
            apart_mm = [1e3 * np.linalg.norm(hand.joints_world_m - joints_m, axis=1) for hand in found]
            at = min(range(len(found)), key=lambda index: apart_mm[index].mean(), default=None)
            if at is None or apart_mm[at].mean() > 40:
                of_hand.append(None)
                continue
            of_hand.append(found[at].track_id)
            outcome.wrong_sides += found[at].side != side
            outcome.errors_mm.append(apart_mm[at])
        outcome.surplus += max(0, len(found) - len(outcome.tracks))
    estimator.close()
    return outcome


class Exact:
    """Hands that are somewhere, seen without error; the side is noise while two of them are near each other."""

    name = "simulated"

    def __init__(self, rig: Rig, truth: Truth, presence: float = 0.9) -> None:
        self._rig, self._truth, self._presence = rig, truth, presence

    def detect(
        self, frames: Sequence[Frame], regions: Sequence[Sequence[Region]], searched: Sequence[bool]
    ) -> list[list[Detection]]:
        return [self._detect_in(frame) for frame in frames]

    def _detect_in(self, frame: Frame) -> list[Detection]:
        random = np.random.default_rng([frame.sequence, int(frame.camera_id[-1])])
        hands = self._truth(frame.capture_time_ns / 1e9)
        middles = [joints_m.mean(0) for _, joints_m in hands]
        return [
            Detection(
                self._rig[frame.camera_id].project(joints_m) + random.normal(0, 1.0, (21, 2)),
                np.full(21, 1.0),
                right_probability=random.uniform(0.1, 0.9)
                if sorted(float(np.linalg.norm(joints_m.mean(0) - each)) for each in middles)[1] < 0.1
                else 0.95 * (side == "right") + 0.02,
                presence=self._presence,
            )
            for side, joints_m in hands
        ]

    def close(self) -> None: ...


@pytest.mark.parametrize(("people", "cameras", "limit_mm"), [(2, 4, 4.0), (3, 6, 4.0), (4, 8, 4.0)])
def test_every_hand_around_a_table_keeps_its_track_and_its_side(people: int, cameras: int, limit_mm: float) -> None:
    rig = ring_rig(cameras, people=people)
    outcome = follow(
        rig, SimulatedDetector(rig), lambda time_s: hands_of_people_at(time_s, people), 2 * people, SETS // people
    )
    assert outcome.found > 0.99
    assert outcome.switches == outcome.wrong_sides == outcome.surplus == 0
    assert np.mean(outcome.errors_mm) < limit_mm


def crossing(time_s: float) -> list[tuple[Side, np.ndarray]]:
    """Two people's right hands pass each other 6 cm apart, there and back, while their left hands rest.

    All have one shape, so that nothing but their motion tells them apart where they are near.
    """
    still = hands_at(0.0)["right"]
    shape = still - still.mean(0)
    way = 0.15 * np.cos(np.pi * time_s)
    return [
        ("right", shape + [way, 0.03, 0.2]),
        ("right", shape + [-way, -0.03, 0.2]),
        ("left", shape + [0.1, 0.22, 0.2]),
        ("left", shape + [-0.1, -0.22, 0.2]),
    ]


def test_tracks_of_two_people_survive_that_their_right_hands_cross() -> None:
    rig = ring_rig(4, people=2)
    outcome = follow(rig, Exact(rig, crossing), crossing, 4, 90)
    assert outcome.found == 1.0
    assert outcome.switches == outcome.wrong_sides == outcome.surplus == 0
    assert np.mean(outcome.errors_mm) < 4


def test_two_right_hands_are_two_right_hands_once_their_views_insist() -> None:
    rig = ring_rig(4)

    def apart(time_s: float) -> list[tuple[Side, np.ndarray]]:
        right = hands_at(time_s)["right"]
        return [("right", right), ("right", right - [0.2, 0, 0])]

    outcome = follow(rig, Exact(rig, apart), apart, 2, 30)
    assert outcome.switches == 0 and outcome.found == 1.0
    assert outcome.wrong_sides <= 3  # of the first sets, while one of each side is likelier


def test_sides_are_decided_together() -> None:
    settings = TrackerSettings()
    assert decide_sides([2.0, 1.0], settings) == [True, False]
    assert decide_sides([-1.0, -2.0], settings) == [True, False]
    assert decide_sides([12.0, 11.0], settings) == [True, True]
    assert decide_sides([12.0, 3.0, -1.0], settings) == [True, True, False]
    assert decide_sides([12.0, 3.0, 2.0, -12.0], settings) == [True, True, False, False]
    assert decide_sides([-12.0, 12.0, 11.0, 12.0], settings) == [False, True, True, True]
    assert decide_sides([0.0], settings) == [True] and decide_sides([], settings) == []


@pytest.mark.parametrize(("presence", "found"), [(0.55, 1.0), (0.05, 0.0)])
def test_what_no_view_takes_for_a_hand_is_none_however_well_the_views_agree(presence: float, found: float) -> None:
    rig = ring_rig(4)
    truth: Truth = lambda time_s: hands_of_people_at(time_s, 1)  # noqa: E731
    assert follow(rig, Exact(rig, truth, presence), truth, 2, 20).found == found


def test_at_most_so_many_hands_are_followed() -> None:
    rig = ring_rig(4, people=2)
    truth: Truth = lambda time_s: hands_of_people_at(time_s, 2)  # noqa: E731
    outcome = follow(rig, SimulatedDetector(rig), truth, 3, 30)
    assert outcome.found == pytest.approx(0.75, abs=0.02) and outcome.switches == 0
