"""The joints that are measured and the line between them, in front of all else."""

import numpy as np
import open3d as o3d

from app.viewer import palette
from app.viewer.geometry import Mesh
from app.viewer.skeleton_mesh import BALL, ball_triangles, tube_triangles, tubes
from app.viewer.view import Viewpoint

_TOWARDS_EYE = 0.3
_BALL_SIZE, _LINE_SIZE = 0.008, 0.0016


class Ruler:
    """Two balls and a thin tube; `scale_m` is the rig's size."""

    def __init__(self, window: o3d.visualization.Visualizer, scale_m: float) -> None:
        self._ball_m, self._line_m = _BALL_SIZE * scale_m, _LINE_SIZE * scale_m
        triangles = [ball_triangles(2), tube_triangles(1) + 2 * len(BALL)]
        rings = tubes(np.zeros((1, 3)), np.ones((1, 3)), np.ones(1), np.ones(1))[0].size // 3
        self._mesh = Mesh(window, np.concatenate(triangles).astype(np.int32), 2 * len(BALL) + rings)

    def update(self, view: Viewpoint, places_m: np.ndarray) -> None:
        """Show it at up to two joints (0 to 2, 3)."""
        if len(places_m):
            ends_m = np.array([places_m[0], places_m[-1]])
            balls = (ends_m[:, None] + self._ball_m * BALL).reshape(-1, 3)
            radius_m = np.full(1, self._line_m if len(places_m) > 1 else 0.0)
            line = tubes(ends_m[:1], ends_m[1:], radius_m, radius_m)[0].reshape(-1, 3)
            vertices_m = np.concatenate([balls, line])
            self._mesh.set(view.nearer(vertices_m, _TOWARDS_EYE), palette.WARNING)
        self._mesh.show(len(places_m) > 0)
