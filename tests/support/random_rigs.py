"""Rigs of all kinds, and a recording of a board in front of each: what a calibration has to be right for."""

from dataclasses import dataclass

import numpy as np

from calibration.board.views import Detections
from calibration.camera import Camera
from calibration.rig import Rig, RigCamera
from calibration.rotations import make_transform, rotation_from_vector
from tests.support.board_scene import BOARD, observe, tour

WIDTHS = ((640, 480), (1280, 720), (1920, 1080))


@dataclass(frozen=True)
class RigRecording:
    """The truth and what its cameras saw."""

    rig: Rig
    detections: Detections


def random_recording(seed: int) -> RigRecording:
    """A rig of any kind, and a board that is shown to each camera and to all."""
    rng = np.random.default_rng([7, seed])
    rig, reach_m, to_all = random_rig(rng)
    noise_px = 10 ** rng.uniform(-1.3, -0.3)
    path, seconds = tour(
        rig, BOARD, rng, near_poses=8, shared_poses=40 + 8 * len(rig.cameras), reach_m=reach_m, to_all=to_all
    )
    return RigRecording(rig, observe(rig, BOARD, path, int(seconds) + 1, rng, fps=1.0, noise_px=noise_px))


def random_rig(rng: np.random.Generator) -> tuple[Rig, float, bool]:
    """Two to eight cameras on an arc, a ring or in a row of which each sees its neighbours' scene; narrow and wide
    lenses; principal points off by the tolerance of lenses, or by far where the sensor's window is off its axis.

    Gives also the half side of the volume that they see, and whether a board must face each of them in turn.
    """
    count = int(rng.integers(2, 9))
    size = WIDTHS[rng.integers(len(WIDTHS))]
    focal = size[0] * rng.uniform(0.5, 1.4)
    # In a ring of fewer no two see the board at once.
    layout = ("arc", "ring", "row")[rng.integers(3)] if count > 4 else "arc"
    window = rng.random() < 0.2
    cameras = []
    for number in range(count):
        T = _pose(layout, number, count, focal / size[0], rng)
        off = rng.uniform(-0.035, 0.035, 2) + window * np.array([0.18, -0.12]) * (number % 2)
        own = focal * rng.uniform(0.9, 1.1)
        matrix = np.array(
            [[own, 0, size[0] * (0.5 + off[0])], [0, own * rng.normal(1, 0.002), size[1] * (0.5 + off[1])], [0, 0, 1]]
        )
        bend = -rng.uniform(0.03, 0.1) * (own / size[0]) ** 2
        # With so large a k2 no far corner is folded back into the image, which no real lens does.
        distortion = np.array([bend, 0.5 * bend**2, *rng.normal(0, 0.0007, 2), 0.0])
        camera = Camera(width=size[0], height=size[1], lens="pinhole5", matrix=matrix, distortion=distortion)
        cameras.append(RigCamera(camera_id=f"cam_{number}", camera=camera, T_cam_world=T))
    reach_m = 0.15 if layout != "row" else 0.12 * count
    return Rig(tuple(cameras)), reach_m, layout == "ring"


def _pose(layout: str, number: int, count: int, focal: float, rng: np.random.Generator) -> np.ndarray:
    distance_m = 0.9 * max(focal, 0.6) * rng.uniform(0.9, 1.2)
    target = rng.uniform(-0.03, 0.03, 3)
    if layout == "row":
        centre = np.array([0.22 * (number - (count - 1) / 2), 0.04 * (-1) ** number, -distance_m])
        target[0] += centre[0]
    else:
        span = 2 * np.pi * (count - 1) / count if layout == "ring" else np.radians(rng.uniform(50, 130))
        around = span * (number / max(count - 1, 1) - 0.5)
        up = rng.uniform(-0.4, 0.4)
        centre = distance_m * np.array([np.sin(around) * np.cos(up), np.sin(up), -np.cos(around) * np.cos(up)])
    z = (target - centre) / np.linalg.norm(target - centre)
    x = np.cross([0.0, 1.0, 0.0], z)
    x /= np.linalg.norm(x)
    R = rotation_from_vector(np.array([0, 0, rng.uniform(-0.3, 0.3)])) @ np.stack([x, np.cross(z, x), z])
    return make_transform(R, -R @ centre)
