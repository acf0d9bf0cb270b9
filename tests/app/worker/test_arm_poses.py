"""`--body` in the worker: a replay waits for the networks, live hands do not; wrists are those of the fitted hand."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from app.estimators.body.arm_matching import ELBOWS, SHOULDERS, WRISTS
from app.estimators.body.body_landmarks import BODY_POINTS, BodyView
from app.estimators.body.body_views import BodiesSeen, Look
from app.estimators.detectors.hand_crop import HandCrop
from app.estimators.estimator import Hand
from app.transport.messages import PoseSet, decode, encode
from app.worker import arm_poses
from app.worker.arm_poses import ArmPoses
from calibration.frames import Frame, FrameSet
from models.hand.builtin import BuiltinHand
from models.hand.shape import MEAN_SHAPE
from models.hand.skeleton import REST_ANGLES_RAD
from models.simulation.simulated_rig import ring_rig
from tests.support.viewer_scene import make_pose, make_set

RIG = ring_rig(4, distance_m=1.6)
STEP_NS = 33_000_000
JOINTS_M = BuiltinHand("right").joints(REST_ANGLES_RAD, np.eye(4), MEAN_SHAPE)
ELBOW_M = JOINTS_M[0] - 0.26 * (JOINTS_M[9] - JOINTS_M[0]) / np.linalg.norm(JOINTS_M[9] - JOINTS_M[0])


@dataclass
class StubViews:
    """Sees one person whose right arm is the hand's, exactly; `may_read` holds the networks up."""

    may_read: threading.Event = field(default_factory=threading.Event)
    looks: list[int] = field(default_factory=list)

    def take(self, frame_set: FrameSet) -> Look:
        self.looks.append(frame_set.index)
        return Look(time_ns=frame_set.reference_time_ns, camera_ids=[], crops=[], searched={})

    def read(self, look: Look) -> BodiesSeen:
        self.may_read.wait(60)
        bodies = {}
        for camera in RIG.cameras:
            points = np.zeros((BODY_POINTS, 2))
            for indices, place in ((SHOULDERS, ELBOW_M + [-0.3, 0, 0]), (ELBOWS, ELBOW_M), (WRISTS, JOINTS_M[0])):
                points[list(indices)] = camera.project(np.stack([place + [0, 0, 0.4], place]))
            bodies[camera.camera_id] = [
                BodyView(
                    points_px=points,
                    visibility=np.ones(BODY_POINTS),
                    presence=1.0,
                    next_crop=HandCrop(points[11], 200.0, 0.0),
                )
            ]
        return BodiesSeen(time_ns=look.time_ns, bodies=bodies)

    def close(self) -> None: ...


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], tuple[ArmPoses, StubViews]]:
    def made(waits: bool) -> tuple[ArmPoses, StubViews]:
        views = StubViews()
        monkeypatch.setattr(arm_poses, "BodyViews", lambda engine, settings: views)
        return ArmPoses(RIG, hands=2, definition="anatomical", engine="auto", waits=waits), views

    return made


def frame_set(index: int) -> FrameSet:
    frame = Frame(
        camera_id="cam_0",
        sequence=index,
        capture_time_ns=index * STEP_NS,
        grab_time_ns=0,
        publish_time_ns=0,
        pixels=np.zeros((1, 1, 3), np.uint8),
    )
    return FrameSet(index, index * STEP_NS, {"cam_0": frame}, 0)


def hand(index: int) -> Hand:
    return Hand(
        side="right",
        track_id=1,
        capture_time_ns=index * STEP_NS,
        joints_world_m=JOINTS_M,
        covariance_m2=np.tile(1e-6 * np.eye(3), (21, 1, 1)),
        confidence=np.ones(21),
        detections_px={},
        inliers={},
    )


def test_a_replay_has_the_arm_in_the_set_that_is_looked_at_and_carries_it_on(make) -> None:
    poses, views = make(True)
    views.may_read.set()
    found = [poses.of(frame_set(index), [hand(index)]) for index in range(9)]
    poses.close()
    assert views.looks == [0, 4, 8], "every tenth of a second of the recording"
    assert all(list(arms) == [1] for arms in found)
    arm = found[6][1]
    assert arm.side == "right" and arm.seen_time_ns == 4 * STEP_NS and len(arm.views) == 4
    np.testing.assert_allclose(arm.elbow_world_m, ELBOW_M, atol=0.01)
    assert arm.wrist_rad is not None and arm.wrist_std_rad is not None
    np.testing.assert_allclose(np.rad2deg(arm.wrist_rad), 0, atol=4.0)
    assert 0.2 < np.rad2deg(arm.wrist_std_rad).min() < np.rad2deg(arm.wrist_std_rad).max() < 15


def test_live_hands_do_not_wait_for_the_networks(make) -> None:
    poses, views = make(False)
    held = [poses.of(frame_set(index), [hand(index)]) for index in range(2)]
    assert held == [{}] * 2 and views.looks == [0], "one look at a time"
    views.may_read.set()
    looking = poses._looking
    assert looking is not None
    looking[0].result(60)
    views.may_read.clear()
    after = poses.of(frame_set(2), [hand(2)])
    views.may_read.set()
    poses.close()
    assert after[1].seen_time_ns == 0


def test_an_arm_travels_in_the_message(make) -> None:
    poses, views = make(True)
    views.may_read.set()
    (arm,) = poses.of(frame_set(0), [hand(0)]).values()
    poses.close()
    sent = make_set(1, hands=[make_pose("right", JOINTS_M)])
    sent.hands[0].arm = arm
    got = decode(encode(sent))
    assert isinstance(got, PoseSet) and got.hands[0].arm == arm
