"""Simulated detections: errors of the sizes that the grades promise, alike where and when a detector's are alike."""

import numpy as np
import pytest
from scipy.stats import rankdata

from app.bench.self_occlusion import hidden_by_own_hand
from calibration.hand import FINGER_JOINTS, hand_size_px
from models.simulation.detector_noise import GRADES, NoiseGrade, detect
from models.simulation.hands import hands_at
from models.simulation.simulated_rig import ring_rig

FRAMES = np.arange(600)


@pytest.fixture(scope="module")
def seen() -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (600, 21, 2) of a moving hand in one camera and which are visible."""
    camera = ring_rig(4).cameras[1]
    joints = np.stack([hands_at(frame / 30)["right"] for frame in FRAMES])
    return camera.project(joints), ~hidden_by_own_hand(joints, camera.centre_world_m)


def errors(seen: tuple[np.ndarray, np.ndarray], grade: NoiseGrade, seed: int = 0) -> np.ndarray:
    """(600, 21) shares of the hand's size."""
    found = detect(*seen, FRAMES, seed, grade)
    return np.linalg.norm(found.keypoints_px - seen[0], axis=-1) / hand_size_px(seen[0])[:, None]


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's."""
    return float(np.corrcoef(rankdata(a.ravel()), rankdata(b.ravel()))[0, 1])


def test_grades_are_ordered_and_as_large_as_documented(seen: tuple[np.ndarray, np.ndarray]) -> None:
    medians = {
        name: np.median(np.concatenate([errors(seen, grade, s) for s in range(4)])) for name, grade in GRADES.items()
    }
    assert medians["perfect"] < 1e-12
    assert 0.03 < medians["moderate"] < 0.055
    assert medians["noisy"] > 1.5 * medians["moderate"]
    # The hand twice as large in the image, the errors twice as large in pixels.
    large = seen[0] * 2, seen[1]
    np.testing.assert_allclose(errors(large, GRADES["moderate"]), errors(seen, GRADES["moderate"]), atol=1e-9)


def test_what_is_said_of_a_frame_follows_from_seed_and_frame_alone(seen: tuple[np.ndarray, np.ndarray]) -> None:
    grade = GRADES["noisy"]
    whole = detect(*seen, FRAMES, [3, 1], grade)
    chosen = np.array([411, 7, 8, 300])
    part = detect(seen[0][chosen], seen[1][chosen], chosen, [3, 1], grade)
    for name in ("keypoints_px", "confidence", "std_px", "found"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[chosen])
    other = detect(*seen, FRAMES, [3, 2], grade)
    assert not np.isclose(other.keypoints_px, whole.keypoints_px).any(axis=(1, 2)).all()


def test_a_hidden_joint_is_worse_and_believed_less(seen: tuple[np.ndarray, np.ndarray]) -> None:
    keypoints, visible = seen
    assert 0.05 < (~visible).mean() < 0.5
    for name in ("noisy", "moderate"):
        error = errors(seen, GRADES[name])
        confidence = detect(*seen, FRAMES, 0, GRADES[name]).confidence
        assert np.median(error[~visible]) > 1.7 * np.median(error[visible])
        assert confidence[~visible].mean() < confidence[visible].mean() - 0.1
        # It tells of the error, but neither is a function of the other, for visible joints alone as well.
        assert -0.8 < rank_correlation(confidence, error) < -0.4
        assert -0.8 < rank_correlation(confidence[visible], error[visible]) < -0.2
        assert ((confidence >= 0) & (confidence <= 1)).all()
        assert np.ptp(confidence[(error > 0.03) & (error < 0.035)]) > 0.3
    bare = detect(keypoints, np.ones_like(visible), FRAMES, 0, GRADES["noisy"])
    assert bare.found.mean() > detect(keypoints, np.zeros_like(visible), FRAMES, 0, GRADES["noisy"]).found.mean() + 0.3


def test_a_part_of_the_error_lasts_for_some_frames(seen: tuple[np.ndarray, np.ndarray]) -> None:
    """Between successive frames the errors are alike; half a second later they are not."""
    still = np.broadcast_to(seen[0][0], seen[0].shape), np.ones_like(seen[1])
    calm = NoiseGrade(
        jitter=0.016, bias=0.024, hidden=1.0, dragged=0.0, swapped=0.0, outlier=0.0, missed=0.0, missed_hidden=0.0
    )
    offset = np.concatenate([detect(*still, FRAMES, s, calm).keypoints_px - still[0] for s in range(12)], axis=1)

    def alike(lag: int) -> float:
        return float((offset[lag:] * offset[: len(offset) - lag]).mean() / (offset**2).mean())

    assert 0.5 < alike(1) < 0.75
    assert abs(alike(20)) < 0.1
    size = hand_size_px(seen[0][0])
    frame_spread = np.exp(0.6**2)  # the root mean square of the frames' factors
    expected = np.hypot(0.016, 0.024) * size * frame_spread
    assert offset[:, 5::21].std() == pytest.approx(expected, rel=0.15)  # the index finger's knuckle, an easy joint


def test_swaps_misses_and_outliers_come_as_often_as_said(seen: tuple[np.ndarray, np.ndarray]) -> None:
    keypoints, visible = np.tile(seen[0], (10, 1, 1)), np.ones((6000, 21), bool)
    frames = np.arange(6000)
    swaps = detect(
        keypoints,
        visible,
        frames,
        0,
        NoiseGrade(
            jitter=1e-9, bias=0.0, hidden=1.0, dragged=0.0, swapped=0.3, outlier=0.0, missed=0.0, missed_hidden=0.0
        ),
    )
    fingers = keypoints[:, list(FINGER_JOINTS)]
    said = swaps.keypoints_px[:, list(FINGER_JOINTS)]
    moved = np.abs(said - fingers).max((2, 3)) > 1e-3
    assert (moved.sum(1) > 0).mean() == pytest.approx(0.3, abs=0.05)
    assert set(moved.sum(1)) == {0, 2}
    first = moved.argmax(1)[moved.any(1)]
    np.testing.assert_allclose(said[moved.any(1)][range(len(first)), first],
                               fingers[moved.any(1)][range(len(first)), first + 1], atol=1e-4)  # fmt: skip
    outliers = detect(
        keypoints,
        visible,
        frames,
        0,
        NoiseGrade(
            jitter=1e-9, bias=0.0, hidden=1.0, dragged=0.0, swapped=0.0, outlier=0.05, missed=0.0, missed_hidden=0.0
        ),
    )
    far = np.linalg.norm(outliers.keypoints_px - keypoints, axis=-1) > 0.2 * hand_size_px(keypoints)[:, None]
    assert far.mean() == pytest.approx(0.05, abs=0.005)
    missing = detect(
        keypoints,
        visible,
        frames,
        0,
        NoiseGrade(
            jitter=1e-9, bias=0.0, hidden=1.0, dragged=0.0, swapped=0.0, outlier=0.0, missed=0.1, missed_hidden=0.0
        ),
    )
    assert (~missing.found).mean() == pytest.approx(0.145, abs=0.03)


def test_a_hand_behind_the_camera_is_not_found(seen: tuple[np.ndarray, np.ndarray]) -> None:
    keypoints = seen[0].copy()
    keypoints[5, 3] = np.nan
    found = detect(keypoints, seen[1], FRAMES, 0, GRADES["perfect"])
    assert not found.found[5]
    assert found.found.sum() == len(FRAMES) - 1
    assert np.isfinite(found.keypoints_px).all()


def test_what_a_hand_hides_of_itself() -> None:
    """An open hand seen flat hides nothing; seen along its fingers' row, all but the nearest finger is hidden."""
    joints = np.zeros((21, 3))
    for finger, (x, y) in enumerate([(0.03, 0.05), (0.09, 0.025), (0.095, 0.0), (0.09, -0.022), (0.08, -0.042)]):
        along = np.array([0.03, 0.06, 0.0] if finger == 0 else [0.08, 0.0, 0.0])
        joints[list(FINGER_JOINTS[finger])] = np.array([x, y, 0.0]) + np.linspace(0, 1, 4)[:, None] * along
    assert not hidden_by_own_hand(joints, np.array([0.08, 0.0, 0.6])).any()
    from_the_side = hidden_by_own_hand(joints, np.array([0.13, -0.6, 0.0]))
    assert from_the_side[[6, 7, 10, 11, 14, 15]].all()
    assert not from_the_side[[18, 19, 20]].any()
