"""The surface of a hand: what of the hand model's mesh never changes, and the colours and normals of a posed one."""

import numpy as np
from scipy.sparse import csr_array

from app.transport.messages import HandPose
from app.viewer import palette
from app.viewer.shading import Shape
from app.viewer.uncertainty import std_rgb
from models.hand.mesh import load_mesh
from models.hand.skeleton import BONE_JOINTS, REST_JOINTS_M

_CREASE, _LIGHTEST, _DARKEST = 0.08, 0.06, 0.22


class HandSurface:
    """The mesh that the worker fits: N vertices, `triangles` (F, 3) of a right hand; a left hand's face inwards."""

    def __init__(self) -> None:
        mesh = load_mesh()
        self.triangles = mesh.faces
        self.count = len(mesh.rest_vertices_m)
        self._joint_weights = joint_weights(mesh.rest_vertices_m, mesh.weights)
        self._skin_rgb = _mixed(_mixed(palette.SKIN, palette.PALM, mesh.palm), palette.NAIL, mesh.nail)
        # Rows: vertices. Columns: the triangles at it, the vertices beside it.
        corners, faces = self.triangles.ravel(), np.repeat(np.arange(len(self.triangles)), 3)
        self._at_vertex = csr_array((np.ones(len(corners)), (corners, faces)), (self.count, len(self.triangles)))
        edges = np.unique(np.concatenate([self.triangles[:, pair] for pair in ([0, 1], [1, 2], [2, 0])]), axis=0)
        degree = np.bincount(edges[:, 0], minlength=self.count)
        self._neighbours = csr_array((1 / degree[edges[:, 0]], edges.T), (self.count, self.count))

    def vertices_of(self, pose: HandPose) -> np.ndarray | None:
        """Vertices (N, 3), world metres, of a message; None where it has none, or those of another mesh."""
        data = pose.vertices_world_m
        if data is None or len(data) != self.count * 12:
            return None
        vertices_m = np.frombuffer(data, "<f4").reshape(-1, 3).astype(np.float64)
        return vertices_m if np.isfinite(vertices_m).all() else None

    def shape(self, side: str, vertices_m: np.ndarray, std_m: np.ndarray | None) -> Shape:
        """The shape at vertices (N, 3), coloured by the joints' standard deviations (21,), or as skin without them."""
        a, b, c = (vertices_m[self.triangles[:, corner]] for corner in range(3))
        # A triangle counts by its area.
        normals = self._at_vertex @ np.cross(b - a, c - a)
        normals *= (1 if side == "right" else -1) / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        if std_m is not None:
            return Shape(vertices_m, normals, std_rgb(self._joint_weights @ np.minimum(std_m, 1.0)))
        # Creases of skin are a little darker, ridges lighter: how far a vertex lies below its neighbours' mean.
        inwards_m = self._neighbours @ vertices_m - vertices_m
        crease = np.einsum("ij,ij->i", inwards_m, normals) / np.sqrt(np.mean(inwards_m**2) + 1e-12)
        darker = np.clip(_CREASE * crease, -_LIGHTEST, _DARKEST)
        return Shape(vertices_m, normals, self._skin_rgb * (1 - darker)[:, None])


def joint_weights(rest_vertices_m: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """How much each of the 21 joints counts at each vertex (N, 21), from the skinning weights (N, 16).

    What belongs to a finger's bone is shared by the bone's two joints along its length; what belongs to the palm by
    the wrist and the fingers' first joints, nearest first.
    """
    joints_m = REST_JOINTS_M
    result = np.zeros((len(rest_vertices_m), 21))
    palm = [0, *range(1, 21, 4)]
    near = 1 / (np.square(rest_vertices_m[:, None] - joints_m[palm]).sum(axis=2) + 1e-6)
    result[:, palm] = weights[:, :1] * near / near.sum(axis=1, keepdims=True)
    for bone, joint in enumerate(BONE_JOINTS[1:], start=1):
        along_m = joints_m[joint + 1] - joints_m[joint]
        share = np.clip((rest_vertices_m - joints_m[joint]) @ along_m / (along_m @ along_m), 0, 1)
        result[:, joint] += weights[:, bone] * (1 - share)
        result[:, joint + 1] += weights[:, bone] * share
    return result


def _mixed(rgb: np.ndarray, other_rgb: np.ndarray, share: np.ndarray) -> np.ndarray:
    return rgb + (other_rgb - rgb) * share[:, None]
