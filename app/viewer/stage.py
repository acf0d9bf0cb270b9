"""What stands still around the hands: which way is up, the ground grid, the axes, the cameras' frusta."""

from dataclasses import dataclass

import numpy as np

from app.viewer import palette
from calibration.rig import Rig, RigCamera
from calibration.triangulation import nearest_to_lines

_SNAP_COSINE = np.cos(np.radians(15))
_GROUND_BELOW = 0.22
_GRID_RADIUS = 1.1
_FRUSTUM_WIDTH = 0.26


@dataclass(frozen=True)
class Stage:
    """The rig's surroundings in world metres.

    `up` (3,) unit; `centre_m` (3,) where the cameras look; `scale_m` the cameras' median distance from it;
    `ground_m` the height of the grid along `up`.
    """

    up: np.ndarray
    centre_m: np.ndarray
    scale_m: float
    ground_m: float


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def stage_of(rig: Rig) -> Stage:
    """Up, centre and size of a rig, for any world frame."""
    rotations = np.array([camera.T_cam_world[:3, :3] for camera in rig.cameras])
    centres_m = np.array([camera.centre_world_m for camera in rig.cameras])
    right, down, forward = rotations[:, 0], rotations[:, 1], rotations[:, 2]
    up = _up(right, down, forward)

    # The point nearest to all optical axes; drawn to a point in front of the cameras where the axes are parallel.
    spacing_m = float(np.linalg.norm(centres_m - centres_m.mean(axis=0), axis=1).max()) or 0.5
    guess_m = (centres_m + 1.5 * spacing_m * forward).mean(axis=0)
    count = len(rig.cameras)
    centre_m = nearest_to_lines(centres_m, forward, np.ones(count), guess_m, 0.02 * count)
    scale_m = float(np.median(np.linalg.norm(centres_m - centre_m, axis=1)))
    return Stage(up, centre_m, scale_m, float(centre_m @ up) - _GROUND_BELOW * scale_m)


def _up(right: np.ndarray, down: np.ndarray, forward: np.ndarray) -> np.ndarray:
    """Cameras stand level more often than not: up is across their x axes and against their y axes.

    Snaps to an axis of the world that is near, so that the grid lies along a world frame made with care.
    """
    spread = right.T @ right - 0.1 * down.T @ down
    up = np.linalg.eigh(spread)[1][:, 0]
    against = -down.mean(axis=0)
    if np.linalg.norm(against) < 0.2:
        against = -forward.mean(axis=0)
    if up @ against < 0:
        up = -up
    axis = int(np.abs(up).argmax())
    if abs(up[axis]) > _SNAP_COSINE:
        up = np.sign(up[axis]) * np.eye(3)[axis]
    return up


def ground_axes(stage: Stage) -> tuple[np.ndarray, np.ndarray]:
    """Two unit directions along the ground, along world axes where up is one."""
    helper = np.eye(3)[int(np.abs(stage.up).argmin())]
    first = _unit(helper - (helper @ stage.up) * stage.up)
    return first, np.cross(stage.up, first)


def on_ground(stage: Stage, points_m: np.ndarray, above_m: float = 0.0) -> np.ndarray:
    """Points (..., 3) moved along up onto the ground."""
    height_m = points_m @ stage.up - stage.ground_m - above_m
    return points_m - height_m[..., None] * stage.up


def grid(stage: Stage) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """The ground grid: points (N, 3), line pairs (L, 2), colours (L, 3) that fade outwards, and the spacing, metres."""
    wanted = stage.scale_m / 8
    step_m = min((0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0), key=lambda step: abs(np.log(step / wanted)))
    count = int(np.ceil(_GRID_RADIUS * stage.scale_m / step_m))
    first, second = ground_axes(stage)
    middle_m = on_ground(stage, stage.centre_m)
    # Lines at whole multiples of the step in world coordinates.
    shift = [-(float(middle_m @ axis) % step_m) for axis in (first, second)]
    ticks = np.arange(-count, count + 1) * step_m
    a, b = np.meshgrid(ticks + shift[0], ticks + shift[1], indexing="ij")
    points = middle_m + a[..., None] * first + b[..., None] * second
    index = np.arange(a.size).reshape(a.shape)
    lines = np.concatenate(
        [
            np.stack([index[:-1], index[1:]], axis=-1).reshape(-1, 2),
            np.stack([index[:, :-1], index[:, 1:]], axis=-1).reshape(-1, 2),
        ]
    )
    points = points.reshape(-1, 3)
    distance = np.linalg.norm(points[lines].mean(axis=1) - middle_m, axis=1) / (count * step_m)
    strength = np.clip(1 - distance**2, 0, 1)[:, None]
    colours = palette.BACKGROUND + (palette.GRID - palette.BACKGROUND) * strength
    seen = strength[:, 0] > 0.02
    return points, lines[seen], colours[seen], step_m


def image_corners_m(camera: RigCamera, depth_m: float) -> np.ndarray:
    """Corners (4, 3) in world metres at a depth: top left, top right, bottom right, bottom left.

    They are those of the undistorted image with the camera's own size and intrinsic matrix.
    """
    lens = camera.camera
    w, h = lens.width - 0.5, lens.height - 0.5
    pixels = np.array([[-0.5, -0.5, 1], [w, -0.5, 1], [w, h, 1], [-0.5, h, 1]])
    points_cam_m = depth_m * pixels @ np.linalg.inv(lens.matrix).T
    return (points_cam_m - camera.T_cam_world[:3, 3]) @ camera.T_cam_world[:3, :3]


def frustum_depth_m(stage: Stage, camera: RigCamera) -> float:
    """How deep a frustum is drawn: such that all images are about equally wide."""
    return _FRUSTUM_WIDTH * stage.scale_m * camera.camera.focal_px / max(camera.camera.width, camera.camera.height)


def frustum(stage: Stage, camera: RigCamera) -> tuple[np.ndarray, np.ndarray]:
    """Points (6, 3) and line pairs (10, 2): the centre, the image's corners, and a roof over the image's top edge."""
    corners = image_corners_m(camera, frustum_depth_m(stage, camera))
    down = _unit(corners[3] - corners[0])
    roof = corners[:2].mean(axis=0) - 0.14 * np.linalg.norm(corners[3] - corners[0]) * down
    points = np.concatenate([camera.centre_world_m[None], corners, roof[None]])
    lines = [[0, 1], [0, 2], [0, 3], [0, 4], [1, 2], [2, 3], [3, 4], [4, 1], [1, 5], [2, 5]]
    return points, np.array(lines)
