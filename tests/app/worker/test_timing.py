"""The parts of a set's way add up, from the light on where the cameras' latency was measured."""

import numpy as np
import pytest

from app.estimators.estimator import Estimate
from app.worker.run_summary import RunSummary
from app.worker.timing import set_timing
from calibration.frames import Frame, FrameSet
from models.simulation.simulated_rig import ring_rig

MS = 1_000_000
GRABS_MS = {"cam_0": 1000, "cam_1": 1012}
LIGHT_MS = {"cam_0": 30.5, "cam_1": 55.25, "cam_2": 9.0}


def frame_set() -> FrameSet:
    frames = {
        camera_id: Frame(
            camera_id=camera_id,
            sequence=0,
            capture_time_ns=grab_ms * MS,
            grab_time_ns=grab_ms * MS,
            publish_time_ns=(grab_ms + 3) * MS,
            pixels=np.zeros((2, 2, 3), np.uint8),
        )
        for camera_id, grab_ms in GRABS_MS.items()
    }
    return FrameSet(0, 1006 * MS, frames, 1017 * MS)


def timing(light: dict[str, float] | None):
    return set_timing(
        frame_set(),
        start_ns=1020 * MS,
        end_ns=1042 * MS,
        published_ns=1044 * MS,
        within_ms={"detect": 15.0, "triangulate": 4.0},
        light_to_grab_ms=light,
    )


def test_photon_to_pose_counts_from_the_oldest_light_and_its_parts_add_up() -> None:
    found = timing(LIGHT_MS)
    # cam_1: its light is 12 ms younger at the grab, but 55.25 ms late.
    assert found.hops_ns["light"] == round((1012 - 55.25) * MS)
    assert found.photon_to_pose_ms == pytest.approx(1044 - 956.75)
    parts = found.photon_to_pose_parts_ms()
    assert parts["light"] == pytest.approx(1000 - 956.75)
    assert parts["wait_for_slowest"] == pytest.approx(12)
    assert parts["other"] == pytest.approx(3)
    assert sum(parts.values()) == pytest.approx(found.photon_to_pose_ms)
    assert found.latency_ms == pytest.approx(44)


@pytest.mark.parametrize("light", [None, {}, {"cam_0": 30.5}])
def test_it_is_not_told_where_a_camera_was_not_measured(light: dict[str, float] | None) -> None:
    found = timing(light)
    assert found.photon_to_pose_ms is None
    assert "light" not in found.hops_ns and "light" not in found.stage_ms


def test_the_summary_has_it_with_its_parts_or_says_none() -> None:
    for light, told in ((LIGHT_MS, True), (None, False)):
        summary = RunSummary(ring_rig(2))
        for _ in range(3):
            summary.add(Estimate(hands=[]), timing(light), ["cam_0", "cam_1"])
        result = summary.result({})
        if not told:
            assert result["photon_to_pose_ms"] is None and result["photon_to_pose_parts_ms"] is None
            continue
        assert result["photon_to_pose_ms"]["p50"] == pytest.approx(87.25, rel=0.002)
        parts = result["photon_to_pose_parts_ms"]
        assert sum(parts.values()) == pytest.approx(87.25, rel=0.002)
        assert parts["light"] == pytest.approx(43.25, rel=0.002)
