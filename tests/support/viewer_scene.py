"""A rig, hands and a feed for the viewer's tests."""

import time
from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np

from app.transport.messages import CameraReport, End, HandPose, PoseSet
from app.transport.ring import SlotRef
from app.viewer.view import look_at
from calibration.camera import Camera
from calibration.hand import Side
from calibration.rig import Rig, RigCamera
from models.hand.builtin import BuiltinHand
from models.hand.skeleton import REST_ANGLES_RAD

TARGET_M = np.array([0.0, 0.0, 0.2])


def make_rig(turn: np.ndarray | None = None, distortion: tuple[float, ...] = (0, 0, 0, 0, 0)) -> Rig:
    """Four cameras on a half circle around the simulated hands, z up; `turn` (3, 3) turns the whole world."""
    cameras = []
    turn = np.eye(3) if turn is None else turn
    matrix = np.array([[620.0, 0, 639.5], [0, 620.0, 359.5], [0, 0, 1]])
    for number, angle in enumerate(np.radians([-150, -110, -70, -30])):
        eye_m = TARGET_M + 0.8 * np.array([np.cos(angle), np.sin(angle), 0.35])
        T_cam_world = look_at(turn @ eye_m, turn @ TARGET_M, turn @ np.array([0.0, 0.0, 1.0]))
        cameras.append(
            RigCamera(
                camera_id=f"cam_{number}",
                camera=Camera(width=1280, height=720, lens="pinhole5", matrix=matrix, distortion=np.array(distortion)),
                T_cam_world=T_cam_world,
            )
        )
    return Rig(tuple(cameras))


def make_pose(side: str, joints_m: np.ndarray, std_m: float = 0.002, confidence: float = 1.0) -> HandPose:
    covariance = np.tile(np.eye(3) * std_m**2, (21, 1, 1))
    hand = {
        "hand": side,
        "track_id": 1,
        "capture_time_ns": 0,
        "joints_world_m": joints_m.tolist(),
        "covariance_m2": covariance.tolist(),
        "confidence": [confidence] * 21,
        "views": [],
    }
    return msgspec.convert(hand, HandPose)


def make_meshed_pose(side: Side, wrist_m: np.ndarray, std_m: float = 0.002) -> HandPose:
    """A hand with its mesh, at rest, the fingers up and the palm towards the cameras of `make_rig`."""
    model = BuiltinHand(side)
    T_world_hand = np.eye(4)
    # Columns: the hand's x, y and z; the thumbs point away from each other.
    T_world_hand[:3, :3] = np.stack([[0, 0, 1], [1, 0, 0], [0, 1, 0]], axis=1)
    T_world_hand[:3, 3] = wrist_m
    joints_m, vertices_m = model.pose(REST_ANGLES_RAD, T_world_hand, model.default_shape())
    pose = make_pose(side, joints_m, std_m)
    return msgspec.structs.replace(pose, vertices_world_m=vertices_m.astype("<f4").tobytes())


def make_set(
    published_ns: int,
    latency_ns: int = 0,
    hands: list[HandPose] | None = None,
    cameras: dict[str, CameraReport] | None = None,
) -> PoseSet:
    hops = {"grab": published_ns - latency_ns, "published": published_ns}
    return PoseSet(
        set_index=0,
        reference_time_ns=0,
        spread_ns=0,
        hands=hands or [],
        cameras=cameras or {},
        hops_ns=hops,
        stage_ms={},
        estimator="test",
        rig_id="rig",
    )


class ListFeed:
    """Gives the sets one or all at a poll, then the end. Images are plain, in a colour of their own per camera."""

    def __init__(self, sets: list[PoseSet], at_once: bool = True, ends: bool = True) -> None:
        self.waiting: list[PoseSet | End] = [*sets]
        if ends:
            self.waiting.append(End("done", {}))
        self._at_once = at_once

    def poll(self) -> Sequence[PoseSet | End]:
        count = len(self.waiting) if self._at_once else min(1, len(self.waiting))
        now, self.waiting = self.waiting[:count], self.waiting[count:]
        return now

    def image(self, slot: SlotRef, width: int) -> np.ndarray | None:
        if slot.ticket < 0:
            return None
        image = np.empty((width * 9 // 16, width, 3), np.uint8)
        image[:] = (60, 60 + 40 * slot.slot, 60)
        return image


def report(number: int, state: str = "streaming") -> CameraReport:
    """A camera's report with an image."""
    slot = SlotRef(pid=1, fd=1, slot=number, ticket=1, height=720, width=1280, slots=8)
    return msgspec.structs.replace(CameraReport(state="streaming"), state=state, slot=slot)


def moving_sets(rig: Rig, count: int, joints_at: Callable[[float], Mapping[Side, np.ndarray]]) -> list[PoseSet]:
    """Sets of both hands at 30 a second; `joints_at(time_s)` gives joints by side."""
    sets = []
    for number in range(count):
        hands = [make_pose(side, joints, 0.006) for side, joints in joints_at(number / 30).items()]
        cameras = {camera.camera_id: report(place) for place, camera in enumerate(rig.cameras)}
        sets.append(make_set(time.monotonic_ns(), 40_000_000, hands, cameras))
    return sets
