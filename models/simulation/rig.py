"""A simulated rig: cameras on a ring around the simulated hands, all looking at them from above."""

import numpy as np

from calibration.camera import Camera
from calibration.camera_source import SimulatedSource
from calibration.rig import Rig, RigCamera, SyncSettings
from models.simulation.hands import CENTRE_WORLD_M

DISTORTION = (-0.08, 0.02, 0.0005, -0.0004, 0.0)
LOWEST_DEG, HIGHEST_DEG = 30.0, 50.0


def ring_rig(
    cameras: int = 4,
    width: int = 640,
    height: int = 480,
    fps: float = 30.0,
    distance_m: float = 0.7,
    jitter_ms: float = 0.0,
    seed: int = 0,
) -> Rig:
    """Cameras `cam_0`, `cam_1`, ... evenly around the hands, `distance_m` from their centre, 30 to 50 degrees up.

    Each is a SimulatedSource at `fps` with its own seed. Both hands are inside every image at all times.
    """
    focal_px = 1.95 * distance_m * min(width, height)
    matrix = np.array([[focal_px, 0, (width - 1) / 2], [0, focal_px, (height - 1) / 2], [0, 0, 1]])
    lens = Camera(width, height, "pinhole5", matrix, np.array(DISTORTION))
    ring = []
    for index in range(cameras):
        azimuth = 2 * np.pi * (index + 0.5) / cameras
        elevation = np.deg2rad(LOWEST_DEG if index % 2 == 0 else HIGHEST_DEG)
        direction = np.array(
            [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
        )
        source = SimulatedSource(fps=fps, seed=seed * 100 + index, jitter_ms=jitter_ms)
        T_cam_world = look_at(CENTRE_WORLD_M + distance_m * direction, CENTRE_WORLD_M)
        ring.append(RigCamera(f"cam_{index}", lens, T_cam_world, source=source))
    return Rig(tuple(ring), SyncSettings(fps=fps), time_offsets_known=True)


def look_at(eye_world_m: np.ndarray, target_world_m: np.ndarray) -> np.ndarray:
    """`T_cam_world` (4, 4) of an upright camera at `eye_world_m` whose axis goes through `target_world_m`; z is up."""
    forward = (target_world_m - eye_world_m) / np.linalg.norm(target_world_m - eye_world_m)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    T_cam_world = np.eye(4)
    T_cam_world[:3, :3] = rotation
    T_cam_world[:3, 3] = -rotation @ eye_world_m
    return T_cam_world
