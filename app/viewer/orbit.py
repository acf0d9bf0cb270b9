"""How the mouse moves the eye: about a pivot, sideways, nearer, and around the direction of sight."""

from dataclasses import replace

import numpy as np

from app.viewer.view import Viewpoint
from calibration.rotations import make_transform, nearest_rotation, rotation_from_vector

_STEEPEST = np.cos(np.radians(3))
_PER_WHEEL_STEP = 0.9


def turned(view: Viewpoint, across_px: float, down_px: float, pivot_m: np.ndarray, up: np.ndarray) -> Viewpoint:
    """The eye turned about a pivot (3,): half a turn for a drag over the window's height. Not over the poles."""
    per_px = np.pi / view.height
    R_view_world = view.T_view_world[:3, :3]
    turn = rotation_from_vector(-across_px * per_px * up)
    tilt = rotation_from_vector(-down_px * per_px * R_view_world[0])
    steep = abs(float(tilt @ R_view_world[2] @ up))
    if steep < _STEEPEST or steep < abs(float(R_view_world[2] @ up)):
        turn = turn @ tilt
    eye_m = pivot_m + turn @ (view.eye_world_m - pivot_m)
    return _at(view, R_view_world @ turn.T, eye_m)


def moved(view: Viewpoint, across_px: float, down_px: float, pivot_m: np.ndarray) -> Viewpoint:
    """The eye moved sideways, so that the pivot follows the mouse."""
    R_view_world = view.T_view_world[:3, :3]
    depth_m = max(float(R_view_world[2] @ (pivot_m - view.eye_world_m)), 1e-3)
    shift = -np.array([across_px, down_px]) * depth_m / view.focal_px @ R_view_world[:2]
    return _at(view, R_view_world, view.eye_world_m + shift)


def zoomed(view: Viewpoint, steps: float, pivot_m: np.ndarray, nearest_m: float, farthest_m: float) -> Viewpoint:
    """The eye nearer to the pivot by steps of the wheel, or farther from it, within limits."""
    away = view.eye_world_m - pivot_m
    distance_m = max(float(np.linalg.norm(away)), 1e-6)
    wanted_m = float(np.clip(distance_m * _PER_WHEEL_STEP**steps, nearest_m, farthest_m))
    return _at(view, view.T_view_world[:3, :3], pivot_m + away * wanted_m / distance_m)


def rolled(view: Viewpoint, across_px: float) -> Viewpoint:
    """The picture turned in its plane."""
    turn = rotation_from_vector(np.array([0.0, 0.0, across_px * np.pi / view.height]))
    return _at(view, turn @ view.T_view_world[:3, :3], view.eye_world_m)


def shifted(view: Viewpoint, shift_m: np.ndarray) -> Viewpoint:
    """The eye carried along."""
    return _at(view, view.T_view_world[:3, :3], view.eye_world_m + shift_m)


def _at(view: Viewpoint, R_view_world: np.ndarray, eye_world_m: np.ndarray) -> Viewpoint:
    R_view_world = nearest_rotation(R_view_world)
    return replace(view, T_view_world=make_transform(R_view_world, -R_view_world @ eye_world_m))
