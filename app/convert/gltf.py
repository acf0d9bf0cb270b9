"""GLB, the binary glTF 2.0: skeletons, skinned meshes and their animation.

https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

import json
import struct
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from app.convert.arm_animation import ArmAnimation
from app.convert.hand_recording import Y_UP, HandRecording, RecordedHand, gaps_in
from app.convert.skeleton_animation import SkeletonAnimation, animate
from app.convert.skinned_mesh import skinned_mesh

_MAGIC, _VERSION, _JSON, _BIN = 0x46546C67, 2, 0x4E4F534A, 0x004E4942
_COMPONENTS = {np.dtype(np.float32): 5126, np.dtype(np.uint32): 5125, np.dtype(np.uint8): 5121}
_TYPES = {(): "SCALAR", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}
_VERTICES, _INDICES = 34962, 34963
_SKIN_RGBA = (0.80, 0.60, 0.50, 1.0)


def write_glb(path: Path, recording: HandRecording) -> None:
    """Metres, seconds, y up. In gaps a hand is scaled to nothing, so that it is not seen.

    A hand hangs on its arm where that is known. Where it is not, the arm is held as it was; `extras` say when, and when
    a hand is interpolated.
    """
    scene = _Scene()
    times = scene.add(recording.times_s.astype(np.float32), bounds=True)
    animations = {hand.name: animate(hand, Y_UP) for hand in recording.hands}
    roots = [root for hand in recording.hands for root in _add_hand(scene, hand, animations[hand.name], times)]
    arms = {name: _arm_notes(recording, animation.arm) for name, animation in animations.items() if animation.arm.names}
    gaps_s = {
        hand.name: [recording.times_s[[begin, end - 1]].tolist() for begin, end in gaps_in(hand.posed)]
        for hand in recording.hands
    }
    filled_s = {hand.name: _spans_s(recording, hand.filled) for hand in recording.hands}
    bones_m = {hand.name: hand.fit.shape[:20].tolist() for hand in recording.hands}
    document = {
        "asset": {
            "version": "2.0",
            "generator": "usthand convert",
            "extras": {**recording.notes(), "axes": "y up", "gaps_s": gaps_s, "filled_s": filled_s}
            | {"bone_lengths_m": bones_m}
            | ({"arms": arms} if arms else {}),
        },
        "scene": 0,
        "scenes": [{"name": "hands", "nodes": roots}],
        "nodes": scene.nodes,
        "meshes": scene.meshes,
        "skins": scene.skins,
        "materials": [
            {
                "name": "skin",
                "pbrMetallicRoughness": {
                    "baseColorFactor": _SKIN_RGBA,
                    "metallicFactor": 0.0,
                    "roughnessFactor": 0.7,
                },
            }
        ],
        "animations": [{"name": "recording", "samplers": scene.samplers, "channels": scene.channels}],
        "accessors": scene.accessors,
        "bufferViews": scene.views,
        "buffers": [{"byteLength": len(scene.binary)}],
    }
    said = json.dumps(document).encode()
    said += b" " * (-len(said) % 4)
    chunks = struct.pack("<II", len(said), _JSON) + said
    chunks += struct.pack("<II", len(scene.binary), _BIN) + bytes(scene.binary)
    path.write_bytes(struct.pack("<III", _MAGIC, _VERSION, 12 + len(chunks)) + chunks)


class _Scene:
    """The lists of a glTF document, whose entries refer to one another by number, and its binary part."""

    def __init__(self) -> None:
        self.nodes: list[dict] = []
        self.meshes: list[dict] = []
        self.skins: list[dict] = []
        self.accessors: list[dict] = []
        self.views: list[dict] = []
        self.samplers: list[dict] = []
        self.channels: list[dict] = []
        self.binary = bytearray()

    def add(self, values: np.ndarray, target: int | None = None, bounds: bool = False) -> int:
        """The number of a new accessor with these values (n, ...)."""
        view = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": values.nbytes}
        self.views.append(view | ({} if target is None else {"target": target}))
        self.binary += np.ascontiguousarray(values).tobytes()
        self.binary += b"\0" * (-len(self.binary) % 4)
        accessor = {
            "bufferView": len(self.views) - 1,
            "componentType": _COMPONENTS[values.dtype],
            "count": len(values),
            "type": _TYPES[values.shape[1:]],
        }
        if bounds:
            accessor |= {"min": np.atleast_1d(values.min(axis=0)).tolist()}
            accessor |= {"max": np.atleast_1d(values.max(axis=0)).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def animate(self, node: int, what: str, times: int, values: np.ndarray, interpolation: str = "LINEAR") -> None:
        output = self.add(values.astype(np.float32))
        self.samplers.append({"input": times, "output": output, "interpolation": interpolation})
        self.channels.append({"sampler": len(self.samplers) - 1, "target": {"node": node, "path": what}})


def _arm_notes(recording: HandRecording, arm: ArmAnimation) -> dict:
    """By joint, how long the bone is that begins there, and when it is held."""
    notes = {}
    for name, length_m, known in zip(arm.names, arm.lengths_m.tolist(), arm.known.T, strict=True):
        notes[name] = {"bone_m": length_m, "held_s": _spans_s(recording, ~known)}
    return notes


def _spans_s(recording: HandRecording, chosen: np.ndarray) -> list[list[float]]:
    """The first and the last moment of each run of chosen frames (F,)."""
    ends = np.flatnonzero(np.diff(chosen, prepend=False, append=False)).reshape(-1, 2)
    return [recording.times_s[[begin, end - 1]].tolist() for begin, end in ends]


def _add_hand(scene: _Scene, hand: RecordedHand, animation: SkeletonAnimation, times: int) -> tuple[int, int]:
    """The numbers of the hand's two nodes in the scene: the root of its skeleton and its mesh."""
    first = len(scene.nodes)
    for joint, name in enumerate(animation.names):
        node: dict = {"name": f"{hand.name}_{name}", "translation": animation.offsets_m[joint].tolist()}
        if children := animation.children(joint):
            node["children"] = [first + child for child in children]
        scene.nodes.append(node)
    scene.animate(first, "translation", times, animation.root_m)
    for joint in range(len(animation.names)):
        if joint not in animation.tips:
            scene.animate(first + joint, "rotation", times, quaternions_xyzw(animation.turns[:, joint]))
    if not hand.posed.all():
        scene.animate(first, "scale", times, np.repeat(hand.posed[:, None], 3, axis=1), "STEP")
    scene.nodes.append({"name": f"{hand.name}_mesh", "mesh": len(scene.meshes), "skin": len(scene.skins)})
    _add_mesh(scene, hand, animation, first)
    return first, len(scene.nodes) - 1


def _add_mesh(scene: _Scene, hand: RecordedHand, animation: SkeletonAnimation, first: int) -> None:
    mesh = skinned_mesh(hand, Y_UP)
    attributes = {
        "POSITION": scene.add(mesh.vertices_m.astype(np.float32), _VERTICES, bounds=True),
        "NORMAL": scene.add(mesh.normals.astype(np.float32), _VERTICES),
        "JOINTS_0": scene.add((animation.wrist + mesh.joints).astype(np.uint8), _VERTICES),
        "WEIGHTS_0": scene.add(mesh.weights.astype(np.float32), _VERTICES),
    }
    indices = scene.add(mesh.faces.astype(np.uint32).ravel(), _INDICES)
    scene.meshes.append(
        {"name": hand.name, "primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}
    )
    # Column by column, as glTF has matrices.
    bind = np.broadcast_to(np.eye(4), (len(animation.names), 4, 4)).copy()
    bind[:, 3, :3] = -animation.rest_m
    scene.skins.append(
        {
            "name": hand.name,
            "inverseBindMatrices": scene.add(bind.astype(np.float32)),
            "joints": list(range(first, first + len(animation.names))),
            "skeleton": first,
        }
    )


def quaternions_xyzw(turns: np.ndarray) -> np.ndarray:
    """Unit quaternions (F, 4) of rotations (F, 3, 3), each on the side of the one before."""
    quaternions = Rotation.from_matrix(turns).as_quat()
    flips = np.cumprod(np.where(np.sum(quaternions[1:] * quaternions[:-1], axis=1) < 0, -1.0, 1.0))
    quaternions[1:] *= flips[:, None]
    return quaternions
