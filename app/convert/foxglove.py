"""Foxglove's SceneUpdate as JSON: a hand is spheres and lines.

https://docs.foxglove.dev/docs/sdk/schemas/scene-update
"""

import numpy as np

from app.convert.hand_recording import arm_bones
from app.viewer import palette
from app.viewer.skeleton import BONES, joint_colours
from calibration.hand import Side

SCENE_UPDATE = "foxglove.SceneUpdate"
_JOINT_M, _BONE_M = 0.008, 0.004
_LINE_LIST, _MATCHING_ID = 2, 0
_UNUSED = ("metadata", "arrows", "cubes", "cylinders", "triangles", "texts", "models")


def _object(**properties: dict) -> dict:
    return {"type": "object", "properties": properties}


def _array(items: dict) -> dict:
    return {"type": "array", "items": items}


_NUMBER, _WHOLE, _TEXT, _TRUTH = ({"type": name} for name in ("number", "integer", "string", "boolean"))
_TIME = _object(sec=_WHOLE, nsec=_WHOLE)
_VECTOR = _object(x=_NUMBER, y=_NUMBER, z=_NUMBER)
_POSE = _object(position=_VECTOR, orientation=_object(x=_NUMBER, y=_NUMBER, z=_NUMBER, w=_NUMBER))
_COLOUR = _object(r=_NUMBER, g=_NUMBER, b=_NUMBER, a=_NUMBER)
_SPHERE = _object(pose=_POSE, size=_VECTOR, color=_COLOUR)
_LINE = _object(
    type=_WHOLE, pose=_POSE, thickness=_NUMBER, scale_invariant=_TRUTH, points=_array(_VECTOR), color=_COLOUR,
    colors=_array(_COLOUR), indices=_array(_WHOLE),
)  # fmt: skip
_ENTITY = _object(
    timestamp=_TIME, frame_id=_TEXT, id=_TEXT, lifetime=_TIME, frame_locked=_TRUTH, spheres=_array(_SPHERE),
    lines=_array(_LINE), **{name: _array(_object()) for name in _UNUSED},
)  # fmt: skip
SCENE_SCHEMA = {
    "title": SCENE_UPDATE,
    **_object(
        deletions=_array(_object(timestamp=_TIME, type=_WHOLE, id=_TEXT)),
        entities=_array(_ENTITY),
    ),
}
"""The part of Foxglove's own schema that is written here."""
_NUMBERS_OR_NULL = _array({"type": ["number", "null"]})
_ARM_NUMBERS = ("elbow_world_m", "elbow_std_m", "shoulder_world_m", "shoulder_std_m", "wrist_deg", "wrist_std_deg")
_ARM = {**_object(side=_TEXT, **dict.fromkeys(_ARM_NUMBERS, _NUMBERS_OR_NULL)), "type": ["object", "null"]}


def numbers_schema(arms: bool) -> dict:
    """Of what is to be plotted; with `arms` each hand has its `arm`, null in frames that know none."""
    hand = _object(
        name=_TEXT,
        hand=_TEXT,
        track=_WHOLE,
        filled=_TRUTH,
        joints_world_m=_array(_array(_NUMBER)),
        std_m=_array({"type": ["array", "null"], "items": _NUMBER}),
        confidence=_array(_NUMBER),
        angles_deg={"type": "object", "additionalProperties": {"type": ["number", "null"]}},
        **({"arm": _ARM} if arms else {}),
    )
    return {"title": "usthand.Hands", **_object(frame=_WHOLE, hands=_array(hand))}


_AT_ORIGIN = {"position": {"x": 0, "y": 0, "z": 0}, "orientation": {"x": 0, "y": 0, "z": 0, "w": 1}}


def scene_entity(
    name: str, side: Side, joints_world_m: np.ndarray, arm_world_m: np.ndarray, time_ns: int, *, grey: bool
) -> dict:
    """A hand with joints (21, 3) and an arm (n, 3) from the elbow on, which replaces the one of the same name."""
    colours = np.tile(palette.STALE, (21, 1)) if grey else joint_colours(side)
    points_m = np.concatenate([joints_world_m, arm_world_m])
    colours = np.concatenate([colours, np.tile(colours[0], (len(arm_world_m), 1))])
    bones = [*BONES, *arm_bones(len(arm_world_m))]
    spheres = [
        {
            "pose": {**_AT_ORIGIN, "position": _vector(place_m)},
            "size": _vector(np.full(3, _JOINT_M)),
            "color": _colour(colour),
        }
        for place_m, colour in zip(points_m, colours, strict=True)
    ]
    lines = {
        "type": _LINE_LIST,
        "pose": _AT_ORIGIN,
        "thickness": _BONE_M,
        "scale_invariant": False,
        "points": [_vector(points_m[joint]) for bone in bones for joint in bone],
        "color": _colour(colours[0]),
        "colors": [_colour(colours[bone[1]]) for bone in bones for _ in bone],
        "indices": [],
    }
    return {
        "timestamp": _time(time_ns),
        "frame_id": "world",
        "id": name,
        "lifetime": {"sec": 0, "nsec": 0},
        "frame_locked": False,
        "spheres": spheres,
        "lines": [lines],
        **{unused: [] for unused in _UNUSED},
    }


def removed_entity(name: str, time_ns: int) -> dict:
    return {"timestamp": _time(time_ns), "type": _MATCHING_ID, "id": name}


def _time(time_ns: int) -> dict:
    sec, nsec = divmod(max(time_ns, 0), 10**9)
    return {"sec": sec, "nsec": nsec}


def _vector(values: np.ndarray) -> dict:
    return {axis: round(float(value), 7) for axis, value in zip("xyz", values, strict=True)}


def _colour(rgb: np.ndarray) -> dict:
    return {**{name: round(float(value), 4) for name, value in zip("rgb", rgb, strict=True)}, "a": 1.0}
