"""Known hands as a worker publishes them, for streams to send."""

import contextlib
import importlib
import time
from collections.abc import Iterator

import msgspec
import numpy as np

from app.streams.kinds import parse_stream
from app.streams.streamed import StreamContext, StreamedSet, StreamMaker, StreamSender, streamed_set
from app.transport.messages import AheadPose, ArmPose, Event, HandPose, PoseSet, UnseenPose
from calibration.hand import Side
from models.hand.builtin import BuiltinHand
from models.simulation.hands import home_world_m
from models.simulation.motion import HandMotion
from tests.support.viewer_scene import make_pose, make_set

STD_M = 0.002
TRACKS: dict[Side, int] = {"left": 4, "right": 7}
CONTEXT = StreamContext(rig_id="rig-1", estimator="test", hands=2)


def true_joints_m(side: Side, time_s: float = 1.0) -> np.ndarray:
    """(21, 3) of a hand of mean size."""
    motion, model = HandMotion(3, side, home_world_m=home_world_m(side, 2)), BuiltinHand(side)
    return model.joints(motion.angles_rad(time_s), motion.T_world_hand(time_s), model.default_shape())


def pose_set(time_ns: int | None = None, index: int = 5, time_s: float = 1.0) -> PoseSet:
    """Both hands seen, the right one pinching, at a time of the monotonic clock: now."""
    time_ns = time.monotonic_ns() if time_ns is None else time_ns
    sides: tuple[Side, ...] = ("left", "right")
    hands = [
        msgspec.structs.replace(
            make_pose(side, true_joints_m(side, time_s), STD_M, 0.75),
            track_id=TRACKS[side],
            capture_time_ns=time_ns,
            gestures=["pinch"] if side == "right" else [],
        )
        for side in sides
    ]
    return msgspec.structs.replace(
        make_set(time.monotonic_ns(), hands=hands),
        set_index=index,
        reference_time_ns=time_ns,
        definition="anatomical",
    )


def with_arm(hand: HandPose, shoulder: bool = True) -> HandPose:
    """The hand with an elbow 0.26 m behind its wrist and a shoulder 0.31 m behind that, the arm bent at both."""
    wrist_m, middle_m = np.array(hand.joints_world_m[0]), np.array(hand.joints_world_m[9])
    behind = (wrist_m - middle_m) / np.linalg.norm(wrist_m - middle_m) + [0.2, -0.1, 0.25]
    elbow_m = wrist_m + 0.26 * behind / np.linalg.norm(behind)
    beside = np.cross(behind, [0.3, 1, -0.2])
    shoulder_m = elbow_m + 0.31 * beside / np.linalg.norm(beside)
    arm = ArmPose(
        side=hand.hand,
        right_probability=0.5,
        seen_time_ns=hand.capture_time_ns,
        views=["cam_0", "cam_1"],
        elbow_world_m=elbow_m.tolist(),
        elbow_covariance_m2=np.diag([1e-4, 4e-4, 4e-4]).tolist(),
        shoulder_world_m=shoulder_m.tolist() if shoulder else None,
        shoulder_covariance_m2=np.diag([9e-4] * 3).tolist() if shoulder else None,
        wrist_rad=np.deg2rad([20.0, -10.0]).tolist(),
        wrist_std_rad=np.deg2rad([5.0, 6.0]).tolist(),
    )
    return msgspec.structs.replace(hand, arm=arm)


def arm_set(time_ns: int | None = None, shoulder: bool = True) -> PoseSet:
    """Both hands with their arms."""
    poses = pose_set(time_ns)
    return msgspec.structs.replace(poses, hands=[with_arm(hand, shoulder) for hand in poses.hands])


def unseen_set(time_ns: int) -> PoseSet:
    """The left hand held, the right one lost, and the left one's forecast 50 ms later."""
    seen = pose_set(time_ns)
    left = {"hand": "left", "track_id": TRACKS["left"], "seen_time_ns": time_ns - 10_000_000}
    about = {"joints_world_m": seen.hands[0].joints_world_m, "covariance_m2": seen.hands[0].covariance_m2}
    held = msgspec.convert({**left, **about, "state": "held"}, UnseenPose)
    ahead = msgspec.convert({**left, **about, "time_ns": time_ns + 50_000_000}, AheadPose)
    return msgspec.structs.replace(seen, hands=[], unseen=[held], ahead=[ahead])


def streamed(poses: PoseSet, context: StreamContext = CONTEXT) -> StreamedSet:
    return streamed_set(poses, context)


def pinch_event() -> Event:
    return Event(time_ns=time.monotonic_ns(), kind="gesture", subject="7", state="began", detail="pinch", hand="right")


@contextlib.contextmanager
def sender(address: str, context: StreamContext = CONTEXT) -> Iterator[StreamSender]:
    """As a stream's process makes it."""
    stream = parse_stream(address)
    make: StreamMaker = getattr(importlib.import_module(f"app.streams.{stream.kind.module}"), stream.kind.sender)
    made = make(stream, context)
    try:
        yield made
    finally:
        made.close()
