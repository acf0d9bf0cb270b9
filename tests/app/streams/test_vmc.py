"""VMC: the avatar's fingers, computed from what was received alone, lie where the hand's are."""

import socket

import msgspec
import numpy as np
import pytest
from pythonosc.osc_bundle import OscBundle
from scipy.spatial.transform import Rotation

from app.streams.kinds import STREAMS
from app.transport.messages import FittedPose, PoseSet
from calibration.hand import FINGERS, Side
from models.hand.builtin import BuiltinHand
from tests.support.streamed_hands import pose_set, sender, streamed, true_joints_m

LEVELS = ("Proximal", "Intermediate", "Distal")
# Unity: x right, y up, z forward; of an avatar that looks along z the right hand's fingers point to +x.
FINGERS_TO = {"right": np.array([1.0, 0, 0]), "left": np.array([-1.0, 0, 0])}


def received(poses: PoseSet | None = None) -> dict[str, tuple[np.ndarray, Rotation]]:
    """Place and turn of each bone and tracker, by python-osc's parser."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(30)
        with sender(f"vmc://127.0.0.1:{receiver.getsockname()[1]}") as stream:
            for _ in range(3):  # bone lengths are learnt
                stream.send(streamed(poses or pose_set()))
        bundles = [OscBundle(receiver.recv(65536)) for _ in range(4)]
    assert [message.params for message in bundles[-1]] == [[0]]  # /VMC/Ext/OK, of the end
    messages = list(bundles[2])
    assert [(message.address, message.params) for message in messages[:1]] == [("/VMC/Ext/OK", [1])]
    assert messages[1].address == "/VMC/Ext/T"
    bones = {}
    for message in messages[2:]:
        name, *values = message.params
        assert message.address == ("/VMC/Ext/Tra/Pos" if name.startswith("usthand") else "/VMC/Ext/Bone/Pos")
        bones[name] = np.array(values[:3]), Rotation.from_quat(values[3:])
    return bones


def unity(joints_world_m: np.ndarray) -> np.ndarray:
    return joints_world_m[..., [0, 2, 1]]


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_avatars_fingers_lie_where_the_hands_do(side: Side) -> None:
    bones, joints = received(), unity(true_joints_m(side))
    word = side.capitalize()
    assert sum(name.startswith(word) for name in bones) == 16
    wrist_m, wrist = bones[f"usthand_{side}_wrist"]
    assert np.linalg.norm(wrist_m - joints[0]) < 0.002
    hand_turn = bones[f"{word}Hand"][1]
    assert (hand_turn * wrist.inv()).magnitude() < 1e-5
    for number, finger in enumerate(FINGERS):
        place, turn = wrist_m, wrist
        for level in LEVELS:
            offset, local = bones[f"{word}{finger.capitalize()}{level}"]
            place = place + turn.apply(offset)
            turn = turn * local
            joint = 1 + 4 * number + LEVELS.index(level)
            assert np.linalg.norm(place - joints[joint]) < 0.003, f"{finger} {level}"
        # In the T-pose a finger points along the arm, but for its fan; so the turned axis points along the last bone.
        if finger in ("index", "middle", "ring"):
            bone = joints[4 + 4 * number] - joints[3 + 4 * number]
            cosine = turn.apply(FINGERS_TO[side]) @ bone / np.linalg.norm(bone)
            assert cosine > np.cos(np.deg2rad(12)), finger


def test_the_hand_that_the_worker_fitted_is_taken_as_it_is() -> None:
    """Not fitted again: here it is another than its joints say."""
    model, poses = BuiltinHand("right"), pose_set()
    T_world_hand = np.eye(4)
    T_world_hand[:3, 3] = [0.5, 0.25, 1.0]
    about = {"hinges_rad": [0.0] * 21, "T_world_hand": T_world_hand.tolist(), "shape": model.default_shape().tolist()}
    poses.hands[1].fit = msgspec.convert(about, FittedPose)
    bones = received(poses)
    assert np.allclose(bones["usthand_right_wrist"][0], [0.5, 1.0, 0.25])
    assert bones["RightIndexIntermediate"][1].magnitude() < 1e-6
    assert np.linalg.norm(bones["usthand_left_wrist"][0] - unity(true_joints_m("left"))[0]) < 0.002


def test_a_flat_hand_with_the_palm_down_is_the_t_pose() -> None:
    """Of an avatar that looks along Unity's z, which is the rig's y: the right hand's fingers along x, the back up."""
    from app.streams.vmc import local_bones, wrist_in_unity
    from models.hand.shape import MEAN_SHAPE
    from models.hand.skeleton import REST_ANGLES_RAD

    T_world_hand = np.eye(4)  # fingers along x, thumb along y, back along z: the rig's
    for side in ("right", "left"):
        if side == "left":
            T_world_hand[:3, :3] = np.diag([-1.0, -1, 1])
        _, _, turns = local_bones(side, REST_ANGLES_RAD, T_world_hand, MEAN_SHAPE)
        assert np.allclose(turns, np.eye(3), atol=1e-12)
        assert np.allclose(wrist_in_unity(side, T_world_hand)[1], np.eye(3), atol=1e-12)


def test_its_usual_port_is_the_protocols() -> None:
    assert STREAMS["vmc"].port == 39539
