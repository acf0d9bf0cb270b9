"""Where the eye is: poses of the view, and points of the world that land on given pixels of the window."""

from dataclasses import dataclass

import numpy as np

from app.viewer.stage import Stage, ground_axes
from calibration.rig import RigCamera

HOME_FIELD_OF_VIEW = np.radians(50)
WIDEST_FIELD_OF_VIEW = np.radians(89.5)
_HOME_DISTANCE = 1.15
_HOME_ELEVATION = np.radians(27)
_HOME_TURN = np.radians(-24)
# The hands stand a little below the middle, which leaves room for cameras above them.
_HOME_LOWER = 0.045


@dataclass(frozen=True)
class Viewpoint:
    """An ideal pinhole: `T_view_world` (4, 4), OpenCV's axes, focal length in pixels, window size in pixels."""

    T_view_world: np.ndarray
    focal_px: float
    width: int
    height: int

    @property
    def eye_world_m(self) -> np.ndarray:
        """(3,)"""
        return -self.T_view_world[:3, :3].T @ self.T_view_world[:3, 3]

    def project(self, points_world_m: np.ndarray) -> np.ndarray:
        """World points (..., 3) to window pixels (..., 2), pixel centres at integers; NaN behind the eye."""
        points = points_world_m @ self.T_view_world[:3, :3].T + self.T_view_world[:3, 3]
        depth = np.where(points[..., 2] > 1e-6, points[..., 2], np.nan)[..., None]
        return points[..., :2] / depth * self.focal_px + [self.width / 2 - 0.5, self.height / 2 - 0.5]

    def at_depth(self, pixels: np.ndarray, depth_m: float) -> np.ndarray:
        """World points (..., 3) at a depth that project to window pixels (..., 2)."""
        middle = np.array([self.width / 2 - 0.5, self.height / 2 - 0.5])
        points = np.empty((*pixels.shape[:-1], 3))
        points[..., :2] = (pixels - middle) * (depth_m / self.focal_px)
        points[..., 2] = depth_m
        return (points - self.T_view_world[:3, 3]) @ self.T_view_world[:3, :3]

    def nearer(self, points_m: np.ndarray, share: float) -> np.ndarray:
        """World points (..., 3) at a share of their way from the eye: smaller, they cover the same pixels."""
        return self.eye_world_m + share * (points_m - self.eye_world_m)

    def rectangle(self, left: float, top: float, width: float, height: float, depth_m: float) -> np.ndarray:
        """Corners (4, 3) in the world of a rectangle of pixels: top left, top right, bottom right, bottom left."""
        x0, y0, x1, y1 = left - 0.5, top - 0.5, left + width - 0.5, top + height - 0.5
        return self.at_depth(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]), depth_m)


def look_at(eye_m: np.ndarray, target_m: np.ndarray, up: np.ndarray) -> np.ndarray:
    """`T_view_world` (4, 4) of an eye that looks at a point."""
    forward = (target_m - eye_m) / np.linalg.norm(target_m - eye_m)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    T_view_world = np.eye(4)
    T_view_world[:3, :3] = [right, np.cross(forward, right), forward]
    T_view_world[:3, 3] = -T_view_world[:3, :3] @ eye_m
    return T_view_world


def home_view(
    stage: Stage,
    cameras: tuple[RigCamera, ...],
    target_m: np.ndarray,
    width: int,
    height: int,
    bottom_px: int,
    top_px: int,
) -> Viewpoint:
    """The first view: on the target from beside the cameras and above, the target in the middle of the free part.

    `bottom_px` and `top_px` of the window are covered by the images and the text line.
    """
    forward = np.mean([camera.T_cam_world[2, :3] for camera in cameras], axis=0)
    level = forward - (forward @ stage.up) * stage.up
    if np.linalg.norm(level) < 0.25:
        level = ground_axes(stage)[0]
    level = level / np.linalg.norm(level)
    side = np.cross(stage.up, level)
    # Seen from the far side, towards the cameras, as the person in front of them sees the hands.
    out = np.cos(_HOME_TURN) * level + np.sin(_HOME_TURN) * side
    out = np.cos(_HOME_ELEVATION) * out + np.sin(_HOME_ELEVATION) * stage.up
    distance_m = _HOME_DISTANCE * stage.scale_m
    focal_px = height / 2 / np.tan(HOME_FIELD_OF_VIEW / 2)
    up = stage.up - (stage.up @ out) * out
    shift_m = ((bottom_px - top_px) / 2 - _HOME_LOWER * height) / focal_px * distance_m
    target_m = target_m - shift_m * up / np.linalg.norm(up)
    return Viewpoint(look_at(target_m + distance_m * out, target_m, stage.up), focal_px, width, height)


def camera_view(camera: RigCamera, width: int, height: int) -> Viewpoint:
    """The view from a rig camera with its field of view; the window is the larger where their shapes differ.

    The window's principal point is its centre: a camera whose own is elsewhere sees its picture moved by the
    difference.
    """
    lens = camera.camera
    fit = min(width / lens.width, height / lens.height)
    focal_px = max(float(lens.matrix[1, 1]) * fit, height / 2 / np.tan(WIDEST_FIELD_OF_VIEW / 2))
    return Viewpoint(camera.T_cam_world, focal_px, width, height)
