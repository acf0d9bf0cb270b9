"""Simulated rigs: cameras on a ring, a dome or a desk's frame around the simulated hands, all looking at them."""

from typing import Literal, get_args

import numpy as np

from calibration.camera import Camera
from calibration.camera_source import MAX_CAMERAS, SimulatedSource
from calibration.errors import UserError
from calibration.rig import Rig, RigCamera, SyncSettings
from calibration.rotations import make_transform
from models.simulation.hands import CENTRE_WORLD_M, REACH_M, reach_of

Layout = Literal["ring", "dome", "desk"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

DISTORTION = (-0.08, 0.02, 0.0005, -0.0004, 0.0)
LOWEST_DEG, HIGHEST_DEG = 30.0, 50.0
MIN_SIDE, MAX_SIDE = 64, 4096


def ring_rig(
    cameras: int = 4,
    width: int = 640,
    height: int = 480,
    fps: float = 30.0,
    distance_m: float = 0.7,
    jitter_ms: float = 0.0,
    seed: int = 0,
    people: int = 1,
) -> Rig:
    """Cameras `cam_0`, `cam_1`, ... evenly around the hands, `distance_m` from their centre, 30 to 50 degrees up.

    Each is a SimulatedSource at `fps` with its own seed. All hands of so many people are inside every image
    at all times.
    """
    focal_px = 1.95 * distance_m * min(width, height) * REACH_M / reach_of(people)
    matrix = np.array([[focal_px, 0, (width - 1) / 2], [0, focal_px, (height - 1) / 2], [0, 0, 1]])
    lens = Camera(width=width, height=height, lens="pinhole5", matrix=matrix, distortion=np.array(DISTORTION))
    ring = []
    for index in range(cameras):
        azimuth = 2 * np.pi * (index + 0.5) / cameras
        elevation = np.deg2rad(LOWEST_DEG if index % 2 == 0 else HIGHEST_DEG)
        direction = np.array(
            [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
        )
        source = SimulatedSource(fps=fps, seed=seed * 100 + index, jitter_ms=jitter_ms, people=people)
        T_cam_world = look_at(CENTRE_WORLD_M + distance_m * direction, CENTRE_WORLD_M)
        ring.append(RigCamera(camera_id=f"cam_{index}", camera=lens, T_cam_world=T_cam_world, source=source))
    return Rig(tuple(ring), SyncSettings(fps=fps), time_offsets_known=True)


def people_in(rig: Rig) -> int:
    """How many people a simulated rig shows; 1 where it does not say."""
    return max((each.source.people for each in rig.cameras if isinstance(each.source, SimulatedSource)), default=1)


def random_rig(
    seed: int,
    layout: Layout = "ring",
    cameras: int = 4,
    width: int = 640,
    height: int = 480,
    fps: float = 30.0,
    *,
    offset_ms: float = 0.0,
    jitter_ms: float = 0.0,
    drop_rate: float = 0.0,
    people: int = 1,
) -> Rig:
    """Cameras as people mount them: places, lenses and clocks follow from `seed`, and no two are alike.

    `ring` is evenly around the hands, `dome` anywhere above the table, `desk` on a frame over the far side of a desk
    whose user sits at -y. Most lenses have OpenCV's five coefficients, some are fisheyes. `offset_ms` is the standard
    deviation of the cameras' time offsets, which the rig states; `jitter_ms` that of each frame's time; `drop_rate` the
    share of frames that are lost.

    Raises UserError for an unknown layout, fewer than 2 or more than MAX_CAMERAS cameras, or an image that is no image.
    """
    if layout not in LAYOUTS:
        raise UserError(f"unknown layout `{layout}`; known: {', '.join(LAYOUTS)}.")
    if not 2 <= cameras <= MAX_CAMERAS:
        raise UserError(f"{cameras} cameras; a rig has 2 to {MAX_CAMERAS}.")
    if not (MIN_SIDE <= width <= MAX_SIDE and MIN_SIDE <= height <= MAX_SIDE):
        raise UserError(f"image size is {width}x{height}; both must be from {MIN_SIDE} to {MAX_SIDE} pixels.")
    random = np.random.default_rng([seed, 31])
    around = []
    for index, direction in enumerate(_directions(random, layout, cameras)):
        distance_m = random.uniform(0.6, 1.05)
        lens = _random_lens(random, width, height, distance_m, reach_of(people))
        target = CENTRE_WORLD_M + random.uniform(-0.02, 0.02, 3)
        T_cam_world = _rolled(look_at(CENTRE_WORLD_M + distance_m * direction, target), random.normal(0, 0.06))
        source = SimulatedSource(fps=fps, seed=int(random.integers(2**31)), jitter_ms=jitter_ms, drop_rate=drop_rate)
        offset_ns = round(random.normal(0, 1) * offset_ms * 1e6)
        around.append(
            RigCamera(
                camera_id=f"cam_{index}", camera=lens, T_cam_world=T_cam_world, time_offset_ns=offset_ns, source=source
            )
        )
    return Rig(tuple(around), SyncSettings(fps=fps), time_offsets_known=True)


def _directions(random: np.random.Generator, layout: Layout, cameras: int) -> np.ndarray:
    """Unit vectors (cameras, 3) from the hands to the cameras; z is up."""
    turn = np.arange(cameras) + random.uniform(-0.25, 0.25, cameras)
    if layout == "ring":
        azimuth = 2 * np.pi * (turn / cameras + random.random())
        elevation = np.deg2rad(random.uniform(15, 60, cameras))
    elif layout == "dome":
        # Equal steps of height cover a sphere evenly; the golden angle keeps neighbours in height apart.
        azimuth = 2 * np.pi * (turn * 0.381966 + random.random())
        elevation = np.arcsin((turn + 0.75) / (cameras + 0.75))
    else:
        azimuth = np.deg2rad(90 + 220 * ((turn + 0.5) / cameras - 0.5))
        elevation = np.deg2rad(random.uniform(10, 70, cameras))
    random.shuffle(elevation)
    level = np.cos(elevation)
    return np.stack([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)], axis=1)


def _random_lens(random: np.random.Generator, width: int, height: int, distance_m: float, reach_m: float) -> Camera:
    """A lens whose image holds the working volume, tightly or loosely."""
    focal_px = random.uniform(0.75, 1.05) * min(width, height) / 2 * distance_m / reach_m
    centre = np.array([width - 1, height - 1]) / 2 + random.normal(0, 0.01, 2) * (width, height)
    matrix = np.array([[focal_px, 0, centre[0]], [0, focal_px * random.normal(1, 0.001), centre[1]], [0, 0, 1]])
    if random.random() < 0.2:
        return Camera(
            width=width,
            height=height,
            lens="fisheye4",
            matrix=matrix,
            distortion=random.normal(0, (0.02, 0.005, 0.001, 0.001)),
        )
    k1 = random.uniform(-0.2, 0.06)
    tangential = random.normal(0, 0.0005, 2)
    return Camera(
        width=width,
        height=height,
        lens="pinhole5",
        matrix=matrix,
        distortion=np.array([k1, 0.3 * k1 * k1, *tangential, 0.0]),
    )


def _rolled(T_cam_world: np.ndarray, roll_rad: float) -> np.ndarray:
    """The camera turned about its own axis."""
    turned = T_cam_world.copy()
    c, s = np.cos(roll_rad), np.sin(roll_rad)
    turned[:2] = np.array([[c, -s], [s, c]]) @ T_cam_world[:2]
    return turned


def look_at(eye_world_m: np.ndarray, target_world_m: np.ndarray) -> np.ndarray:
    """`T_cam_world` (4, 4) of an upright camera at `eye_world_m` whose axis goes through `target_world_m`; z is up."""
    forward = (target_world_m - eye_world_m) / np.linalg.norm(target_world_m - eye_world_m)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    # Straight up or down, any side is upright.
    right = right / np.linalg.norm(right) if right.any() else np.array([1.0, 0.0, 0.0])
    rotation = np.stack([right, np.cross(forward, right), forward])
    return make_transform(rotation, -rotation @ eye_world_m)
