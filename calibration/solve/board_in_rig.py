"""Where the board was at given moments, as the cameras of a calibrated rig saw it: one pose from all views."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.optimize import least_squares

from calibration.board.board import Board
from calibration.board.views import BoardView
from calibration.rig import Rig, RigCamera
from calibration.rotations import inverse_transform, make_transform, rotation_from_vector
from calibration.solve.corner_tracks import read_track


@dataclass(frozen=True, kw_only=True)
class BoardPoseSettings:
    """When a pose is believed. `least_corners`: in a camera, and `least_cameras` that have so many. `most_rmse_px`:
    beyond it the views do not agree on one board: frames that were not taken together, a camera that moved, another
    board. `longest_gap_s`: corners are interpolated in time between frames that are not farther apart."""

    least_corners: int = 4
    least_cameras: int = 2
    most_rmse_px: float = 3.0
    longest_gap_s: float = 0.45
    tolerance_px: float = 1.0


@dataclass(frozen=True)
class PosedInRig:
    """`T_world_board` (4, 4) with x_world = T_world_board @ x_board; `rmse_px` of its corners over all views."""

    T_world_board: np.ndarray
    rmse_px: float


@dataclass(frozen=True)
class _Seen:
    """Corners of one camera at one moment: places (n, 3) on the board, undistorted image coordinates (n, 2)."""

    camera: RigCamera
    corners_board_m: np.ndarray
    corners_norm: np.ndarray


def board_poses_at(
    rig: Rig,
    board: Board,
    views: Mapping[str, Sequence[BoardView]],
    times_ns: np.ndarray,
    settings: BoardPoseSettings | None = None,
) -> list[PosedInRig | None]:
    """The board's pose at each of the times (S,), true capture times on the rig's clock; None where it is not known.

    `views` have stamped times; the rig's time offsets are taken off. Corners are read at the very moment along their
    motion in each camera's images, so that cameras need not have been exposed together.
    """
    settings = settings or BoardPoseSettings()
    corners_m = board.corners_board_m
    seen: list[list[_Seen]] = [[] for _ in times_ns]
    for camera in rig.cameras:
        of_camera = sorted(views.get(camera.camera_id, ()), key=lambda view: view.time_ns)
        if not of_camera:
            continue
        start_ns = of_camera[0].time_ns - camera.time_offset_ns
        own_s = np.array([view.time_ns - camera.time_offset_ns - start_ns for view in of_camera]) * 1e-9
        track_px = np.full((len(of_camera), len(corners_m), 2), np.nan)
        for row, view in enumerate(of_camera):
            track_px[row, view.corner_ids] = view.corners_px
        period_s = float(np.median(np.diff(own_s))) if len(own_s) > 1 else settings.longest_gap_s
        wanted_s = (np.asarray(times_ns) - start_ns) * 1e-9
        at_px = read_track(own_s, track_px, wanted_s, period_s, min(settings.longest_gap_s, 1.7 * period_s))[0]
        for number, pixels in enumerate(at_px):
            there = np.isfinite(pixels).all(1)
            if there.sum() >= settings.least_corners:
                seen[number].append(_Seen(camera, corners_m[there], camera.camera.undistort(pixels[there])))
    return [_fit(each, settings) for each in seen]


def _fit(seen: Sequence[_Seen], settings: BoardPoseSettings) -> PosedInRig | None:
    """The pose with the least robust error in all views, from the best that one view alone gives."""
    if len(seen) < settings.least_cameras:
        return None
    starts = [start for view in seen for start in _poses_alone(view)]
    if not starts:
        return None
    start = min(starts, key=lambda pose: float(np.median(np.abs(_residuals_px(pose, seen)))))
    solution = least_squares(_residuals_px, start, args=(seen,), loss="soft_l1", f_scale=settings.tolerance_px)
    rmse_px = float(np.sqrt(2 * np.mean(_residuals_px(solution.x, seen) ** 2)))
    if not rmse_px <= settings.most_rmse_px:
        return None
    return PosedInRig(_transform(solution.x), rmse_px)


def _poses_alone(view: _Seen) -> list[np.ndarray]:
    """The poses (6,) of the board in the world that explain a plane's image in one view, usually two."""
    found = cv2.solvePnPGeneric(
        view.corners_board_m, view.corners_norm[:, None], np.eye(3), np.zeros(5), flags=cv2.SOLVEPNP_IPPE
    )
    T_world_cam = inverse_transform(view.camera.T_cam_world)
    poses = []
    for turn, shift_m in zip(found[1], found[2], strict=True):
        T_cam_board = _transform(np.concatenate([turn.ravel(), shift_m.ravel()]))
        T_world_board = T_world_cam @ T_cam_board
        poses.append(np.concatenate([cv2.Rodrigues(T_world_board[:3, :3])[0].ravel(), T_world_board[:3, 3]]))
    return poses


def _residuals_px(pose: np.ndarray, seen: Sequence[_Seen]) -> np.ndarray:
    T_world_board, parts = _transform(pose), []
    for view in seen:
        T_cam_board = view.camera.T_cam_world @ T_world_board
        points_cam_m = view.corners_board_m @ T_cam_board[:3, :3].T + T_cam_board[:3, 3]
        # A board behind the camera is as wrong as can be, and stays finite.
        depth_m = np.maximum(points_cam_m[:, 2:], 1e-3)
        parts.append((points_cam_m[:, :2] / depth_m - view.corners_norm) * view.camera.camera.focal_px)
    return np.concatenate(parts).ravel()


def _transform(pose: np.ndarray) -> np.ndarray:
    """(4, 4) of a rotation vector and a translation (6,)."""
    return make_transform(rotation_from_vector(pose[:3]), pose[3:])
