"""Linear blend skinning: each vertex follows its bones by its weights."""

import numpy as np


def skinning_matrix(rest_vertices_m: np.ndarray, weights: np.ndarray, rest_joints_m: np.ndarray) -> np.ndarray:
    """What stays the same while a mesh moves: a matrix (N, 4 B) for `skin`.

    rest_vertices_m (N, 3), weights (N, B) whose rows sum to 1 and the bones' origins (B, 3) in the rest pose.
    """
    offsets = np.concatenate([rest_vertices_m[:, None] - rest_joints_m, np.ones((*weights.shape, 1))], axis=2)
    return (weights[..., None] * offsets).reshape(len(weights), -1)


def skin(matrix: np.ndarray, transforms: np.ndarray) -> np.ndarray:
    """Vertices (N, 3) for transforms (B, 4, 4) from offsets from a bone's rest origin, in rest axes, to the pose."""
    return matrix @ transforms[:, :3].swapaxes(1, 2).reshape(-1, 3)
