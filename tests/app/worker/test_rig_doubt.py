"""The summary of a run says where the rig is another's, and nothing where hands are merely hard to see."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from app.assembly.recorded_sets import recorded_phases_of, recorded_rig, recorded_sets
from app.estimators import make_estimator
from app.estimators.detection import Detection, Region
from app.estimators.multiview.estimator import MultiViewEstimator
from app.estimators.multiview.simulated import SimulatedDetector
from app.worker.rig_doubt import RigDoubt
from calibration.frames import Frame, FrameSet
from calibration.importers import import_recording
from calibration.rig import Rig
from models.simulation.simulated_rig import ring_rig

PERIOD_NS, SETS = 33_333_333, 60


class OneSideEach(SimulatedDetector):
    """Each camera sees one of the hands only, as where the other is out of its image."""

    def detect(
        self, frames: Sequence[Frame], regions: Sequence[Sequence[Region]], searched: Sequence[bool]
    ) -> list[list[Detection]]:
        found = super().detect(frames, regions, searched)
        return [
            [hand for hand in hands if (hand.right_probability > 0.5) == (frame.camera_id == "cam_0")]
            for frame, hands in zip(frames, found, strict=True)
        ]


class OneCamera(SimulatedDetector):
    """Hands are in one image only."""

    def detect(
        self, frames: Sequence[Frame], regions: Sequence[Sequence[Region]], searched: Sequence[bool]
    ) -> list[list[Detection]]:
        found = super().detect(frames, regions, searched)
        return [hands if frame.camera_id == "cam_0" else [] for frame, hands in zip(frames, found, strict=True)]


def sets_of(rig: Rig) -> list[FrameSet]:
    image = np.zeros((480, 640, 3), np.uint8)
    return [
        FrameSet(time_ns, time_ns, {name: _frame(name, time_ns, image) for name in rig.camera_ids}, time_ns)
        for time_ns in range(0, SETS * PERIOD_NS, PERIOD_NS)
    ]


def _frame(camera_id: str, time_ns: int, pixels: np.ndarray) -> Frame:
    return Frame(
        camera_id=camera_id,
        sequence=time_ns // PERIOD_NS,
        capture_time_ns=time_ns,
        grab_time_ns=time_ns,
        publish_time_ns=time_ns,
        pixels=pixels,
    )


def doubts(rig: Rig, detector: SimulatedDetector) -> list[str]:
    estimator, doubt = MultiViewEstimator(rig, detector, definition="anatomical"), RigDoubt(rig)
    for frame_set in sets_of(rig):
        doubt.add(estimator.estimate(frame_set), list(frame_set.frames))
    return doubt.notes()


def placed_as(rig: Rig, order: Sequence[int]) -> Rig:
    """The cameras with each other's lenses and poses."""
    cameras = [
        replace(camera, camera=rig.cameras[other].camera, T_cam_world=rig.cameras[other].T_cam_world)
        for camera, other in zip(rig.cameras, order, strict=True)
    ]
    return replace(rig, cameras=tuple(cameras))


def enlarged(rig: Rig, times: float) -> Rig:
    scale = np.ones((4, 4))
    scale[:3, 3] = times
    return replace(rig, cameras=tuple(replace(each, T_cam_world=each.T_cam_world * scale) for each in rig.cameras))


@pytest.mark.parametrize(("cameras", "seed"), [(2, 0), (3, 1), (4, 2), (4, 3), (6, 4)])
def test_nothing_is_said_of_a_sound_rig(cameras: int, seed: int) -> None:
    rig = ring_rig(cameras)
    assert doubts(rig, SimulatedDetector(rig, seed=seed)) == []


@pytest.mark.parametrize("detector", [OneSideEach, OneCamera])
def test_nor_where_no_two_views_see_one_hand(detector: type[SimulatedDetector]) -> None:
    rig = ring_rig(2)
    assert doubts(rig, detector(rig)) == []


@pytest.mark.parametrize("order", [(1, 0, 2, 3), (0, 3, 2, 1)])
def test_exchanged_cameras_are_asked_about(order: Sequence[int]) -> None:
    rig = ring_rig(4)
    (said,) = doubts(placed_as(rig, order), SimulatedDetector(rig))
    assert "is this the session's rig" in said.lower() and "usthand calibrate --check" in said


@pytest.mark.parametrize("cameras", [2, 3, 4])
def test_and_a_rig_in_another_unit(cameras: int) -> None:
    rig = ring_rig(cameras)
    assert len(doubts(enlarged(rig, 1000.0), SimulatedDetector(rig))) == 1


@pytest.mark.slow
def test_real_hands_with_their_rig_and_with_two_cameras_exchanged(real_rig_dir, tmp_path) -> None:
    session = import_recording(real_rig_dir, tmp_path / "session")
    rig = recorded_rig(session)
    for tried, expected in ((rig, 0), (placed_as(rig, (0, 3, 2, 1)), 1)):
        estimator, doubt = make_estimator("mediapipe", tried), RigDoubt(tried)
        for frame_set in recorded_sets(session, rig, recorded_phases_of(session, rig)):
            doubt.add(estimator.estimate(frame_set), list(frame_set.frames))
        estimator.close()
        assert len(doubt.notes()) == expected
