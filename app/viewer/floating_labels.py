"""Texts that float beside things in the scene, in front of them and always facing the eye."""

import numpy as np
import open3d as o3d

from app.viewer.geometry import TWO_TRIANGLES, Mesh
from app.viewer.text_quads import text_quads
from app.viewer.view import Viewpoint

_SIZE = 18

Label = tuple[str, np.ndarray, np.ndarray]
"""Text, place (3,) in world metres, colour."""


class FloatingLabels:
    """All labels as one mesh, `depth_m` before the eye."""

    def __init__(self, window: o3d.visualization.Visualizer, depth_m: float) -> None:
        self._window, self._depth_m = window, depth_m
        self._mesh: Mesh | None = None
        self._quads: list[np.ndarray] = []
        self._made_for: tuple | None = None

    def update(self, view: Viewpoint, labels: list[Label], scale: float) -> None:
        """Show these labels, and no others, where their places are for a view."""
        wanted = (scale, [(text, colour.tobytes()) for text, _, colour in labels])
        if wanted != self._made_for:
            self._make(labels, scale)
            self._made_for = wanted
        if self._mesh is None:
            return
        corners = []
        for quads, (_, place_m, _) in zip(self._quads, labels, strict=True):
            pixel = view.project(place_m)
            # What is behind the eye goes out of the picture.
            pixel = np.round(np.nan_to_num(np.clip(pixel, -1e4, 1e4), nan=-1e4))
            corners.append(view.at_depth(quads + pixel, self._depth_m).reshape(-1, 3))
        self._mesh.set(np.concatenate(corners))
        self._mesh.show(True)

    def _make(self, labels: list[Label], scale: float) -> None:
        if self._mesh is not None:
            self._mesh.show(False)
            self._mesh = None
        if not labels:
            return
        self._quads = [text_quads(text, _SIZE * scale) for text, _, _ in labels]
        counts = [len(quads) for quads in self._quads]
        first = np.arange(sum(counts))[:, None, None] * 4
        triangles = (first + TWO_TRIANGLES).reshape(-1, 3).astype(np.int32)
        self._mesh = Mesh(self._window, triangles, 4 * sum(counts))
        colours = np.repeat([colour for _, _, colour in labels], 4 * np.array(counts), axis=0)
        self._mesh.set(np.zeros((4 * sum(counts), 3)), colours)
