"""BVH, GLB and USD: their own kinematics, evaluated by readers of the formats, are those of the fitted hand."""

import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from app.convert.bvh import write_bvh, write_validity
from app.convert.gltf import write_glb
from app.convert.hand_recording import Y_UP
from app.convert.skeleton_animation import NODE_NAMES, animate
from models.hand.builtin import BuiltinHand


def read_bvh(path):
    """Places of all joints and end sites by name (F, 3), in the file's units, and the frame time: a reader of the
    format's description."""
    hierarchy, motion = path.read_text().split("MOTION\n")
    lines = motion.strip().split("\n")
    frames, frame_time = int(lines[0].split()[1]), float(lines[1].split()[2])
    values = np.array([[float(field) for field in line.split()] for line in lines[2:]])
    assert len(values) == frames
    places, turns, stack, used = {}, {}, [], 0
    name = None
    for line in map(str.strip, hierarchy.split("\n")):
        if match := re.match(r"(ROOT|JOINT) (\S+)|End Site", line):
            name = match[2] or f"{stack[-1]} end"
        elif line == "{":
            stack.append(name)
        elif line == "}":
            stack.pop()
        elif line.startswith("OFFSET"):
            offset = np.array([float(field) for field in line.split()[1:]])
            parent = stack[-2] if len(stack) > 1 else None
            turns[name] = turns[parent] if parent else np.tile(np.eye(3), (frames, 1, 1))
            places[name] = (places[parent] if parent else 0) + turns[name] @ offset
        elif line.startswith("CHANNELS"):
            channels = line.split()[2:]
            mine = values[:, used : used + len(channels)]
            used += len(channels)
            if "Xposition" in channels:
                assert channels[:3] == ["Xposition", "Yposition", "Zposition"]
                base = places[stack[-2]] if len(stack) > 1 else 0
                places[name] = base + np.einsum("fab,fb->fa", turns[name], offset + mine[:, :3])
            assert channels[-3:] == ["Zrotation", "Xrotation", "Yrotation"]
            turns[name] = turns[name] @ Rotation.from_euler("ZXY", mine[:, -3:], degrees=True).as_matrix()
    assert used == values.shape[1]
    return places, frame_time


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
    bvhio = pytest.importorskip("bvhio", reason="bvhio, a second reader of BVH, is not installed")
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
    write_validity(tmp_path / "hands.bvh.valid.csv", recording)
    rows = (tmp_path / "hands.bvh.valid.csv").read_text().split()
    assert rows[0] == "frame,right_2,left_4"
    left = [int(row.split(",")[2]) for row in rows[1:]]
    assert left == [2 if 6 <= frame < 9 else 0 if 20 <= frame < 34 else 1 for frame in range(40)]


def test_the_rest_pose_has_the_bones_of_the_person(recording):
    for hand in recording.hands:
        lengths = np.linalg.norm(animate(hand, Y_UP).offsets_m[1:], axis=1)
        np.testing.assert_allclose(lengths, hand.fit.shape[:20], rtol=1e-9)


def accessor(gltf, number):
    """Values of an accessor, by the glTF 2.0 specification."""
    each = gltf.accessors[number]
    view = gltf.bufferViews[each.bufferView]
    dtype = {5126: "<f4", 5125: "<u4", 5121: "u1"}[each.componentType]
    width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}[each.type]
    data = gltf.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
    values = np.frombuffer(data, dtype).reshape(each.count, width)
    return values[:, 0] if width == 1 else values


def test_glb_moves_joints_and_mesh_as_the_fitted_hands(recording, tmp_path):
    pygltflib = pytest.importorskip("pygltflib", reason="pygltflib, the reader of GLB, is not installed")
    write_glb(tmp_path / "hands.glb", recording)
    gltf = pygltflib.GLTF2().load(str(tmp_path / "hands.glb"))
    parent = {child: node for node, each in enumerate(gltf.nodes) for child in each.children or []}
    frames = recording.frames
    local = np.tile(np.eye(4), (len(gltf.nodes), frames, 1, 1))
    scale = np.ones((len(gltf.nodes), frames))
    for number, node in enumerate(gltf.nodes):
        local[number, :, :3, 3] = node.translation or 0
    for channel in gltf.animations[0].channels:
        sampler = gltf.animations[0].samplers[channel.sampler]
        np.testing.assert_allclose(accessor(gltf, sampler.input), recording.times_s, atol=1e-6)
        values, node = accessor(gltf, sampler.output), channel.target.node
        if channel.target.path == "rotation":
            local[node, :, :3, :3] = Rotation.from_quat(values).as_matrix()
            assert (np.sum(values[1:] * values[:-1], axis=1) > 0).all()
        elif channel.target.path == "translation":
            local[node, :, :3, 3] = values
        else:
            assert sampler.interpolation == "STEP"
            scale[node] = values[:, 0]
    world = local.copy()
    for node in range(len(gltf.nodes)):
        if node in parent:
            world[node] = world[parent[node]] @ local[node]
    for number, hand in enumerate(recording.hands):
        nodes = [next(i for i, n in enumerate(gltf.nodes) if n.name == f"{hand.name}_{name}") for name in NODE_NAMES]
        np.testing.assert_allclose(world[nodes][:, :, :3, 3].swapaxes(0, 1), held(hand), atol=1e-6)
        np.testing.assert_array_equal(scale[nodes[0]], hand.valid)
        check_mesh(gltf, gltf.skins[number], gltf.meshes[number], world, hand)


def check_mesh(gltf, skin, mesh, world, hand):
    """Linear blend skinning, by the specification, gives the built-in hand's surface."""
    primitive = mesh.primitives[0]
    points, joints, weights = (
        accessor(gltf, getattr(primitive.attributes, name)) for name in ("POSITION", "JOINTS_0", "WEIGHTS_0")
    )
    bind = accessor(gltf, skin.inverseBindMatrices).reshape(-1, 4, 4).swapaxes(1, 2)
    points = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    model = BuiltinHand(hand.side)
    for frame in (0, 17):
        moved = world[skin.joints, frame] @ bind
        got = np.einsum("nk,nkab,nb->na", weights, moved[joints], points)[:, :3]
        expected = model.pose(hand.fit.hinges_rad[frame], hand.fit.T_world_hand[frame], hand.fit.shape)[1]
        np.testing.assert_allclose(got, expected @ Y_UP.T, atol=2e-6)
    faces = accessor(gltf, primitive.indices).reshape(-1, 3)
    corners = points[faces][..., :3].astype(float)
    # Counter-clockwise seen from outside: the volume is positive.
    assert np.einsum("na,na->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) > 0
