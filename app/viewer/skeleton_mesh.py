"""A hand's skeleton as one smooth mesh of balls and tapered bones, with its colours.

The topology never changes, so that a new pose only replaces vertices and colours.
"""

import numpy as np
import open3d as o3d

from app.viewer import palette
from app.viewer.shading import Shape
from app.viewer.skeleton import BONES, FINGER_BONES, RADIUS_OF_JOINT, joint_colours, palm_length_m

_SIDES = 12
_RINGS = 3
_BONE_THICKNESS = 0.80
_PALM_THICKNESS = 0.55
_UNSURE = 0.35


def _ball(subdivisions: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit sphere: vertices (N, 3) and triangles (M, 3), by splitting an octahedron."""
    mesh = o3d.geometry.TriangleMesh.create_octahedron().subdivide_midpoint(subdivisions)
    vertices = np.asarray(mesh.vertices)
    return vertices / np.linalg.norm(vertices, axis=1, keepdims=True), np.asarray(mesh.triangles)


BALL, BALL_TRIANGLES = _ball(2)
_ANGLES = np.arange(_SIDES) * 2 * np.pi / _SIDES
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
_ALONG = np.linspace(0, 1, _RINGS)


def _tube_triangles() -> np.ndarray:
    triangles = []
    for ring in range(_RINGS - 1):
        for side in range(_SIDES):
            a, b = ring * _SIDES + side, ring * _SIDES + (side + 1) % _SIDES
            triangles += [(a, b, a + _SIDES), (b, b + _SIDES, a + _SIDES)]
    return np.array(triangles, dtype=np.int32)


def tubes(
    start_m: np.ndarray, end_m: np.ndarray, start_radius_m: np.ndarray, end_radius_m: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Open tapered tubes between points (B, 3): vertices and normals, each (B, rings, sides, 3)."""
    axis = end_m - start_m
    length = np.linalg.norm(axis, axis=1, keepdims=True)
    axis = np.where(length > 1e-9, axis / np.maximum(length, 1e-9), [0.0, 0.0, 1.0])
    helper = np.where(np.abs(axis[:, 2:]) < 0.9, [0.0, 0.0, 1.0], [1.0, 0.0, 0.0])
    u = np.cross(helper, axis)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    v = np.cross(axis, u)
    normals = _CIRCLE[None, :, :1] * u[:, None] + _CIRCLE[None, :, 1:] * v[:, None]
    centres = start_m[:, None] + _ALONG[None, :, None] * (end_m - start_m)[:, None]
    radii = start_radius_m[:, None] + _ALONG[None] * (end_radius_m - start_radius_m)[:, None]
    vertices = centres[:, :, None] + radii[:, :, None, None] * normals[:, None]
    return vertices, np.broadcast_to(normals[:, None], vertices.shape)


def tube_triangles(count: int) -> np.ndarray:
    """Triangles (M, 3) of `count` tubes as `tubes` orders their vertices."""
    single = _tube_triangles()
    return (single[None] + (np.arange(count) * _RINGS * _SIDES)[:, None, None]).reshape(-1, 3)


def ball_triangles(count: int) -> np.ndarray:
    """Triangles (M, 3) of `count` balls, the vertices of each after those of the one before."""
    return (BALL_TRIANGLES[None] + (np.arange(count) * len(BALL))[:, None, None]).reshape(-1, 3)


def _skeleton_triangles() -> np.ndarray:
    return np.concatenate([ball_triangles(21), tube_triangles(len(BONES)) + 21 * len(BALL)]).astype(np.int32)


SKELETON_TRIANGLES = _skeleton_triangles()
"""Triangles (M, 3) of every skeleton."""
SKELETON_VERTICES = 21 * len(BALL) + len(BONES) * _RINGS * _SIDES
FIRST_BONE_VERTEX = 21 * len(BALL)
BONE_TRIANGLES = tube_triangles(len(BONES)).astype(np.int32)
"""Triangles of the bones alone, whose vertices start at FIRST_BONE_VERTEX."""


def skeleton_shape(hand: str, joints_world_m: np.ndarray, confidence: np.ndarray, thickness: float = 1.0) -> Shape:
    """The skeleton of one hand from joints (21, 3) in world metres and confidence (21,) in [0, 1].

    `thickness` multiplies all radii. An unsure joint turns grey. A joint that is not finite vanishes, and the bones at
    it.
    """
    known = np.all(np.isfinite(joints_world_m), axis=1)
    middle = joints_world_m[known].mean(axis=0) if known.any() else np.zeros(3)
    joints_m = np.where(known[:, None], joints_world_m, middle)
    radius_m = RADIUS_OF_JOINT * palm_length_m(joints_m) * known * thickness

    balls = joints_m[:, None] + radius_m[:, None, None] * BALL
    first, last = BONES.T
    bone_known = known[first] & known[last]
    share = np.where(np.arange(len(BONES)) < len(FINGER_BONES), _BONE_THICKNESS, _PALM_THICKNESS) * bone_known
    # The wrist's ball is wide; five bones of its width would fill the palm.
    start_radius_m = np.where(first == 0, radius_m[last] * 0.8, radius_m[first]) * share
    start_m = joints_m[first]
    end_m = np.where(bone_known[:, None], joints_m[last], start_m)
    bones, bone_normals = tubes(start_m, end_m, start_radius_m, radius_m[last] * share)

    sure = np.clip(np.nan_to_num(confidence), 0, 1)[:, None]
    colours = joint_colours(hand)
    colours = palette.STALE + (colours - palette.STALE) * (_UNSURE + (1 - _UNSURE) * sure)
    ball_rgb = np.repeat(colours + (1 - colours) * 0.22, len(BALL), axis=0)
    palm = np.arange(len(BONES)) >= len(FINGER_BONES)
    start_rgb = np.where(palm[:, None], colours[0], colours[first])
    end_rgb = np.where(palm[:, None], colours[0], colours[last])
    bone_rgb = start_rgb[:, None] + _ALONG[None, :, None] * (end_rgb - start_rgb)[:, None]
    bone_rgb = np.repeat(bone_rgb[:, :, None], _SIDES, axis=2)
    return Shape(
        np.concatenate([balls.reshape(-1, 3), bones.reshape(-1, 3)]),
        np.concatenate([np.tile(BALL, (21, 1)), bone_normals.reshape(-1, 3)]),
        np.concatenate([ball_rgb, bone_rgb.reshape(-1, 3)]),
    )
