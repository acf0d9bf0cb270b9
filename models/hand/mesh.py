"""The built-in hand's mesh, read from the package."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

MESH_FILE = Path(__file__).with_name("hand_mesh.npz")


@dataclass(frozen=True, eq=False, kw_only=True)
class HandMesh:
    """A right hand in skeleton.REST_ANGLES_RAD at the mean shape, in the hand frame."""

    rest_vertices_m: np.ndarray
    """(N, 3)"""
    faces: np.ndarray
    """(F, 3) int32, counter-clockwise seen from outside."""
    weights: np.ndarray
    """(N, 16): rows sum to 1."""
    nail: np.ndarray
    """(N,): 1 on fingernails, 0 elsewhere."""
    palm: np.ndarray
    """(N,): 1 on the palmar side, 0 on the back."""
    tips: np.ndarray
    """(5,): the vertex at each finger's tip."""


def load_mesh(path: Path = MESH_FILE) -> HandMesh:
    """The mesh that the package carries, written by models.tools.build_mesh."""
    with np.load(path) as arrays:
        weights = arrays["weights"].astype(np.float64)
        return HandMesh(
            rest_vertices_m=arrays["rest_vertices_m"].astype(np.float64),
            faces=arrays["faces"].astype(np.int32),
            weights=weights / weights.sum(axis=1, keepdims=True),
            nail=arrays["nail"].astype(np.float64),
            palm=arrays["palm"].astype(np.float64),
            tips=arrays["tips"].astype(np.int64),
        )
