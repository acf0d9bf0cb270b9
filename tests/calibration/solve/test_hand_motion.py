"""Time offsets recovered from simulated motion with known offsets."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from calibration.errors import UserError
from calibration.hand import Side
from calibration.rig import Rig
from calibration.solve.hand_motion import TimeOffsetEstimator
from models.simulation.hands import hands_at
from models.simulation.simulated_rig import ring_rig

OFFSETS_MS = np.array([12.0, -25.0, 40.0, -27.0])


def record(
    rig: Rig, motion: Callable[[float], dict[Side, np.ndarray]], fps: float, seconds: float
) -> TimeOffsetEstimator:
    """Noisy 2D detections with outliers of hands that move, by cameras whose stamps are late by OFFSETS_MS."""
    random = np.random.default_rng(4)
    log = TimeOffsetEstimator()
    for index in range(int(fps * seconds)):
        keypoints: dict[str, dict[str, np.ndarray]] = {"left": {}, "right": {}}
        stamps: dict[str, int] = {}
        for camera, offset_ms in zip(rig.cameras, OFFSETS_MS, strict=False):
            true_s = index / fps + random.uniform(-0.2, 0.2) / fps
            stamps[camera.camera_id] = round((true_s + offset_ms * 1e-3) * 1e9) + 10**12
            for side, joints in motion(true_s).items():
                if random.random() < 0.05:
                    continue
                seen = camera.project(joints) + random.normal(scale=2.0, size=(21, 2))
                seen[random.random(21) < 0.03] += 50
                keypoints[side][camera.camera_id] = seen
        log.add(1, keypoints["left"], stamps)
        log.add(2, keypoints["right"], stamps)
    return log


@pytest.mark.parametrize(("fps", "seconds", "tolerance_ms"), [(30.0, 12.0, 2.0), (10.0, 20.0, 4.0)])
def test_offsets_are_recovered(fps: float, seconds: float, tolerance_ms: float) -> None:
    rig = ring_rig(4)
    found = record(rig, hands_at, fps, seconds).estimate(rig)
    expected = OFFSETS_MS - OFFSETS_MS.mean()
    for camera_id, truth in zip(rig.camera_ids, expected, strict=True):
        got, bound = found.offset_ns[camera_id] / 1e6, found.error_ns[camera_id] / 1e6
        assert abs(got - truth) < tolerance_ms
        assert abs(got - truth) < 3 * bound
        assert 0 < bound < 10
    assert found.moments > 100


def test_the_same_recording_gives_the_same_offsets() -> None:
    rig = ring_rig(3)
    log = record(rig, hands_at, 20.0, 6.0)
    assert log.estimate(rig) == log.estimate(rig)


def test_still_hands_do_not_show_offsets() -> None:
    rig = ring_rig(4)
    log = record(rig, lambda _: hands_at(0.0), 30.0, 4.0)
    with pytest.raises(UserError, match="time offsets cannot be estimated"):
        log.estimate(rig)


def test_a_camera_that_saw_nothing_is_named() -> None:
    rig = ring_rig(4)
    log = record(replace(rig, cameras=rig.cameras[:3]), hands_at, 30.0, 4.0)
    with pytest.raises(UserError, match="cam_3"):
        log.estimate(rig)


def test_no_detections_at_all() -> None:
    with pytest.raises(UserError, match="no hand"):
        TimeOffsetEstimator().estimate(ring_rig(2))
