"""The built-in hand: its kinematics and skin against plain references, people's shapes, and the path on tensors."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from calibration.errors import UserError
from calibration.hand import BONES, bone_lengths
from models.hand import skeleton
from models.hand.builtin import BuiltinHand
from models.hand.shape import MEAN_SHAPE, check_shape, random_shape
from models.hand.torch_hand import TorchHand

MIRROR_Y = np.array([1.0, -1.0, 1.0])


@pytest.fixture(scope="module")
def hand() -> BuiltinHand:
    return BuiltinHand()


def random_pose(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Angles within the limits, T_world_hand and the shape of a random person."""
    T_world_hand = np.eye(4)
    T_world_hand[:3, :3] = Rotation.from_quat(generator.normal(size=4)).as_matrix()
    T_world_hand[:3, 3] = generator.normal(0, 0.3, 3)
    return generator.uniform(*skeleton.LIMITS_RAD.T), T_world_hand, random_shape(generator)


def joints_by_hand(angles_rad: np.ndarray, lengths_m: np.ndarray) -> np.ndarray:
    """The right hand's joints, one bone after the other."""
    named = dict(zip(skeleton.ANGLE_NAMES, angles_rad, strict=True))
    joints = np.zeros((21, 3))
    for number, finger in enumerate(("thumb", "index", "middle", "ring", "little")):
        position = skeleton.FIRST_JOINT_DIRECTIONS[number] * lengths_m[4 * number]
        joints[1 + 4 * number] = position
        axes = Rotation.from_matrix(skeleton.FINGER_FRAMES[number])
        for bone, level in enumerate(("base", "proximal" if number == 0 else "middle", "distal")):
            bend, spread = np.array([0.0, 1, 0]), np.array([0.0, 0, 1])
            if (finger, level) == ("thumb", "base"):
                bend, spread = np.array([-0.3, 1, 0]) / np.hypot(1, 0.3), np.array([-0.25, 0, 1]) / np.hypot(1, 0.25)
            axes = axes * Rotation.from_rotvec(bend * named[f"{finger}_{level}_flexion"])
            axes = axes * Rotation.from_rotvec(spread * named.get(f"{finger}_{level}_abduction", 0.0))
            position = position + axes.apply([lengths_m[4 * number + 1 + bone], 0, 0])
            joints[2 + 4 * number + bone] = position
    return joints


def test_joints_follow_the_chain_of_hinges() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        angles, _, shape = random_pose(generator)
        joints = skeleton.chain(angles, shape[:20]).joints_m
        np.testing.assert_allclose(joints, joints_by_hand(angles, shape[:20]), atol=1e-12)
        np.testing.assert_allclose(bone_lengths(joints), shape[:20], atol=1e-12)


def test_bone_transforms_lie_along_the_bones_and_come_in_batches() -> None:
    generator = np.random.default_rng(0)
    poses = [random_pose(generator) for _ in range(4)]
    angles, lengths = np.stack([p[0] for p in poses]), np.stack([p[2][:20] for p in poses])
    transforms = skeleton.bone_transforms(angles, lengths)
    joints = skeleton.chain(angles, lengths).joints_m
    for pose in range(4):
        np.testing.assert_allclose(transforms[pose], skeleton.bone_transforms(angles[pose], lengths[pose]), atol=1e-12)
        for bone in range(1, 16):
            joint = skeleton.BONE_JOINTS[bone]
            length = np.linalg.norm(joints[pose, joint + 1] - joints[pose, joint])
            end = transforms[pose, bone] @ [length, 0, 0, 1]
            np.testing.assert_allclose(end[:3], joints[pose, joint + 1], atol=1e-12)


def test_the_axes_are_those_of_a_right_hand() -> None:
    """Fingers along x, thumb along y; bending brings the fingertips to the palm's side, spreading to the thumb's."""
    flat = skeleton.chain(np.zeros(21), skeleton.MEAN_BONE_LENGTHS_M).joints_m
    assert 0.17 < flat[12, 0] < 0.2 and flat[4, 1] > flat[8, 1] > flat[12, 1] > flat[16, 1] > flat[20, 1]
    for number, name in enumerate(skeleton.ANGLE_NAMES):
        angles = np.zeros(21)
        angles[number] = 0.2
        tips = skeleton.chain(angles, skeleton.MEAN_BONE_LENGTHS_M).joints_m[4::4] - flat[4::4]
        moved = tips[("thumb", "index", "middle", "ring", "little").index(name.split("_")[0])]
        if "thumb" not in name:
            assert moved[2] < -1e-3 if "flexion" in name else moved[1] > 1e-3
        elif "flexion" in name:
            assert moved[1] < -1e-3
        else:
            assert moved[2] < -1e-3


def test_skinning_agrees_with_a_plain_loop(hand: BuiltinHand) -> None:
    generator = np.random.default_rng(3)
    for _ in range(3):
        angles, T_world_hand, shape = random_pose(generator)
        rest = hand.rest_vertices(shape)
        to_rest = skeleton.bone_transforms(skeleton.REST_ANGLES_RAD, shape[:20])
        posed = skeleton.bone_transforms(angles, shape[:20])
        _, vertices = hand.pose(angles, T_world_hand, shape)
        for vertex in range(0, len(rest), 37):
            expected = sum(
                hand.mesh.weights[vertex, bone]
                * (T_world_hand @ posed[bone] @ np.linalg.inv(to_rest[bone]) @ np.append(rest[vertex], 1))
                for bone in range(16)
            )
            np.testing.assert_allclose(vertices[vertex], np.asarray(expected)[:3], atol=1e-12)


def test_in_the_rest_pose_the_mesh_is_what_was_built(hand: BuiltinHand) -> None:
    joints, vertices = hand.pose(skeleton.REST_ANGLES_RAD, np.eye(4), hand.default_shape())
    np.testing.assert_allclose(vertices, hand.mesh.rest_vertices_m, atol=1e-12)
    np.testing.assert_allclose(vertices[hand.mesh.tips], joints[4::4], atol=0.001)


def test_tips_stay_at_the_fingertips_for_everyone(hand: BuiltinHand) -> None:
    """The mesh's tips lie within 0.5 mm of the tip joints, whatever the pose and the bones."""
    generator = np.random.default_rng(4)
    for _ in range(20):
        angles, T_world_hand, shape = random_pose(generator)
        joints, vertices = hand.pose(angles, T_world_hand, shape)
        assert np.linalg.norm(vertices[hand.mesh.tips] - joints[4::4], axis=1).max() < 5e-4


def test_the_left_hand_is_the_mirror_image(hand: BuiltinHand) -> None:
    left = BuiltinHand("left")
    angles, T_world_hand, shape = random_pose(np.random.default_rng(5))
    right_joints, right_vertices = hand.pose(angles, np.eye(4), shape)
    joints, vertices = left.pose(angles, T_world_hand, shape)
    R, t = T_world_hand[:3, :3], T_world_hand[:3, 3]
    np.testing.assert_allclose(joints, right_joints * MIRROR_Y @ R.T + t, atol=1e-12)
    np.testing.assert_allclose(vertices, right_vertices * MIRROR_Y @ R.T + t, atol=1e-12)
    np.testing.assert_allclose(left.joints(angles, T_world_hand, shape), joints, atol=1e-12)
    for model, corners in ((hand, right_vertices), (left, vertices)):
        assert _volume_m3(corners, model.faces) > 1e-4  # Positive: the triangles face outwards.


def _volume_m3(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    return float(np.sum(a * np.cross(b, c)) / 6)


def test_a_larger_person_has_the_same_hand_but_larger(hand: BuiltinHand) -> None:
    """All bones and the thickness times 1.2 enlarge the fingers by 1.2; the palm, whose width is its own, nearly so."""
    rest = hand.mesh.rest_vertices_m
    enlarged = hand.rest_vertices(1.2 * MEAN_SHAPE)
    fingers = hand.mesh.weights[:, 0] == 0
    palm = (hand.mesh.weights[:, 0] > 0) & (rest[:, 0] > 0)
    np.testing.assert_allclose(enlarged[fingers], 1.2 * rest[fingers], atol=1e-9)
    assert np.linalg.norm(enlarged[palm] - 1.2 * rest[palm], axis=1).max() < 0.004


def test_one_longer_bone_moves_what_lies_beyond_it(hand: BuiltinHand) -> None:
    """The index finger's middle bone, 5 mm longer: its tip moves by 5 mm along it, other fingers stay."""
    shape = MEAN_SHAPE.copy()
    bone = int(np.flatnonzero((BONES == [6, 7]).all(axis=1))[0])
    shape[bone] += 0.005
    moved = hand.rest_vertices(shape) - hand.mesh.rest_vertices_m
    axis = skeleton.bone_transforms(skeleton.REST_ANGLES_RAD, skeleton.MEAN_BONE_LENGTHS_M)[5, :3, 0]
    np.testing.assert_allclose(moved[hand.mesh.tips], np.outer([0, 1, 0, 0, 0], 0.005 * axis), atol=1e-6)


def test_thickness_leaves_the_joints_and_changes_the_girth(hand: BuiltinHand) -> None:
    shape = MEAN_SHAPE.copy()
    shape[20] = 1.2
    joints, vertices = hand.pose(skeleton.REST_ANGLES_RAD, np.eye(4), shape)
    np.testing.assert_allclose(joints, hand.joints(skeleton.REST_ANGLES_RAD, np.eye(4), MEAN_SHAPE))
    T = skeleton.bone_transforms(skeleton.REST_ANGLES_RAD, skeleton.MEAN_BONE_LENGTHS_M)[8]
    around = hand.mesh.weights[:, 8] > 0.99
    before, after = ((v[around] - T[:3, 3]) @ T[:3, :3] for v in (hand.mesh.rest_vertices_m, vertices))
    assert around.sum() > 10
    np.testing.assert_allclose(after, before * [1, 1.2, 1.2], atol=5e-4)


def test_people_spread_as_published() -> None:
    generator = np.random.default_rng(6)
    people = np.stack([random_shape(generator) for _ in range(2000)])
    for person in people:
        check_shape(person)
    np.testing.assert_allclose(people[:, :20].mean(axis=0), skeleton.MEAN_BONE_LENGTHS_M, rtol=0.02)
    np.testing.assert_allclose(people[:, :20].std(axis=0), skeleton.BONE_LENGTHS_SD_M, rtol=0.2)
    assert np.corrcoef(people[:, 5], people[:, 20])[0, 1] > 0.1  # Large hands are thick.
    np.testing.assert_array_equal(random_shape(np.random.default_rng(1)), random_shape(np.random.default_rng(1)))


@pytest.mark.parametrize(
    ("number", "value", "message"),
    [
        (5, 0.0, "index finger's bone from joint 5 to 6 is 0 mm long, expected"),
        (1, -0.04, "thumb's bone from joint 1 to 2 is -40 mm"),
        (9, 44.6, "middle finger's bone from joint 9 to 10 is 4.46e[+]04 mm long.*metres"),
        (20, 3.0, "thickness of 3"),
        (3, np.nan, "not finite"),
    ],
)
def test_impossible_shapes_are_refused(hand: BuiltinHand, number: int, value: float, message: str) -> None:
    shape = hand.default_shape()
    hand.check_shape(shape)
    shape[number] = value
    with pytest.raises(UserError, match=message):
        hand.check_shape(shape)
    with pytest.raises(UserError, match="20 bone lengths"):
        hand.check_shape(shape[:20])


@pytest.mark.parametrize("side", ["right", "left"])
def test_tensors_agree_with_numpy(side: str) -> None:
    """To 1e-5 m in float32; float64 agrees to rounding."""
    generator = np.random.default_rng(7)
    model = BuiltinHand("left" if side == "left" else "right")
    poses = [random_pose(generator) for _ in range(16)]
    expected = [model.pose(*pose) for pose in poses]
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        inputs = [torch.as_tensor(np.stack(column), dtype=dtype) for column in zip(*poses, strict=True)]
        on_tensors = TorchHand(model.side, dtype=dtype)
        joints, vertices = on_tensors(*inputs)
        np.testing.assert_allclose(joints.numpy(), np.stack([e[0] for e in expected]), atol=tolerance)
        np.testing.assert_allclose(vertices.numpy(), np.stack([e[1] for e in expected]), atol=tolerance)
        np.testing.assert_array_equal(on_tensors.joints(*inputs).numpy(), joints.numpy())


def test_gradients_on_tensors_are_those_of_differences(hand: BuiltinHand) -> None:
    few = slice(None, None, 500)
    mesh = replace(hand.mesh, rest_vertices_m=hand.mesh.rest_vertices_m[few], weights=hand.mesh.weights[few])
    inputs = [torch.as_tensor(value[None]).requires_grad_() for value in random_pose(np.random.default_rng(8))]
    assert torch.autograd.gradcheck(TorchHand("left", mesh, torch.float64), inputs)
