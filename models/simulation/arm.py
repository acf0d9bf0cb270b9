"""A forearm behind the built-in hand, and its wrist's bend: what a camera sees of a person besides the hand."""

from dataclasses import replace
from functools import lru_cache

import numpy as np

from calibration.hand import Side
from models.hand.builtin import BuiltinHand
from models.hand.mesh import HandMesh, load_mesh

_CUT_M = -0.045
_RING_POINTS = 28
# Distance behind the wrist, and the width and depth there relative to the cut: a mean adult's forearm and a bit more,
# round at its end.
_PROFILE = np.array(
    [[0.052, 1.0, 1.0], [0.06, 1.01, 1.02], [0.072, 1.03, 1.08], [0.088, 1.06, 1.16], [0.11, 1.12, 1.28],
     [0.14, 1.22, 1.45], [0.18, 1.34, 1.62], [0.23, 1.42, 1.75], [0.29, 1.42, 1.80], [0.35, 1.40, 1.75],
     [0.38, 1.3, 1.6], [0.395, 1.0, 1.25], [0.40, 0.6, 0.75]]
)  # fmt: skip
# The wrist bends between here in the hand frame's x.
_BENT_M, _STRAIGHT_M = -0.030, 0.012


@lru_cache(maxsize=2)
def arm_model(side: Side) -> BuiltinHand:
    """The built-in hand with a forearm, rigid as the hand's palm is; `bend_wrist` bends it. Vertices that the plain
    hand has before its cut keep their places and order."""
    return BuiltinHand(side, _arm_mesh())


def bend_wrist(
    vertices_m: np.ndarray, model: BuiltinHand, T_world_hand: np.ndarray, flexion_rad: float, deviation_rad: float
) -> np.ndarray:
    """Vertices (N, 3) of `model` in world metres with the forearm turned about the wrist.

    Flexion is positive where palm and forearm come closer, deviation where the thumb does.
    """
    x = model.mesh.rest_vertices_m[:, 0]
    behind = np.flatnonzero((x < _STRAIGHT_M) & (model.mesh.weights[:, 0] > 0.5))
    share = np.clip((_STRAIGHT_M - x[behind]) / (_STRAIGHT_M - _BENT_M), 0, 1)
    share = share * share * (3 - 2 * share)
    R, wrist = T_world_hand[:3, :3], T_world_hand[:3, 3]
    x, y, z = ((vertices_m[behind] - wrist) @ R).T
    sin, cos = np.sin(share * flexion_rad), np.cos(share * flexion_rad)
    x, z = cos * x - sin * z, cos * z + sin * x
    turn = share * (deviation_rad if model.side == "right" else -deviation_rad)
    sin, cos = np.sin(turn), np.cos(turn)
    x, y = cos * x + sin * y, cos * y - sin * x
    bent = vertices_m.copy()
    bent[behind] = np.stack([x, y, z], axis=1) @ R.T + wrist
    return bent


@lru_cache(maxsize=1)
def _arm_mesh() -> HandMesh:
    """The hand's mesh with its stub cut off and a forearm sewn on."""
    hand = load_mesh()
    kept = ~(hand.rest_vertices_m[hand.faces][..., 0] < _CUT_M).any(axis=1)
    used = np.unique(hand.faces[kept])
    renumbered = np.full(len(hand.rest_vertices_m), -1)
    renumbered[used] = np.arange(len(used))
    faces = renumbered[hand.faces[kept]]
    vertices = hand.rest_vertices_m[used]

    rim = _rim(faces)
    angles = np.arctan2(vertices[rim, 2] - _middle(vertices[rim])[2], vertices[rim, 1] - _middle(vertices[rim])[1])
    rim = rim[np.argsort(angles)]
    around = np.sort(angles)
    ring_angles = -np.pi + 2 * np.pi * (np.arange(_RING_POINTS) + 0.5) / _RING_POINTS
    outline = np.stack([np.interp(ring_angles, around, vertices[rim, axis], period=2 * np.pi) for axis in (1, 2)], 1)
    middle = outline.mean(axis=0)
    rings = [
        np.column_stack([np.full(_RING_POINTS, -behind), middle + (outline - middle) * (wide, deep)])
        for behind, wide, deep in _PROFILE
    ]
    first = len(vertices)
    added = [_sewn(rim, around, first + np.arange(_RING_POINTS), ring_angles)]
    for index in range(len(rings) - 1):
        a = first + index * _RING_POINTS + np.arange(_RING_POINTS)
        b = np.roll(a, -1)
        added += [np.stack([b, a, a + _RING_POINTS], 1), np.stack([b + _RING_POINTS, b, a + _RING_POINTS], 1)]
    end = first + len(rings) * _RING_POINTS
    last = end - _RING_POINTS + np.arange(_RING_POINTS)
    added.append(np.stack([np.roll(last, -1), last, np.full(_RING_POINTS, end)], 1))
    cap = [[rings[-1][0, 0] - 0.003, *middle]]

    new = np.concatenate([*rings, cap])
    weights = np.zeros((len(new), hand.weights.shape[1]))
    weights[:, 0] = 1
    depth = (new[:, 2] - middle[1]) / np.abs(new[:, 2] - middle[1]).max()
    return replace(
        hand,
        rest_vertices_m=np.concatenate([vertices, new]),
        faces=np.concatenate([faces, *added]).astype(np.int32),
        weights=np.concatenate([hand.weights[used], weights]),
        nail=np.concatenate([hand.nail[used], np.zeros(len(new))]),
        palm=np.concatenate([hand.palm[used], np.clip(0.5 - 2 * depth, 0, 1)]),
        tips=renumbered[hand.tips],
    )


def _middle(points: np.ndarray) -> np.ndarray:
    return (points.min(axis=0) + points.max(axis=0)) / 2


def _rim(faces: np.ndarray) -> np.ndarray:
    """The vertices of edges that only one face has."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    edges, counts = np.unique(edges, axis=0, return_counts=True)
    return np.unique(edges[counts == 1])


def _sewn(front: np.ndarray, front_angles: np.ndarray, back: np.ndarray, back_angles: np.ndarray) -> np.ndarray:
    """Faces between two closed rows of vertices, each in the order of its angles, stepping on where the angle is
    smaller."""
    i, j, faces = 0, 0, []
    ahead, behind = (
        np.append(front_angles, front_angles[0] + 2 * np.pi),
        np.append(back_angles, back_angles[0] + 2 * np.pi),
    )
    while i < len(front) or j < len(back):
        a, b = front[i % len(front)], back[j % len(back)]
        if j == len(back) or (i < len(front) and ahead[i + 1] <= behind[j + 1]):
            i += 1
            faces.append([front[i % len(front)], a, b])
        else:
            j += 1
            faces.append([back[j % len(back)], a, b])
    return np.array(faces)
