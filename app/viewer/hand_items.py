"""One hand in the scene: its mesh, its skeleton, and its shadow on the ground."""

import numpy as np
import open3d as o3d

from app.transport.messages import HandPose
from app.viewer import palette
from app.viewer.ellipsoids import HandEllipsoids
from app.viewer.geometry import Mesh
from app.viewer.hand_surface import HandSurface
from app.viewer.shading import Shape, shade
from app.viewer.skeleton_mesh import (
    BONE_TRIANGLES,
    FIRST_BONE_VERTEX,
    SKELETON_TRIANGLES,
    SKELETON_VERTICES,
    skeleton_shape,
)
from app.viewer.stage import Stage, on_ground
from app.viewer.state import Toggles
from app.viewer.uncertainty import joint_std_m
from app.viewer.view import Viewpoint

_STALE_SHARE = 0.85
_INSIDE_THICKNESS = 0.45
_TOWARDS_EYE = 0.5


class HandItems:
    """Shows the newest pose of a hand. A hand without vertices is shown as a skeleton."""

    def __init__(self, window: o3d.visualization.Visualizer, stage: Stage, surface: HandSurface) -> None:
        self._stage, self._surface = stage, surface
        self._mesh = Mesh(window, surface.triangles, surface.count)
        self._mesh_shadow = Mesh(window, surface.triangles, surface.count)
        self._skeleton = Mesh(window, SKELETON_TRIANGLES, SKELETON_VERTICES)
        self._skeleton_shadow = Mesh(window, BONE_TRIANGLES, SKELETON_VERTICES - FIRST_BONE_VERTEX)
        self._ellipsoids = HandEllipsoids(window)
        self._pose: HandPose | None = None
        self._vertices_m: np.ndarray | None = None
        self._mesh_shape: Shape | None = None
        self._skeleton_shape: Shape | None = None
        self._made_for: tuple | None = None
        self._drawn_for: tuple | None = None
        self.recolour()

    def recolour(self) -> None:
        """Take the theme's colours."""
        for shadow in (self._mesh_shadow, self._skeleton_shadow):
            shadow.set(colours=palette.SHADOW)
        self._made_for = None

    def set(self, pose: HandPose | None) -> None:
        """A new pose; None where there is none."""
        self._pose, self._made_for = pose, None
        self._vertices_m = None if pose is None else self._surface.vertices_of(pose)

    def update(self, view: Viewpoint, toggles: Toggles, stale: bool, gone: bool, with_shadow: bool) -> None:
        """Show what is switched on, lit from the view; grey where the hand was not seen in its set."""
        stale = stale or (self._pose is not None and self._pose.state != "seen")
        there = self._pose is not None and not gone
        mesh = there and toggles.mesh and self._vertices_m is not None
        skeleton = there and (toggles.skeleton or (toggles.mesh and not mesh))
        ellipsoids = there and toggles.ellipsoids and not stale
        made_for = (mesh, skeleton, ellipsoids, toggles.uncertainty)
        if made_for != self._made_for:
            self._made_for, self._drawn_for = made_for, None
            self._make(mesh, skeleton, toggles.uncertainty)
            if ellipsoids and self._pose is not None:
                self._ellipsoids.set(self._pose)
        drawn_for = (view.T_view_world.tobytes(), stale)
        if drawn_for != self._drawn_for:
            self._drawn_for = drawn_for
            self._draw(view, stale, skin=not toggles.uncertainty)
            if ellipsoids:
                self._ellipsoids.draw(view)
        self._mesh.show(mesh)
        self._mesh_shadow.show(mesh and with_shadow)
        self._skeleton.show(skeleton)
        self._skeleton_shadow.show(skeleton and not mesh and with_shadow)
        self._ellipsoids.show(ellipsoids)

    def _make(self, mesh: bool, skeleton: bool, uncertainty: bool) -> None:
        self._mesh_shape = self._skeleton_shape = None
        if self._pose is None:
            return
        above_m = 0.002 * self._stage.scale_m
        if mesh and self._vertices_m is not None:
            std_m = joint_std_m(np.array(self._pose.covariance_m2)) if uncertainty else None
            self._mesh_shape = self._surface.shape(self._pose.hand, self._vertices_m, std_m)
            self._mesh.set(self._vertices_m)
            self._mesh_shadow.set(on_ground(self._stage, self._vertices_m, above_m))
        if skeleton:
            joints_m, confidence = np.array(self._pose.joints_world_m), np.array(self._pose.confidence)
            thickness = _INSIDE_THICKNESS if mesh else 1.0
            self._skeleton_shape = skeleton_shape(self._pose.hand, joints_m, confidence, thickness)
            bones_m = self._skeleton_shape.vertices_world_m[FIRST_BONE_VERTEX:]
            self._skeleton_shadow.set(on_ground(self._stage, bones_m, above_m))

    def _draw(self, view: Viewpoint, stale: bool, skin: bool) -> None:
        R_view_world = view.T_view_world[:3, :3]
        if self._mesh_shape is not None:
            base_rgb = _greyed(self._mesh_shape.base_rgb, stale)
            self._mesh.set(colours=shade(base_rgb, self._mesh_shape.normals, R_view_world, skin))
        if self._skeleton_shape is not None:
            shape = self._skeleton_shape
            vertices_m = shape.vertices_world_m
            if self._mesh_shape is not None:
                vertices_m = view.nearer(vertices_m, _TOWARDS_EYE)  # in front of the mesh that it lies in
            self._skeleton.set(vertices_m, shade(_greyed(shape.base_rgb, stale), shape.normals, R_view_world))


def _greyed(base_rgb: np.ndarray, stale: bool) -> np.ndarray:
    return base_rgb + (palette.STALE - base_rgb) * _STALE_SHARE if stale else base_rgb
