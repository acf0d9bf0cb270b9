"""Poses of the board in single views.

A flat board seen from afar has two poses that fit nearly equally well (T. Collins and A. Bartoli, "Infinitesimal
plane-based pose estimation", IJCV 2014). Both are kept; the other cameras of the same moment decide.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from calibration.rotations import make_transform, rotation_from_vector
from calibration.solve.lens_derivatives import project_with_derivatives
from calibration.solve.view_table import BoardTable

_UNDISTORT_STOP = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-9)


@dataclass(frozen=True, kw_only=True)
class ViewPoses:
    """Both poses of each view of `table`: centred board to camera, the better one first, and what they rest on.

    `flat` (V, N, 2): the corners' normalised image coordinates under the lenses; `focal` (C,) in pixels. `R`
    (V, 2, 3, 3), `t` (V, 2, 3), `rmse_px` (V, 2); infinite where there is no such pose.
    """

    table: BoardTable
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
        table, flat = (self.table, self.flat) if views is None else (self.table.select(views), self.flat[views])
        return view_rmse_px(table, flat, self.focal, T_cam_board[..., :3, :3], T_cam_board[..., :3, 3])


def view_poses(table: BoardTable, lens: np.ndarray, fisheye: np.ndarray) -> ViewPoses:
    """Both poses of every view, under lenses (C, 12)."""
    count = len(table.views)
    R = np.broadcast_to(np.eye(3), (count, 2, 3, 3)).copy()
    t = np.broadcast_to([0.0, 0.0, 1.0], (count, 2, 3)).copy()
    found = np.zeros((count, 2), dtype=bool)
    flat = undistorted(table, lens, fisheye)
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
    focal = lens[:, :2].mean(1)
    rmse = np.stack([view_rmse_px(table, flat, focal, R[:, number], t[:, number]) for number in range(2)], axis=1)
    rmse = np.where(found & np.isfinite(rmse), rmse, np.inf)
    order = np.argsort(rmse, axis=1, kind="stable")
    return ViewPoses(
        table=table,
        flat=flat,
        focal=focal,
        R=np.take_along_axis(R, order[..., None, None], 1),
        t=np.take_along_axis(t, order[..., None], 1),
        rmse_px=np.take_along_axis(rmse, order, 1),
    )


def view_rmse_px(table: BoardTable, flat: np.ndarray, focal: np.ndarray, R: np.ndarray, t: np.ndarray) -> np.ndarray:
    """RMSE (..., V) of boards posed at R (..., V, 3, 3), t (..., V, 3) in their cameras; infinite behind them.

    `flat` (V, N, 2) are the corners' normalised image coordinates, `focal` (C,) in pixels: the error is that of an
    undistorted image.
    """
    in_camera = table.points_m @ np.swapaxes(R, -1, -2) + t[..., None, :]
    depth = in_camera[..., 2]
    away = in_camera[..., :2] / np.maximum(depth, 1e-3)[..., None] - flat
    squared = np.where(table.seen, (away**2).sum(-1), 0.0).sum(-1)
    behind = ((depth <= 1e-3) & table.seen).any(-1)
    rmse = np.sqrt(squared / np.maximum(table.seen.sum(-1), 1)) * focal[table.camera]
    return np.where(behind | ~np.isfinite(rmse), np.inf, rmse)


def undistorted(table: BoardTable, lens: np.ndarray, fisheye: np.ndarray) -> np.ndarray:
    """Normalised image coordinates (V, N, 2) of all corners."""
    out = np.zeros_like(table.pixels)
    for camera in range(len(lens)):
        of_camera = table.camera == camera
        if not of_camera.any():
            continue
        matrix = np.array([[lens[camera, 0], 0, lens[camera, 2]], [0, lens[camera, 1], lens[camera, 3]], [0, 0, 1.0]])
        pixels = table.pixels[of_camera].reshape(-1, 1, 2)
        if fisheye[camera]:
            flat = cv2.fisheye.undistortPoints(pixels, matrix, lens[camera, 4:8].copy(), criteria=_UNDISTORT_STOP)
        else:
            flat = cv2.undistortPointsIter(pixels, matrix, lens[camera, 4:], np.eye(3), np.eye(3), _UNDISTORT_STOP)
        out[of_camera] = flat.reshape(out[of_camera].shape)
    return out


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
