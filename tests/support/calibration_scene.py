"""A calibration result made by hand, with known figures, for what shows results."""

import numpy as np

from calibration.board.board import Board
from calibration.camera import Camera
from calibration.result.result import BoardFigures, CalibrationResult, CameraFigures, ImageFigures, ViewResiduals
from calibration.rig import CalibrationRecord, Rig, RigCamera

BOARD = Board(
    type="charuco", columns=4, rows=5, square_m=0.054, dictionary="DICT_4X4_1000", marker_m=0.0405, inverted=True
)
BOARD_CENTRE_M = np.array([0.108, 0.135, 0.0])


def look_at(centre_m: np.ndarray, target_m: np.ndarray) -> np.ndarray:
    """`T_cam_world` of a camera at `centre_m` that looks at `target_m`, in a world with z up."""
    forward = (target_m - centre_m) / np.linalg.norm(target_m - centre_m)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    R = np.stack([right, np.cross(forward, right), forward])
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R, -R @ centre_m
    return T


def ring_of_cameras(count: int) -> Rig:
    """`count` cameras on an arc of 1 m about a point 1 m above the ground."""
    cameras = []
    for index in range(count):
        angle = np.radians(-70 + 140 * index / max(count - 1, 1))
        centre = np.array([np.sin(angle), -np.cos(angle), 1.2 + 0.25 * (index % 2)])
        matrix = np.array([[900.0 + 10 * index, 0, 640], [0, 902.0 + 10 * index, 360], [0, 0, 1]])
        lens = Camera(
            width=1280,
            height=720,
            lens="pinhole5",
            matrix=matrix,
            distortion=np.array([-0.3, 0.08, 0.001, -0.001, 0.0]),
        )
        offset_ns = round(4e6 * np.sin(index))
        cameras.append(
            RigCamera(
                camera_id=f"cam_{index}",
                camera=lens,
                T_cam_world=look_at(centre, np.array([0, 0, 1.0])),
                time_offset_ns=offset_ns,
            )
        )
    return Rig(
        tuple(cameras), calibration=CalibrationRecord("2026-01-31", "usthand", None, 0.41), time_offsets_known=True
    )


def synthetic_result(
    cameras: int = 4, verdict: str = "good", sets: int = 60, noise_px: float = 0.35, seed: int = 0
) -> CalibrationResult:
    """What a calibration of `ring_of_cameras` would hold: residuals are noise plus a tilt in the last camera."""
    rng = np.random.default_rng(seed)
    rig = ring_of_cameras(cameras)
    board_poses = {}
    views: list[ViewResiduals] = []
    for number in range(sets):
        time_ns = number * 166_000_000
        pose = np.eye(4)
        pose[:3, :3] = _rotation(np.array([np.pi / 2, 0, 0]) + rng.normal(0, 0.4, 3))
        centre = np.array([0, 0, 1.05]) + rng.normal(0, 1, 3) * [0.16, 0.1, 0.12]
        pose[:3, 3] = centre - pose[:3, :3] @ BOARD_CENTRE_M
        board_poses[time_ns] = pose
        for index, camera in enumerate(rig.cameras):
            view = _view(rng, camera, pose, number, time_ns, noise_px, bend=1.2 if index == cameras - 1 else 0.0)
            if view is not None:
                views.append(view)
    figures = {camera.camera_id: _figures(index, camera, views) for index, camera in enumerate(rig.cameras)}
    ids = rig.camera_ids
    pairs = [(a, b) for i, a in enumerate(ids) for b in ids[i + 1 :]]
    times = {name: {view.time_ns for view in views if view.camera_id == name} for name in ids}
    centres = {camera.camera_id: camera.centre_world_m for camera in rig.cameras}
    lengths = np.concatenate([np.linalg.norm(view.residuals_px, axis=1) for view in views])
    rmse_px = float(np.sqrt((lengths**2).mean()))
    worse = verdict != "good"
    return CalibrationResult(
        rig=rig,
        board=BOARD,
        cameras=figures,
        rmse_px=rmse_px,
        heldout=ImageFigures(
            rmse_px=0.52,
            trim_rmse_px=0.44,
            median_px=0.33,
            rigidity_mm_rms=0.27,
            loo_px=0.61,
            scale_bias_percent=-0.04,
            corners=1234,
        ),
        scale_bias_percent=None,
        distances_m={(a, b): float(np.linalg.norm(centres[a] - centres[b])) for a, b in pairs},
        distance_std_m=dict.fromkeys(pairs, 0.0007),
        covariance={name: np.eye(15) * 1e-8 for name in ids},
        shape=BoardFigures(
            solved=False,
            square_mm=(54.03, 53.97),
            square_std_mm=0.02,
            stretch_percent=0.11,
            stretch_std_percent=0.07,
            shear_deg=0.01,
            shear_std_deg=0.03,
            bend_mm=0.21,
            bend_std_mm=0.12,
            reach_mm=97.3,
        ),
        views=views,
        board_poses=board_poses,
        verdict=verdict,  # pyright: ignore[reportArgumentType]
        reasons=[f"camera `{ids[-1]}` saw the board in a third of its image only"] if worse else [],
        remedies=[f"Film again, with the board held into the corners of {ids[-1]}'s image."] if worse else [],
        warnings=["the board's layout is that of OpenCV before 4.6"] if worse else [],
        time_offset_note="Offsets lower the held-out error from 1.07 to 0.52 px, so they are kept.",
        shared_views={(a, b): len(times[a] & times[b]) for a, b in pairs},
        noise_px=noise_px,
        seconds=1.25,
    )


def _rotation(vector: np.ndarray) -> np.ndarray:
    angle = float(np.linalg.norm(vector))
    x, y, z = vector / angle
    K = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * K @ K


def _view(rng, camera: RigCamera, T_world_board, frame: int, time_ns: int, noise_px: float, bend: float):
    points = BOARD.corners_board_m
    corners_px = camera.project(points @ T_world_board[:3, :3].T + T_world_board[:3, 3])
    size = np.array([camera.camera.width, camera.camera.height])
    seen = ((corners_px > 0) & (corners_px < size - 1)).all(axis=1)
    if seen.sum() < 6:
        return None
    ids = np.flatnonzero(seen)
    from_centre = (corners_px[ids] - size / 2) / size
    residuals = rng.normal(0, noise_px, (len(ids), 2)) + bend * from_centre
    if frame % 15 == 3:
        residuals[0] += [4.0, -2.0]
    T_cam_board = camera.T_cam_world @ T_world_board
    return ViewResiduals(
        camera_id=camera.camera_id,
        frame=frame,
        time_ns=time_ns,
        corner_ids=ids,
        corners_px=corners_px[ids] + residuals,
        residuals_px=residuals,
        T_cam_board=T_cam_board,
    )


def _figures(index: int, camera: RigCamera, views: list[ViewResiduals]) -> CameraFigures:
    own = [view for view in views if view.camera_id == camera.camera_id]
    corners = np.concatenate([view.corners_px for view in own])
    lengths = np.linalg.norm(np.concatenate([view.residuals_px for view in own]), axis=1)
    size = np.array([camera.camera.width, camera.camera.height])
    region = np.clip((corners / size * 3).astype(int), 0, 2)
    regions = np.full((3, 3), np.nan)
    for row in range(3):
        for column in range(3):
            inside = (region == [column, row]).all(axis=1)
            if inside.any():
                regions[row, column] = np.sqrt((lengths[inside] ** 2).mean())
    fields = len({tuple(field) for field in (corners / size * [8, 6]).astype(int)})
    rmse_px = float(np.sqrt((lengths**2).mean()))
    return CameraFigures(
        camera_id=camera.camera_id,
        frames=len(own),
        intrinsic_rmse_px=0.8 * rmse_px,
        rmse_px=rmse_px,
        heldout_rmse_px=1.05 * rmse_px,
        loo_px=1.2 * rmse_px,
        coverage=fields / 48,
        region_rmse_px=regions,
        lens_note="k3 held at zero: no corner near the edge of the image" if index == 1 else "",
        intrinsics_std=np.array([1.4, 1.5, 1.1, 0.9, 0.003, 0.01, 2e-4, 2e-4, 0.0]) * (1 + 0.3 * index),
        rotation_std_deg=0.012 * index,
        position_std_mm=0.55 * index,
        time_offset_ns=camera.time_offset_ns,
        time_offset_std_ns=450_000,
    )
