"""Poses of the board in single views.

A flat board seen from afar has two poses that fit nearly equally well (T. Collins and A. Bartoli, "Infinitesimal
plane-based pose estimation", IJCV 2014). Both are kept; the other cameras of the same moment decide.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from calibration.rotations import make_transform, rotation_from_vector
from calibration.solve.lens_derivatives import camera_from_vector, project_with_derivatives
from calibration.solve.view_table import BoardTable

# The cosine of the angle between a corner and the middle of its board from which on a view has no flat picture.
_LEAST_AHEAD = 0.05


@dataclass(frozen=True, kw_only=True)
class ViewPoses:
    """Both poses of each view of `table`: centred board to camera, the better one first, and what they rest on.

    `aim` (V, 3, 3) turns camera axes towards the board where a fisheye sees it far off its axis, and `flat` (V, N, 2)
    are the corners' x/z and y/z under the lenses and in axes so turned; `focal` (C,) in pixels. `R` (V, 2, 3, 3), `t`
    (V, 2, 3), `rmse_px` (V, 2); infinite where there is no such pose.
    """

    table: BoardTable
    aim: np.ndarray
    flat: np.ndarray
    focal: np.ndarray
    R: np.ndarray
    t: np.ndarray
    rmse_px: np.ndarray

    @cached_property
    def T_cam_board(self) -> np.ndarray:
        """(V, 2, 4, 4)."""
        return make_transform(self.R, self.t)

    def carried_rmse_px(self, T_cam_board: np.ndarray, views: np.ndarray | None = None) -> np.ndarray:
        """RMSE (..., V) of other board poses (..., V, 4, 4), in all views or those of indices."""
        table, flat, aim = self.table, self.flat, self.aim
        if views is not None:
            table, flat, aim = table.select(views), flat[views], aim[views]
        return view_rmse_px(table, aim, flat, self.focal, T_cam_board[..., :3, :3], T_cam_board[..., :3, 3])


def view_poses(table: BoardTable, lens: np.ndarray, fisheye: np.ndarray) -> ViewPoses:
    """Both poses of every view, under lenses (C, 12)."""
    count = len(table.views)
    R = np.broadcast_to(np.eye(3), (count, 2, 3, 3)).copy()
    t = np.broadcast_to([0.0, 0.0, 1.0], (count, 2, 3)).copy()
    found = np.zeros((count, 2), dtype=bool)
    aim, flat = undistorted(table, lens, fisheye)
    eye, none = np.eye(3), np.zeros(5)
    for view in range(count):
        seen = table.seen[view]
        if not np.isfinite(flat[view, seen]).all():
            continue
        try:
            solutions, turns, shifts, _ = cv2.solvePnPGeneric(
                table.points_m[view, seen], flat[view, seen], eye, none, flags=cv2.SOLVEPNP_IPPE
            )
        except cv2.error:
            continue
        for number in range(min(solutions, 2)):
            R[view, number] = cv2.Rodrigues(turns[number])[0]
            t[view, number] = shifts[number][:, 0]
            found[view, number] = bool(np.isfinite(turns[number]).all() and t[view, number, 2] > 0)
    back = np.swapaxes(aim, 1, 2)[:, None]
    R, t = back @ R, (back @ t[..., None])[..., 0]
    focal = lens[:, :2].mean(1)
    rmse = np.stack([view_rmse_px(table, aim, flat, focal, R[:, number], t[:, number]) for number in range(2)], axis=1)
    rmse = np.where(found & np.isfinite(rmse), rmse, np.inf)
    order = np.argsort(rmse, axis=1, kind="stable")
    return ViewPoses(
        table=table,
        aim=aim,
        flat=flat,
        focal=focal,
        R=np.take_along_axis(R, order[..., None, None], 1),
        t=np.take_along_axis(t, order[..., None], 1),
        rmse_px=np.take_along_axis(rmse, order, 1),
    )


def view_rmse_px(
    table: BoardTable, aim: np.ndarray, flat: np.ndarray, focal: np.ndarray, R: np.ndarray, t: np.ndarray
) -> np.ndarray:
    """RMSE (..., V) of boards posed at R (..., V, 3, 3), t (..., V, 3) in their cameras; infinite behind them.

    `flat` (V, N, 2) are the corners' coordinates in axes turned by `aim` (V, 3, 3), `focal` (C,) is in pixels: the
    error is that of an undistorted image.
    """
    R, t = aim @ R, (aim @ t[..., None])[..., 0]
    in_camera = table.points_m @ np.swapaxes(R, -1, -2) + t[..., None, :]
    depth = in_camera[..., 2]
    away = in_camera[..., :2] / np.maximum(depth, 1e-3)[..., None] - flat
    squared = np.where(table.seen, (away**2).sum(-1), 0.0).sum(-1)
    behind = ((depth <= 1e-3) & table.seen).any(-1)
    rmse = np.sqrt(squared / np.maximum(table.seen.sum(-1), 1)) * focal[table.camera]
    return np.where(behind | ~np.isfinite(rmse), np.inf, rmse)


def undistorted(table: BoardTable, lens: np.ndarray, fisheye: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turned axes (V, 3, 3), and x/z and y/z (V, N, 2) of all corners in them. Fisheyes turn theirs to the board."""
    aim, flat = np.broadcast_to(np.eye(3), (len(table.views), 3, 3)).copy(), np.zeros_like(table.pixels)
    for camera in range(len(lens)):
        own = np.flatnonzero(table.camera == camera)
        if not len(own):
            continue
        model = camera_from_vector(
            lens[camera], "fisheye4" if fisheye[camera] else "pinhole8", table.image_size[camera]
        )
        if not fisheye[camera]:
            flat[own] = model.undistort(table.pixels[own])
            continue
        rays = model.rays(table.pixels[own])
        middle = np.where(table.seen[own][..., None], rays, 0.0).sum(1)
        aim[own] = _turn_to_axis(middle)
        rays = rays @ np.swapaxes(aim[own], 1, 2)
        ahead = rays[..., 2:] > _LEAST_AHEAD
        flat[own] = np.where(ahead, rays[..., :2] / np.where(ahead, rays[..., 2:], 1.0), np.nan)
    return aim, flat


def _turn_to_axis(direction: np.ndarray) -> np.ndarray:
    """The least rotations (V, 3, 3) that turn directions (V, 3) onto +z; none for directions that are no numbers."""
    unit = direction / np.maximum(np.linalg.norm(direction, axis=-1, keepdims=True), 1e-12)
    axis = np.stack([unit[:, 1], -unit[:, 0], np.zeros(len(unit))], axis=-1)
    sine = np.linalg.norm(axis, axis=-1)
    angle = np.arctan2(sine, unit[:, 2])
    return rotation_from_vector(np.nan_to_num(axis / np.maximum(sine, 1e-12)[:, None] * angle[:, None]))


def facing(table: BoardTable) -> np.ndarray:
    """Sign (V,) of the turn from board to image: +1 as printed, -1 mirrored, 0 where too few corners tell."""
    xy = table.points_m[..., :2] * table.seen[..., None]
    count = np.maximum(table.seen.sum(1), 1)[:, None]
    xy = (table.points_m[..., :2] - (xy.sum(1) / count)[:, None]) * table.seen[..., None]
    mean = (table.pixels * table.seen[..., None]).sum(1) / count
    uv = (table.pixels - mean[:, None]) * table.seen[..., None]
    moments = np.swapaxes(xy, 1, 2) @ xy
    enough = np.linalg.det(moments) > 1e-3 * np.einsum("vii->v", moments) ** 2 / 4
    return np.where(enough, np.sign(np.linalg.det(np.swapaxes(xy, 1, 2) @ uv)), 0.0)


def tilt_degrees(R: np.ndarray) -> np.ndarray:
    """Angle (...) between the board's normal and the optical axis, for rotations (..., 3, 3) board to camera."""
    return np.degrees(np.arccos(np.clip(np.abs(R[..., 2, 2]), 0, 1)))


def refine_poses(
    table: BoardTable, R: np.ndarray, t: np.ndarray, lens: np.ndarray, fisheye: np.ndarray, iterations: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Newton on every view's pose alone: R (V, 3, 3) and t (V, 3)."""
    scale = table.seen[..., None, None] * 1.0
    for _ in range(iterations):
        in_camera = table.points_m @ np.swapaxes(R, 1, 2) + t[:, None]
        pixels, by_point, _ = project_with_derivatives(in_camera, lens[table.camera], fisheye[table.camera])
        turned = in_camera - t[:, None]
        jacobian = np.concatenate([np.cross(turned[..., None, :], by_point), by_point], -1) * scale
        flat = jacobian.reshape(len(R), -1, 6)
        residual = ((table.pixels - pixels) * table.seen[..., None]).reshape(len(R), -1, 1)
        H = np.swapaxes(flat, 1, 2) @ flat
        H += 1e-9 * np.einsum("vii->v", H)[:, None, None] * np.eye(6)
        step = np.linalg.solve(H, np.swapaxes(flat, 1, 2) @ residual)[..., 0]
        R = rotation_from_vector(step[:, :3]) @ R
        t = t + step[:, 3:]
    return R, t
