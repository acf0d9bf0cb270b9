"""Each joint's uncertainty as the ellipsoid in which it lies with 95 %."""

import numpy as np
import open3d as o3d

from app.transport.messages import HandPose
from app.viewer.geometry import Mesh
from app.viewer.shading import shade
from app.viewer.skeleton_mesh import BALL, ball_triangles
from app.viewer.uncertainty import joint_std_m, principal_axes, std_rgb
from app.viewer.view import Viewpoint

REACH_STD = 2.795
"""The root of the 95 % quantile of the chi-squared distribution with three degrees of freedom, 7.815."""
_TOWARDS_EYE = 0.4


class HandEllipsoids:
    """The 21 ellipsoids of one hand, drawn in front of the mesh that they lie in."""

    def __init__(self, window: o3d.visualization.Visualizer) -> None:
        self._mesh = Mesh(window, ball_triangles(21).astype(np.int32), 21 * len(BALL))
        self._vertices_m = self._normals = self._rgb = np.zeros((21 * len(BALL), 3))

    def set(self, pose: HandPose) -> None:
        covariance_m2 = np.array(pose.covariance_m2)
        vertices_m, normals = ellipsoids(np.array(pose.joints_world_m), covariance_m2)
        self._vertices_m, self._normals = vertices_m.reshape(-1, 3), normals.reshape(-1, 3)
        self._rgb = np.repeat(std_rgb(np.minimum(joint_std_m(covariance_m2), 1.0)), len(BALL), axis=0)

    def draw(self, view: Viewpoint) -> None:
        """Light them for a view, nearer to the eye."""
        vertices_m = view.nearer(self._vertices_m, _TOWARDS_EYE)
        self._mesh.set(vertices_m, shade(self._rgb, self._normals, view.T_view_world[:3, :3]))

    def show(self, visible: bool) -> None:
        self._mesh.show(visible)


def ellipsoids(joints_world_m: np.ndarray, covariance_m2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and unit normals (21, N, 3) of the 95 % ellipsoids of joints (21, 3) with covariance (21, 3, 3).

    Where either is not finite the vertices are at one point.
    """
    known = np.all(np.isfinite(joints_world_m), axis=1) & np.all(np.isfinite(covariance_m2), axis=(1, 2))
    middle = joints_world_m[known].mean(axis=0) if known.any() else np.zeros(3)
    joints_m = np.where(known[:, None], joints_world_m, middle)
    covariance_m2 = np.where(known[:, None, None], covariance_m2, 0.0)
    std_m, axes = principal_axes(covariance_m2)
    vertices_m = joints_m[:, None] + REACH_STD * np.einsum("jab,jb,nb->jna", axes, std_m, BALL)
    normals = np.einsum("jab,jb,nb->jna", axes, 1 / np.maximum(std_m, 1e-6), BALL)
    return vertices_m, normals / np.linalg.norm(normals, axis=2, keepdims=True)
