"""Labels of another program: each is given to its hand, in the detector's definition, and taken by its true error."""

from dataclasses import replace

import numpy as np
import pytest

from app.adaptation.own_labels import own_keypoints, taught_by_all, taught_by_views
from calibration.hand import Side
from calibration.rig import Rig
from models.files.labels import Labels
from models.hand.definition import convert
from models.simulation.hands import hands_at
from models.simulation.simulated_rig import ring_rig
from tests.app.adaptation.test_teacher import FPS, VIEWS, error_mm, seen_hands, truth_m

LABEL_NOISE_PX = 6.0


@pytest.fixture(scope="module")
def rig() -> Rig:
    return ring_rig(VIEWS, 1280, 720, fps=FPS)


def detector_m(time_s: float, side: Side = "right") -> np.ndarray:
    mirror = np.array([1.0 if side == "right" else -1.0, 1.0, 1.0])
    return mirror * convert(mirror * hands_at(time_s)[side], "anatomical", "detector")


def labels_of(rig: Rig, hands, side: Side = "right", seed: int = 5) -> Labels:
    """In the detector's definition, with noise; their program calls itself surer than it is."""
    random = np.random.default_rng(seed)
    rows = [(view, int(time_ns)) for view in range(VIEWS) for time_ns in hands.frame_time_ns[:, view]]
    points = [rig.cameras[view].project(detector_m(time_ns * 1e-9, side)) for view, time_ns in rows]
    count = len(rows)
    return Labels(
        camera=np.array([view for view, _ in rows], np.int16),
        time_ns=np.array([time_ns for _, time_ns in rows], np.int64),
        right=np.full(count, side == "right"),
        keypoints_px=(np.stack(points) + random.normal(0, LABEL_NOISE_PX, (count, 21, 2))).astype(np.float32),
        confidence=np.ones((count, 21), np.float32),
        source="another program",
        definition="detector",
    )


def exact(rig: Rig):
    """Hands whose joints are the truth, in the anatomical definition."""
    return replace(seen_hands(rig), joints_m=truth_m())


def test_labels_are_moved_to_the_hands_definition_and_their_error_is_measured(rig):
    hands = exact(rig)
    own = own_keypoints(rig, hands, labels_of(rig, hands))
    assert (own.seen == (hands.frame_time_ns > 0)).all()
    off = np.stack(
        [
            own.px[:, view]
            - np.stack([camera.project(hands_at(t * 1e-9)["right"]) for t in hands.frame_time_ns[:, view]])
            for view, camera in enumerate(rig.cameras)
        ],
        axis=1,
    )
    off = off[own.seen]
    assert np.abs(off.mean(0)).max() < 1.5, "the definitions are up to 10 mm apart, many times that"
    assert off.std() == pytest.approx(LABEL_NOISE_PX, rel=0.05)
    assert np.median(own.std_px[own.seen]) == pytest.approx(LABEL_NOISE_PX, rel=0.15)


def test_labels_of_the_other_hand_and_of_other_times_are_not_taken(rig):
    hands = exact(rig)
    assert not own_keypoints(rig, hands, labels_of(rig, hands, "left")).seen.any()
    right = labels_of(rig, hands)
    assert not own_keypoints(rig, hands, replace(right, time_ns=right.time_ns + 1)).seen.any()


def test_with_own_labels_the_teacher_is_nearer_to_the_truth_than_the_network_and_than_the_views(rig):
    hands = seen_hands(rig)
    labels = labels_of(rig, hands)
    by_views = taught_by_views(rig, hands, labels)
    together = taught_by_all(hands, by_views, labels)
    assert error_mm(by_views.joints_m) < 0.95 * error_mm(taught_by_views(rig, hands, None).joints_m)
    assert error_mm(together.joints_m) < min(error_mm(by_views.joints_m), 0.5 * error_mm(hands.joints_m))
