"""The mesh that a skeleton moves: of the built-in hand, in a person's shape."""

from dataclasses import dataclass

import numpy as np

from app.convert.hand_recording import RecordedHand
from models.hand.builtin import BuiltinHand, mirror_of
from models.hand.skeleton import BONE_JOINTS

INFLUENCES = 4
"""Joints that a vertex follows, at most."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SkinnedMesh:
    """A hand in the rest pose, the wrist in the origin."""

    vertices_m: np.ndarray
    """(N, 3)"""
    normals: np.ndarray
    """(N, 3)"""
    faces: np.ndarray
    """(F, 3), counter-clockwise seen from outside."""
    joints: np.ndarray
    """(N, 4): numbers of calibration.hand; where the weight is 0, the wrist."""
    weights: np.ndarray
    """(N, 4): rows sum to 1."""


def skinned_mesh(hand: RecordedHand, axes: np.ndarray) -> SkinnedMesh:
    """The mesh of a fitted hand, in axes (3, 3) @ its frame, as skeleton_animation has its rest pose."""
    model = BuiltinHand(hand.side)
    to_file = axes @ np.diag(mirror_of(hand.side))
    vertices = model.rest_vertices(hand.fit.shape) @ to_file.T
    strongest = np.argsort(-model.mesh.weights, axis=1, kind="stable")[:, :INFLUENCES]
    weights = np.take_along_axis(model.mesh.weights, strongest, axis=1)
    weights /= weights.sum(axis=1, keepdims=True)
    return SkinnedMesh(
        vertices_m=vertices,
        normals=_normals(vertices, model.faces),
        faces=model.faces,
        joints=np.where(weights > 0, BONE_JOINTS[strongest], 0),
        weights=weights,
    )


def _normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(N, 3): of the faces around each vertex, weighted by their area."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    of_faces = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], of_faces)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
