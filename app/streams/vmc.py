"""VMC (Virtual Motion Capture protocol) over OSC: the fingers of a humanoid avatar, by Unity's names of bones.

"VirtualMotionCaptureProtocol", https://protocol.vmc.info/english, `/VMC/Ext/Bone/Pos` and its neighbours.
"""

import time

import numpy as np
from scipy.spatial.transform import Rotation

from app.convert.skeleton_animation import rest_offsets, turns_of
from app.streams.datagrams import Datagrams
from app.streams.kinds import StreamAddress
from app.streams.osc import osc_bundle, osc_message, osc_numbers
from app.streams.streamed import StreamContext, StreamedHand, StreamedSet
from app.transport.messages import Event, FittedPose
from calibration.hand import FINGERS, Side
from models.hand.builtin import mirror_of
from models.hand.fitter import HandFitter

WORLD_TO_UNITY = np.array([[1.0, 0, 0], [0, 0, 1], [0, 1, 0]])
"""(3, 3): from the rig's world, z up and right-handed, to Unity's, y up and left-handed: (x, y, z) to (x, z, y)."""
_HAND_TO_UNITY = np.array([[1.0, 0, 0], [0, 0, 1], [0, 1, 0]])
"""(3, 3): a right hand's frame in the T-pose of an avatar that looks along z: the fingers to +x, the palm down, the
thumb forward. A left hand's is its mirror image in x."""
_FOREARM_M = 0.25
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
        self._began_ns = time.monotonic_ns()

    def send(self, poses: StreamedSet) -> None:
        self._fitters = {hand.track_id: self._fitter(hand) for hand in poses.hands}
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
                messages += _messages(side, fit)
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

    def _fitter(self, hand: StreamedHand) -> HandFitter:
        known = self._fitters.get(hand.track_id)
        return known if known is not None and known.side == hand.side else HandFitter(hand.side)


def _messages(side: Side, fit: FittedPose) -> list[bytes]:
    T_world_hand = np.array(fit.T_world_hand)
    names, places_m, turns = local_bones(side, np.array(fit.hinges_rad), T_world_hand, np.array(fit.shape))
    wrist_m, wrist = wrist_in_unity(side, T_world_hand)
    quaternions = Rotation.from_matrix(np.concatenate([turns, wrist[None]]), assume_valid=True).as_quat(canonical=True)
    poses = np.concatenate([np.concatenate([places_m, wrist_m[None]]), quaternions], axis=1).tolist()
    bones = [osc_numbers("/VMC/Ext/Bone/Pos", _POSE, pose, name) for name, pose in zip(names, poses[:-1], strict=True)]
    return [*bones, osc_numbers("/VMC/Ext/Tra/Pos", _POSE, poses[-1], f"usthand_{side}_wrist")]


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
    turn = WORLD_TO_UNITY @ T_world_hand[:3, :3] @ np.diag(mirror_of(side)) @ _axes(side).T
    return WORLD_TO_UNITY @ T_world_hand[:3, 3], turn


def _axes(side: Side) -> np.ndarray:
    """From a right hand's frame, in which left hands are computed too, to the T-pose."""
    return _HAND_TO_UNITY if side == "right" else np.diag([-1.0, 1, 1]) @ _HAND_TO_UNITY
