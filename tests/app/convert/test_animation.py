"""BVH, GLB and USD: their own kinematics, evaluated by readers of the formats, are those of the fitted hand."""

from dataclasses import replace

import numpy as np
import pytest

from app.convert.bvh import write_bvh
from app.convert.gltf import write_glb
from app.convert.hand_recording import Y_UP
from app.convert.skeleton_animation import NODE_NAMES, animate
from app.convert.validity import write_validity
from models.hand.builtin import BuiltinHand
from tests.support.skeleton_files import accessor, move_glb, node_named, read_bvh, skinned


def held(hand):
    """Joints (F, 21, 3) of the fitted hand, y up, in frames with this hand; where it is missing, the last ones."""
    joints = hand.fit.joints_world_m @ Y_UP.T
    for frame in np.flatnonzero(~hand.valid):
        joints[frame] = joints[frame - 1]
    return joints


def in_order(places, hand):
    names = [f"{hand.name}_{name}" for name in NODE_NAMES]
    return np.stack([places[n] if n in places else places[f"{names[i - 1]} end"] for i, n in enumerate(names)], axis=1)


def test_bvh_moves_the_joints_of_the_fitted_hands(recording, tmp_path):
    write_bvh(tmp_path / "hands.bvh", recording)
    places, frame_time = read_bvh(tmp_path / "hands.bvh")
    assert frame_time == pytest.approx(0.02)
    for hand in recording.hands:
        np.testing.assert_allclose(in_order(places, hand) / 100, held(hand), atol=1e-6)


def test_bvh_of_one_hand_has_the_wrist_as_its_root(recording, tmp_path):
    write_bvh(tmp_path / "hand.bvh", replace(recording, hands=recording.hands[:1]))
    text = (tmp_path / "hand.bvh").read_text()
    assert text.startswith("HIERARCHY\nROOT right_2_wrist\n")
    assert text.count("End Site") == 5
    places, _ = read_bvh(tmp_path / "hand.bvh")
    np.testing.assert_allclose(in_order(places, recording.hands[0]) / 100, held(recording.hands[0]), atol=1e-6)


def test_another_reader_sees_the_same_bvh(recording, tmp_path):
    bvhio = pytest.importorskip("bvhio", reason="needs bvhio: pip install 'usthand-live[test]'")
    write_bvh(tmp_path / "hands.bvh", recording)
    root = bvhio.readAsHierarchy(str(tmp_path / "hands.bvh"))
    expected = {
        f"{hand.name}_{name}": held(hand)[:, j] for hand in recording.hands for j, name in enumerate(NODE_NAMES)
    }
    for frame in (0, 7, 39):
        root.loadPose(frame)
        for joint, _, _ in root.layout():
            if joint.Name in expected:
                np.testing.assert_allclose(np.array(joint.PositionWorld) / 100, expected[joint.Name][frame], atol=1e-5)


def test_the_file_beside_a_bvh_tells_seen_from_held(recording, tmp_path):
    write_validity(tmp_path / "hands.bvh.valid.csv", recording, of_poses=True)
    rows = (tmp_path / "hands.bvh.valid.csv").read_text().split()
    assert rows[0] == "frame,right_2,left_4"
    left = [int(row.split(",")[2]) for row in rows[1:]]
    assert left == [2 if 6 <= frame < 9 else 0 if 20 <= frame < 34 else 1 for frame in range(40)]


def test_the_rest_pose_has_the_bones_of_the_person(recording):
    for hand in recording.hands:
        lengths = np.linalg.norm(animate(hand, Y_UP).offsets_m[1:], axis=1)
        np.testing.assert_allclose(lengths, hand.fit.shape[:20], rtol=1e-9)


def test_glb_moves_joints_and_mesh_as_the_fitted_hands(recording, tmp_path):
    pygltflib = pytest.importorskip("pygltflib", reason="pygltflib, the reader of GLB, is not installed")
    write_glb(tmp_path / "hands.glb", recording)
    gltf = pygltflib.GLTF2().load(str(tmp_path / "hands.glb"))
    for sampler in gltf.animations[0].samplers:
        np.testing.assert_allclose(accessor(gltf, sampler.input), recording.times_s, atol=1e-6)
    world, scale = move_glb(gltf)
    for number, hand in enumerate(recording.hands):
        nodes = [node_named(gltf, f"{hand.name}_{name}") for name in NODE_NAMES]
        np.testing.assert_allclose(world[nodes][:, :, :3, 3].swapaxes(0, 1), held(hand), atol=1e-6)
        np.testing.assert_array_equal(scale[nodes[0]], hand.valid)
        check_mesh(gltf, number, world, hand)
    extras = gltf.asset.extras
    assert extras["filled_s"]["right_2"] == []
    assert extras["filled_s"]["left_4"] == [pytest.approx([0.12, 0.16])]


def check_mesh(gltf, number, world, hand):
    """The mesh is the built-in hand's surface."""
    model = BuiltinHand(hand.side)
    for frame in (0, 17):
        expected = model.pose(hand.fit.hinges_rad[frame], hand.fit.T_world_hand[frame], hand.fit.shape)[1]
        np.testing.assert_allclose(skinned(gltf, number, world, frame), expected @ Y_UP.T, atol=2e-6)
    primitive = gltf.meshes[number].primitives[0]
    faces = accessor(gltf, primitive.indices).reshape(-1, 3)
    corners = accessor(gltf, primitive.attributes.POSITION)[faces].astype(float)
    # Counter-clockwise seen from outside: the volume is positive.
    assert np.einsum("na,na->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) > 0
