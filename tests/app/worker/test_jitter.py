"""The jitter of a hand at rest is the noise that was put on it."""

import numpy as np
import pytest

from app.estimators.estimator import Hand
from app.worker.jitter import RestJitter

PERIOD_NS = 33_333_333


def hand(time_ns: int, joints_m: np.ndarray, track_id: int = 1) -> Hand:
    return Hand(
        side="right",
        track_id=track_id,
        capture_time_ns=time_ns,
        joints_world_m=joints_m,
        covariance_m2=np.zeros((21, 3, 3)),
        confidence=np.ones(21),
        detections_px={},
        inliers={},
    )


def measured(velocity_m_s: float, noise_m: float, jitter_ns: float = 0.0, track_ids: int = 1) -> float | None:
    random = np.random.default_rng(3)
    place_m = random.normal(0, 0.05, (21, 3))
    jitter = RestJitter()
    for number in range(300):
        time_ns = number * PERIOD_NS + round(random.uniform(-jitter_ns, jitter_ns))
        moved_m = place_m + [velocity_m_s * time_ns * 1e-9, 0, 0]
        noisy_m = moved_m + random.normal(0, noise_m / np.sqrt(3), (21, 3))
        jitter.add([hand(time_ns, noisy_m, 1 + number % track_ids)])
    return jitter.mm


@pytest.mark.parametrize("jitter_ns", [0.0, 8e6])
@pytest.mark.parametrize("velocity_m_s", [0.0, 0.01])
def test_the_noise_of_a_hand_at_rest_is_found_also_where_it_drifts(velocity_m_s: float, jitter_ns: float) -> None:
    assert measured(velocity_m_s, 0.002, jitter_ns) == pytest.approx(2.0, rel=0.05)


def test_without_noise_there_is_none() -> None:
    assert measured(0.01, 0.0) == pytest.approx(0.0, abs=1e-6)


def test_a_hand_that_moves_or_is_ever_another_one_tells_nothing() -> None:
    assert measured(0.2, 0.002) is None
    assert measured(0.0, 0.002, track_ids=2) is None
