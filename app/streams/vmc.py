"""VMC (Virtual Motion Capture protocol) over OSC: fingers and arms of a humanoid avatar, by Unity's names of bones.

"VirtualMotionCaptureProtocol", https://protocol.vmc.info/english, `/VMC/Ext/Bone/Pos` and its neighbours.
"""

import time
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from scipy.spatial.transform import Rotation

from app.convert.skeleton_animation import rest_offsets, turns_of
from app.streams.datagrams import Datagrams
from app.streams.kinds import StreamAddress
from app.streams.osc import osc_bundle, osc_message, osc_numbers
from app.streams.streamed import StreamContext, StreamedHand, StreamedSet, arm_points
from app.transport.messages import ArmPose, Event, FittedPose
from calibration.hand import FINGERS, Definition, Side
from models.hand.arm_turns import arm_direction, forearm_turn, upper_arm_turn
from models.hand.builtin import mirror_of
from models.hand.fitter import HandFitter
from models.hand.wrist_angles import wrist_angles

WORLD_TO_UNITY = np.array([[1.0, 0, 0], [0, 0, 1], [0, 1, 0]])
"""(3, 3): from the rig's world, z up and right-handed, to Unity's, y up and left-handed: (x, y, z) to (x, z, y)."""
_HAND_TO_UNITY = np.array([[1.0, 0, 0], [0, 0, 1], [0, 1, 0]])
"""(3, 3): a right hand's frame in the T-pose of an avatar that looks along z: the fingers to +x, the palm down, the
thumb forward. A left hand's is its mirror image in x."""
_COLLAR_M, _UPPER_ARM_M, _FOREARM_M = 0.12, 0.28, 0.25
"""Where the avatar's own bones are not known: about a person's."""
_POSE = "fffffff"
_LEVELS = ("Proximal", "Intermediate", "Distal")


def bone_names(side: Side) -> dict[int, str]:
    """HumanBodyBones by joint of calibration.hand: the bone that turns about it. Fingertips have none."""
    word = side.capitalize()
    fingers = {
        1 + 4 * finger + level: f"{word}{name.capitalize()}{_LEVELS[level]}"
        for finger, name in enumerate(FINGERS)
        for level in range(3)
    }
    return {0: f"{word}Hand", **fingers}


class VmcSender:
    """A StreamSender. One hand of each side is sent: the one that is followed longest."""

    def __init__(self, address: StreamAddress, context: StreamContext) -> None:
        self._datagrams = Datagrams(address)
        self._fitters: dict[int, HandFitter] = {}
        self._arms: dict[Side, _AvatarArm] = {"left": _AvatarArm(), "right": _AvatarArm()}
        self._began_ns = time.monotonic_ns()

    def send(self, poses: StreamedSet) -> None:
        self._fitters = {hand.track_id: self._fitter(hand, poses.definition) for hand in poses.hands}
        chosen: dict[Side, StreamedHand] = {}
        for hand in sorted(poses.hands, key=lambda hand: hand.track_id):
            chosen.setdefault(hand.side, hand)
        messages = [
            osc_message("/VMC/Ext/OK", "i", [1 if chosen else 0]),
            osc_message("/VMC/Ext/T", "f", [(poses.clock_ns - self._began_ns) / 1e9]),
        ]
        for side, hand in chosen.items():
            fit = hand.fit or self._fit(hand)
            if fit is not None:
                self._arms[side] = arm = self._arms[side].after(side, hand.arm, np.array(fit.T_world_hand))
                messages += _messages(side, fit, arm)
        self._datagrams.send(osc_bundle(*messages))

    def tell(self, event: Event) -> None:
        """The protocol has no place for it."""

    def close(self) -> None:
        self._datagrams.send(osc_bundle(osc_message("/VMC/Ext/OK", "i", [0])))
        self._datagrams.close()

    def _fit(self, hand: StreamedHand) -> FittedPose | None:
        """Of a hand that the worker fitted no mesh to, as of one that is forecast."""
        fitter = self._fitters[hand.track_id]
        fit = fitter.fit(hand.joints_world_m, hand.covariance_m2)
        if fit is None:
            return None
        return FittedPose(
            hinges_rad=fit.angles_rad.tolist(), T_world_hand=fit.T_world_hand.tolist(), shape=fitter.shape.tolist()
        )

    def _fitter(self, hand: StreamedHand, definition: Definition) -> HandFitter:
        known = self._fitters.get(hand.track_id)
        return known if known is not None and known.side == hand.side else HandFitter(hand.side, definition=definition)


@dataclass(frozen=True, eq=False)
class _AvatarArm:
    """How an avatar's arm is turned, in Unity's world since the T-pose. What is not known stays as it was sent last."""

    upper: np.ndarray = field(default_factory=lambda: np.eye(3))
    lower: np.ndarray = field(default_factory=lambda: np.eye(3))
    shoulder_m: np.ndarray | None = None
    """(3,) in Unity's world; None where it is not known now, as the elbow."""
    elbow_m: np.ndarray | None = None

    def after(self, side: Side, arm: ArmPose | None, T_world_hand: np.ndarray) -> "_AvatarArm":
        """The arm of the next set, in which the hand is at `T_world_hand` (4, 4)."""
        points_m = {} if arm is None else {name: place_m for name, (place_m, _) in arm_points(arm).items()}
        if "elbow" not in points_m:
            return _AvatarArm(self.upper, self.lower)
        elbow_m, shoulder_m = points_m["elbow"], points_m.get("shoulder")
        forearm = forearm_turn(T_world_hand[:3, :3], wrist_angles(T_world_hand, elbow_m, side), side)
        lower = _turn_in_unity(side, forearm @ _along_x(side))
        if shoulder_m is None or np.array_equal(shoulder_m, elbow_m):
            return _AvatarArm(self.upper, lower, None, WORLD_TO_UNITY @ elbow_m)
        upper = _turn_in_unity(side, upper_arm_turn(forearm, elbow_m - shoulder_m, side) @ _along_x(side))
        return _AvatarArm(upper, lower, WORLD_TO_UNITY @ shoulder_m, WORLD_TO_UNITY @ elbow_m)


def _messages(side: Side, fit: FittedPose, arm: _AvatarArm) -> list[bytes]:
    T_world_hand = np.array(fit.T_world_hand)
    names, places_m, turns = local_bones(side, np.array(fit.hinges_rad), T_world_hand, np.array(fit.shape))
    wrist_m, wrist = wrist_in_unity(side, T_world_hand)
    turns[0] = arm.lower.T @ wrist
    bones = list(zip(names, places_m, turns, strict=True))
    trackers = [(f"usthand_{side}_wrist", wrist_m, wrist)]
    word, out = side.capitalize(), np.array([1.0 if side == "right" else -1.0, 0, 0])
    if arm.elbow_m is not None:
        places_m[0] = out * np.linalg.norm(wrist_m - arm.elbow_m)
        upper_m = _UPPER_ARM_M if arm.shoulder_m is None else np.linalg.norm(arm.elbow_m - arm.shoulder_m)
        bones.append((f"{word}LowerArm", out * upper_m, arm.upper.T @ arm.lower))
        trackers.append((f"usthand_{side}_elbow", arm.elbow_m, arm.lower))
        if arm.shoulder_m is not None:
            bones.append((f"{word}UpperArm", out * _COLLAR_M, arm.upper))
            trackers.append((f"usthand_{side}_shoulder", arm.shoulder_m, arm.upper))
    told = [*bones, *trackers]
    quaternions = Rotation.from_matrix([turn for _, _, turn in told], assume_valid=True).as_quat(canonical=True)
    addresses = ["/VMC/Ext/Bone/Pos"] * len(bones) + ["/VMC/Ext/Tra/Pos"] * len(trackers)
    return [
        osc_numbers(address, _POSE, [*place_m.tolist(), *quaternion], name)
        for address, (name, place_m, _), quaternion in zip(addresses, told, quaternions.tolist(), strict=True)
    ]


def local_bones(
    side: Side, hinges_rad: np.ndarray, T_world_hand: np.ndarray, shape: np.ndarray
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names, places (16, 3) in metres and turns (16, 3, 3) of the bones, in their parents' axes: in the T-pose Unity's.

    The hand's own turn is that in the world, as if the forearm were as in the T-pose, and its place is at the end of
    such a forearm: cameras that see hands do not tell.
    """
    axes, names = _axes(side), bone_names(side)
    turns = turns_of(hinges_rad[None], shape, axes)[0]
    places_m = rest_offsets(shape, axes)
    turns[0] = wrist_in_unity(side, T_world_hand)[1]
    places_m[0] = [_FOREARM_M if side == "right" else -_FOREARM_M, 0, 0]
    joints = list(names)
    return list(names.values()), places_m[joints], turns[joints]


def wrist_in_unity(side: Side, T_world_hand: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Place (3,) in metres and turn (3, 3) since the T-pose of a wrist, in Unity's world."""
    return WORLD_TO_UNITY @ T_world_hand[:3, 3], _turn_in_unity(side, T_world_hand[:3, :3])


def _turn_in_unity(side: Side, R_world: np.ndarray) -> np.ndarray:
    """(3, 3) in Unity's world since the T-pose, of a turn (3, 3) in the rig's world since a hand's own frame."""
    return WORLD_TO_UNITY @ R_world @ np.diag(mirror_of(side)) @ _axes(side).T


@lru_cache(maxsize=2)
def _along_x(side: Side) -> np.ndarray:
    """(3, 3): lays the x of an avatar's arm on the line of the third metacarpal, 2 degrees beside it, as an arm is."""
    along = arm_direction(side)
    axis = np.cross([1.0, 0, 0], along)
    sine = np.linalg.norm(axis)
    return Rotation.from_rotvec(axis / sine * np.arctan2(sine, along[0])).as_matrix()


def _axes(side: Side) -> np.ndarray:
    """From a right hand's frame, in which left hands are computed too, to the T-pose."""
    return _HAND_TO_UNITY if side == "right" else np.diag([-1.0, 1, 1]) @ _HAND_TO_UNITY
