"""Readers of skeletons in files, by the descriptions of the formats: where all joints are in all frames."""

import re
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation


def read_bvh(path: Path) -> tuple[dict[str, np.ndarray], float]:
    """Places of all joints and end sites by name (F, 3), in the file's units, and the frame time."""
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


def accessor(gltf, number: int) -> np.ndarray:
    """Values of an accessor, by the glTF 2.0 specification."""
    each = gltf.accessors[number]
    view = gltf.bufferViews[each.bufferView]
    dtype = {5126: "<f4", 5125: "<u4", 5121: "u1"}[each.componentType]
    width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}[each.type]
    data = gltf.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
    values = np.frombuffer(data, dtype).reshape(each.count, width)
    return values[:, 0] if width == 1 else values


def move_glb(gltf) -> tuple[np.ndarray, np.ndarray]:
    """World transforms (nodes, F, 4, 4) of the animated nodes, by the specification, and their scales (nodes, F).

    Transforms are without the scales, which hide hands.
    """
    parent = {child: node for node, each in enumerate(gltf.nodes) for child in each.children or []}
    frames = gltf.accessors[gltf.animations[0].samplers[0].input].count
    local = np.tile(np.eye(4), (len(gltf.nodes), frames, 1, 1))
    scale = np.ones((len(gltf.nodes), frames))
    for number, node in enumerate(gltf.nodes):
        local[number, :, :3, 3] = node.translation or 0
    for channel in gltf.animations[0].channels:
        sampler = gltf.animations[0].samplers[channel.sampler]
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
    return world, scale


def node_named(gltf, name: str) -> int:
    return next(number for number, node in enumerate(gltf.nodes) if node.name == name)


def skinned(gltf, number: int, world: np.ndarray, frame: int) -> np.ndarray:
    """Vertices (N, 3) of a skin's mesh in a frame: linear blend skinning, by the specification."""
    attributes, skin = gltf.meshes[number].primitives[0].attributes, gltf.skins[number]
    names = ("POSITION", "JOINTS_0", "WEIGHTS_0")
    points, joints, weights = (accessor(gltf, getattr(attributes, name)) for name in names)
    bind = accessor(gltf, skin.inverseBindMatrices).reshape(-1, 4, 4).swapaxes(1, 2)
    points = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    moved = world[skin.joints, frame] @ bind
    return np.einsum("nk,nkab,nb->na", weights, moved[joints], points)[:, :3]
