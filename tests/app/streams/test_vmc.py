"""VMC: the avatar's fingers, computed from what was received alone, lie where the hand's are."""

import socket

import msgspec
import numpy as np
import pytest
from pythonosc.osc_bundle import OscBundle
from scipy.spatial.transform import Rotation

from app.streams.kinds import STREAMS
from app.transport.messages import FittedPose, PoseSet
from calibration.hand import FINGERS, Definition, Side
from models.hand.builtin import BuiltinHand
from models.hand.definition import convert
from tests.support.streamed_hands import arm_set, pose_set, sender, streamed, true_joints_m

LEVELS = ("Proximal", "Intermediate", "Distal")
# Unity: x right, y up, z forward; of an avatar that looks along z the right hand's fingers point to +x.
FINGERS_TO = {"right": np.array([1.0, 0, 0]), "left": np.array([-1.0, 0, 0])}


def received(poses: PoseSet | None = None, last: PoseSet | None = None) -> dict[str, tuple[np.ndarray, Rotation]]:
    """Place and turn of each bone and tracker, by python-osc's parser, of the last of three sets."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(30)
        with sender(f"vmc://127.0.0.1:{receiver.getsockname()[1]}") as stream:
            for number in range(3):  # bone lengths are learnt
                stream.send(streamed((last if number == 2 else None) or poses or pose_set()))
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


@pytest.mark.parametrize("definition", ["anatomical", "detector"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_avatars_fingers_lie_where_the_hands_do(side: Side, definition: Definition) -> None:
    poses, joints = pose_set(), unity(true_joints_m(side))
    poses.definition = definition
    for hand in poses.hands:
        given = convert(np.array(hand.joints_world_m), "anatomical", definition, hand.hand == "right")
        hand.joints_world_m = given.tolist()
    bones = received(poses)
    word = side.capitalize()
    assert sum(name.startswith(word) for name in bones) == 16
    wrist_m, wrist = bones[f"usthand_{side}_wrist"]
    assert np.linalg.norm(wrist_m - joints[0]) < 0.003
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


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_avatars_arms_lie_where_the_persons_do(side: Side) -> None:
    poses = arm_set()
    (hand,) = (each for each in poses.hands if each.hand == side)
    assert hand.arm is not None and hand.arm.shoulder_world_m is not None
    elbow_m, shoulder_m = (unity(np.array(each)) for each in (hand.arm.elbow_world_m, hand.arm.shoulder_world_m))
    bones, word = received(poses), side.capitalize()
    for joint, place_m in (("elbow", elbow_m), ("shoulder", shoulder_m)):
        assert np.allclose(bones[f"usthand_{side}_{joint}"][0], place_m, atol=1e-6)
    # Down the arm, by the bones alone; the upper arm's turn is that in the world, as the body stands as in the T-pose.
    (_, upper), (lower_m, lower), (hand_m, wrist) = (
        bones[f"{word}{name}"] for name in ("UpperArm", "LowerArm", "Hand")
    )
    found_m = shoulder_m + upper.apply(lower_m)
    assert np.linalg.norm(found_m - elbow_m) < 1e-4
    found_m = found_m + (upper * lower).apply(hand_m)
    assert np.linalg.norm(found_m - bones[f"usthand_{side}_wrist"][0]) < 1e-4
    assert np.linalg.norm(lower_m) == pytest.approx(0.31, abs=1e-4)
    turn = upper * lower * wrist
    assert np.rad2deg((turn * bones[f"usthand_{side}_wrist"][1].inv()).magnitude()) < 0.1
    # Each bone points out along x in the T-pose, so that arms of other lengths point the same way.
    for place in (lower_m, hand_m):
        assert np.allclose(place / np.linalg.norm(place), FINGERS_TO[side], atol=1e-6)
    # An elbow is a hinge: what turns beside it is the forearm about itself.
    axis = np.cross(upper.apply(FINGERS_TO[side]), (upper * lower).apply(FINGERS_TO[side]))
    across = np.array([0, 1.0, 0]) if side == "left" else np.array([0, -1.0, 0])
    assert upper.apply(across) @ axis / np.linalg.norm(axis) > np.cos(np.deg2rad(3))


def test_what_is_not_known_of_an_arm_stays_as_it_was_and_the_hand_is_turned_right_on_it() -> None:
    seen = received(arm_set())
    for last, sent in ((arm_set(shoulder=False), ["LowerArm"]), (pose_set(), [])):
        bones = received(arm_set(), last)
        for side in ("left", "right"):
            word = side.capitalize()
            assert [name for name in ("UpperArm", "LowerArm") if f"{word}{name}" in bones] == sent
            arm = [bones.get(f"{word}{name}", seen[f"{word}{name}"])[1] for name in ("UpperArm", "LowerArm")]
            turn = arm[0] * arm[1] * bones[f"{word}Hand"][1]
            assert np.rad2deg((turn * bones[f"usthand_{side}_wrist"][1].inv()).magnitude()) < 0.1


def test_an_elbow_that_is_nowhere_is_one_that_is_not_known() -> None:
    lost = arm_set()
    for hand in lost.hands:
        assert hand.arm is not None
        hand.arm.elbow_world_m = [float("nan")] * 3
    bones = received(lost)
    assert not [name for name in bones if "Arm" in name]
    assert all(np.isfinite(place_m).all() for place_m, _ in bones.values())


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
