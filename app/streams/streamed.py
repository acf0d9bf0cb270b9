"""A published set as streams send it: hands that are seen, held or forecast, with their times on the capture clock."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from app.streams.kinds import StreamAddress
from app.transport.messages import AheadPose, ArmPose, Event, FittedPose, Gesture, HandPose, PoseSet, UnseenPose
from calibration.hand import JOINTS, Definition, Side


@dataclass(frozen=True, kw_only=True, eq=False)
class StreamedHand:
    """One hand of a set; what only measured hands have is empty of others."""

    side: Side
    track_id: int
    state: Literal["seen", "held", "predicted"]
    time_ns: int
    """Of the pose, on the rig's clock: the worker's monotonic one, in a replay the recording's."""
    seen_time_ns: int
    """When it was measured last, on the same clock."""
    joints_world_m: np.ndarray
    """(21, 3)"""
    covariance_m2: np.ndarray
    """(21, 3, 3)"""
    confidence: np.ndarray
    """(21,) in [0, 1]; 0 of a hand that was not measured in this set."""
    gestures: tuple[Gesture, ...] = ()
    fit: FittedPose | None = None
    """The built-in hand as the worker fitted it, of a measured hand with a mesh."""
    arm: ArmPose | None = None
    """With `--body`, of a measured hand whose elbow is known."""

    @property
    def std_m(self) -> np.ndarray:
        """(21, 3): standard deviations along the world's axes."""
        return np.sqrt(np.diagonal(self.covariance_m2, axis1=1, axis2=2))

    @property
    def joint_std_m(self) -> np.ndarray:
        """(21,): the root mean square of the three."""
        return np.sqrt((self.std_m**2).mean(axis=1))


def rms(std_m: np.ndarray) -> float:
    """One standard deviation in the place of those along three axes (3,)."""
    return float(np.sqrt(np.mean(std_m**2)))


def arm_points(arm: ArmPose) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Place (3,) and standard deviations (3,) along the world's axes of elbow and shoulder, of each that is known."""
    points = {"elbow": (arm.elbow_world_m, arm.elbow_covariance_m2)}
    if arm.shoulder_world_m is not None and arm.shoulder_covariance_m2 is not None:
        points["shoulder"] = arm.shoulder_world_m, arm.shoulder_covariance_m2
    return {
        name: (np.array(place_m), np.sqrt(np.diag(np.array(covariance_m2))))
        for name, (place_m, covariance_m2) in points.items()
        if np.isfinite(place_m).all()
    }


def wrist_deg(arm: ArmPose) -> tuple[np.ndarray, np.ndarray] | None:
    """Flexion and deviation (2,) of the wrist and their standard deviations (2,); None where they are not known."""
    if arm.wrist_rad is None or arm.wrist_std_rad is None:
        return None
    return np.rad2deg(arm.wrist_rad), np.rad2deg(arm.wrist_std_rad)


@dataclass(frozen=True, kw_only=True, eq=False)
class StreamedSet:
    """A frame set's hands. `clock_ns` is the monotonic clock's time of the pose: of a replay when it is played."""

    set_index: int
    time_ns: int
    clock_ns: int
    published_ns: int
    looked: bool
    definition: Definition
    simulated: bool
    hands: tuple[StreamedHand, ...]


@dataclass(frozen=True, kw_only=True)
class StreamContext:
    """What a sender may want to know of the run."""

    rig_id: str
    estimator: str
    hands: int
    """At most so many."""
    recorded: bool = False
    """Whether times are a recording's."""
    predicts: bool = False
    """Whether hands are sent as forecast."""
    arms: bool = False
    """Whether arms are looked for."""


class StreamSender(Protocol):
    """Made with a StreamAddress and a StreamContext. No method waits for a receiver; the last call is `close`."""

    def send(self, poses: StreamedSet) -> None: ...

    def tell(self, event: Event) -> None: ...

    def close(self) -> None: ...


class StreamMaker(Protocol):
    def __call__(self, address: StreamAddress, context: StreamContext) -> StreamSender: ...


def streamed_set(poses: PoseSet, context: StreamContext) -> StreamedSet:
    """With `--predict` the hands as forecast, else those that are seen and those that are followed unseen."""
    gestures: dict[int, tuple[Gesture, ...]] = {hand.track_id: tuple(hand.gestures) for hand in poses.hands}
    confidence = {hand.track_id: np.array(hand.confidence) for hand in poses.hands}
    if context.predicts:
        hands = tuple(_hand(hand, hand.time_ns, hand.seen_time_ns, gestures, confidence) for hand in poses.ahead)
    else:
        seen = [_hand(h, h.capture_time_ns, h.capture_time_ns, gestures, confidence) for h in poses.hands]
        unseen = [_hand(h, poses.reference_time_ns, h.seen_time_ns, gestures, confidence) for h in poses.unseen]
        hands = (*seen, *unseen)
    time_ns = hands[0].time_ns if hands else poses.reference_time_ns
    ahead_ns = time_ns - poses.reference_time_ns
    return StreamedSet(
        set_index=poses.set_index,
        time_ns=time_ns,
        clock_ns=(poses.hops_ns["grab"] if context.recorded else poses.reference_time_ns) + ahead_ns,
        published_ns=poses.hops_ns["published"],
        looked=poses.looked,
        definition=poses.definition,
        simulated=poses.simulated,
        hands=hands,
    )


def _hand(
    hand: HandPose | UnseenPose | AheadPose,
    time_ns: int,
    seen_time_ns: int,
    gestures: Mapping[int, tuple[Gesture, ...]],
    confidence: Mapping[int, np.ndarray],
) -> StreamedHand:
    return StreamedHand(
        side=hand.hand,
        track_id=hand.track_id,
        state=hand.state,
        time_ns=time_ns,
        seen_time_ns=seen_time_ns,
        joints_world_m=np.array(hand.joints_world_m),
        covariance_m2=np.array(hand.covariance_m2),
        confidence=confidence.get(hand.track_id, np.zeros(JOINTS)),
        gestures=gestures.get(hand.track_id, ()),
        fit=hand.fit if isinstance(hand, HandPose) else None,
        arm=hand.arm if isinstance(hand, HandPose) else None,
    )
