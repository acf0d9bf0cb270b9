"""The world frame of a rig: from a board that lies flat, or fitted to all its poses."""

from dataclasses import replace

import numpy as np

from calibration.rig import Rig
from calibration.rotations import inverse_transform, make_transform, nearest_rotation


def move_world(rig: Rig, T_new_world: np.ndarray) -> Rig:
    """The rig in another world frame: `x_new = T_new_world @ x_world`."""
    T_world_new = inverse_transform(T_new_world)
    cameras = tuple(replace(camera, T_cam_world=camera.T_cam_world @ T_world_new) for camera in rig.cameras)
    return replace(rig, cameras=cameras)


def world_on_board(T_world_board: np.ndarray) -> np.ndarray:
    """`T_new_world` with its origin on the board's first inner corner: x along a row, y up a column, z out of its face.

    The board's own z points into it, away from the cameras that see it; the world's points out of the face, so a board
    flat on a table gives a world with z up.
    """
    flip = np.diag([1.0, -1.0, -1.0, 1.0])
    return inverse_transform(T_world_board @ flip)


def fit_world(T_world_board: np.ndarray, centres_world_m: np.ndarray) -> np.ndarray:
    """`T_new_world` with its origin amid all board poses (S, 4, 4), for rigs whose board never lay flat.

    z is the normal of the plane nearest the camera centres (C, 3) and the origin, turned
    so that the cameras are above it; x points from the origin to the first camera.
    """
    origin = T_world_board[:, :3, 3].mean(axis=0)
    away = centres_world_m - origin
    normal = np.linalg.svd(away - away.mean(0))[2][-1] if len(away) > 2 else away.mean(0)
    normal = normal / np.linalg.norm(normal)
    if normal @ away.mean(0) < 0:
        normal = -normal
    x = away[0] - normal * (normal @ away[0])
    if np.linalg.norm(x) < 1e-6:
        x = np.cross(normal, np.eye(3)[np.argmin(np.abs(normal))])
    x = x / np.linalg.norm(x)
    R = nearest_rotation(np.stack([x, np.cross(normal, x), normal]))
    return make_transform(R, -R @ origin)
