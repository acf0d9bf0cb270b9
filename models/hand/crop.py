"""Crops: a virtual pinhole camera at a real camera's place that looks straight at a hand.

The distorted image is remapped once into the crop, and all geometry after that is linear: `P_crop` (3, 4) maps
hand-centred metres (world axes, origin at the crop's target) to crop pixels. A mirrored crop shows a left hand as a
right one: the crop is flipped from left to right, and its `P_crop` maps hand-centred metres with x negated.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from calibration.camera import Camera
from calibration.rig import RigCamera

MIRROR_X = np.diag([-1.0, 1.0, 1.0])
"""Hand-centred metres of a left hand to those of the right hand that its mirrored crops show."""

_BOX_MARGIN = 1.25
_HALF_WIDTH_M = (0.06, 0.15)
_NEAREST_M = 0.02
_BEYOND_BORDER = 1.1
_OUTSIDE_PX = -1e4


def hand_turn(mirrored: bool) -> np.ndarray:
    """(3, 3): world directions to hand-centred ones, of crops that are mirrored or not; its own inverse."""
    return MIRROR_X if mirrored else np.eye(3)


@dataclass(frozen=True, kw_only=True)
class Crop:
    """One crop of one camera's image.

    `H_crop_cam` (3, 3) maps points in camera axes to homogeneous crop pixels; `P_crop` (3, 4) maps homogeneous
    hand-centred metres to homogeneous crop pixels; `size_px` is the side of the square.
    """

    camera: Camera
    H_crop_cam: np.ndarray
    P_crop: np.ndarray
    size_px: int
    mirror: bool

    def image(self, pixels: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The crop (size, size, 3) uint8 of the camera's image (H, W, 3), in its channel order; black outside of it.

        An image that is more than twice as fine as the crop is averaged first, so that nothing is skipped. `out` is
        written to and returned where it is given.
        """
        u, v = self._maps
        step = int(self._image_px_per_crop_px)
        if step > 1:
            pixels, left, top = self._shrunk(pixels, step)
            if not pixels.size:
                out = np.empty((self.size_px, self.size_px, 3), np.uint8) if out is None else out
                out[:] = 0
                return out
            u = (u - (left + (step - 1) / 2)) / step
            v = (v - (top + (step - 1) / 2)) / step
        return cv2.remap(pixels, u, v, cv2.INTER_LINEAR, out, cv2.BORDER_CONSTANT)

    def to_crop_px(self, points_px: np.ndarray) -> np.ndarray:
        """Distorted image pixels (..., 2) to crop pixels (..., 2); NaN where the crop's camera looks away from them."""
        rays = np.concatenate([self.camera.undistort(points_px), np.ones((*np.shape(points_px)[:-1], 1))], axis=-1)
        return to_pixels(self.H_crop_cam, rays)

    def to_image_px(self, points_crop_px: np.ndarray) -> np.ndarray:
        """Crop pixels (..., 2) to distorted image pixels (..., 2); NaN for what is not in front of the camera."""
        return self.camera.project(self._rays(np.asarray(points_crop_px, dtype=np.float64)))

    def project(self, points_hand_m: np.ndarray) -> np.ndarray:
        """Hand-centred metres (..., 3), mirrored ones for a mirrored crop, to crop pixels (..., 2)."""
        return to_pixels(self.P_crop, points_hand_m)

    def _rays(self, points_crop_px: np.ndarray) -> np.ndarray:
        """Directions (..., 3) in camera axes, with the sign that makes those of the crop's middle point forward."""
        inverse = self._H_cam_crop
        return points_crop_px @ inverse[:, :2].T + inverse[:, 2]

    @cached_property
    def _H_cam_crop(self) -> np.ndarray:
        # NumPy's inverse of so small a matrix takes many times as long, and more while other threads calculate.
        return cv2.invert(self.H_crop_cam)[1]

    @cached_property
    def _maps(self) -> tuple[np.ndarray, np.ndarray]:
        """For each crop pixel the image's u and v, float32 (size, size)."""
        lens = self.camera
        size, turn = (self.size_px, self.size_px), np.eye(3)
        make = cv2.fisheye.initUndistortRectifyMap if lens.lens == "fisheye4" else cv2.initUndistortRectifyMap
        u, v = make(lens.matrix, lens.distortion, turn, self.H_crop_cam, size, cv2.CV_32FC1)
        # What lies behind the camera, and far outside of the image where the lens polynomial folds back, is black.
        last = self.size_px - 1
        corners = self._rays(np.array([[0.0, 0], [last, 0], [0, last], [last, last]]))
        limit = self._widest
        if not _within(corners, limit).all():
            grid = np.stack(np.meshgrid(np.arange(self.size_px), np.arange(self.size_px)), axis=-1).astype(np.float64)
            outside = ~_within(self._rays(grid), limit)
            u[outside], v[outside] = _OUTSIDE_PX, _OUTSIDE_PX
        return u, v

    @cached_property
    def _widest(self) -> float:
        """A little more than the largest distance of a pixel of the image from the axis, normalised coordinates."""
        right, bottom = self.camera.width - 1, self.camera.height - 1
        corners = np.array([[0.0, 0], [right, 0], [0, bottom], [right, bottom]])
        radius = np.linalg.norm(self.camera.undistort(corners), axis=-1).max()
        return _BEYOND_BORDER * float(radius) if np.isfinite(radius) else np.inf

    @cached_property
    def _image_px_per_crop_px(self) -> float:
        middle = (self.size_px - 1) / 2
        around = self.to_image_px(middle + np.array([[-0.5, 0], [0.5, 0], [0, -0.5], [0, 0.5]]))
        step = min(np.linalg.norm(around[1] - around[0]), np.linalg.norm(around[3] - around[2]))
        return float(step) if np.isfinite(step) else 1.0

    def _shrunk(self, pixels: np.ndarray, step: int) -> tuple[np.ndarray, int, int]:
        """The part of the image that the crop needs, averaged over squares of `step` pixels, and its corner."""
        height, width = pixels.shape[:2]
        u, v = self._maps
        inside = (u > _OUTSIDE_PX) & (v > _OUTSIDE_PX)
        if not inside.any():
            return pixels[:0], 0, 0
        left, top = (max(int(each[inside].min()) - 2 * step, 0) for each in (u, v))
        columns = (min(int(u[inside].max()) + 2 * step, width) - left) // step
        rows = (min(int(v[inside].max()) + 2 * step, height) - top) // step
        if columns < 1 or rows < 1:
            return pixels[:0], 0, 0
        part = pixels[top : top + rows * step, left : left + columns * step]
        return cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA), left, top


def make_crop(
    camera: RigCamera,
    target_world_m: np.ndarray,
    half_width_m: float,
    size_px: int,
    mirror: bool = False,
    roll_rad: float = 0.0,
    scale: float = 1.0,
    offset: tuple[float, float] = (0.0, 0.0),
) -> Crop:
    """The crop whose half side covers `half_width_m` at the distance of the target (3,).

    `roll_rad` turns its content clockwise, `scale` enlarges it, `offset` moves it by shares of the side (right, down),
    all as seen before mirroring. Raises ValueError for a target that is not in front of the camera.
    """
    R_cam_world, t = camera.T_cam_world[:3, :3], camera.T_cam_world[:3, 3]
    target_cam_m = R_cam_world @ np.asarray(target_world_m, dtype=np.float64) + t
    if not target_cam_m[2] > _NEAREST_M:
        raise ValueError(f"camera `{camera.camera_id}`: the crop's target is not in front of it")
    distance_m = float(np.linalg.norm(target_cam_m))
    focal_px = scale * size_px / 2 * distance_m / half_width_m
    middle_px = (size_px - 1) / 2
    cos, sin = focal_px * np.cos(roll_rad), focal_px * np.sin(roll_rad)
    K = np.array(
        [[cos, -sin, middle_px + offset[0] * size_px], [sin, cos, middle_px + offset[1] * size_px], [0.0, 0.0, 1.0]]
    )
    H_crop_cam = K @ _turn_to(target_cam_m / distance_m)
    R_cam_hand = R_cam_world
    if mirror:
        H_crop_cam = np.array([[-1.0, 0, size_px - 1], [0, 1, 0], [0, 0, 1]]) @ H_crop_cam
        R_cam_hand = R_cam_world @ MIRROR_X
    P_crop = H_crop_cam @ np.column_stack([R_cam_hand, target_cam_m])
    return Crop(camera=camera.camera, H_crop_cam=H_crop_cam, P_crop=P_crop, size_px=size_px, mirror=mirror)


def hand_box(joints_m: np.ndarray) -> tuple[np.ndarray, float]:
    """Target (3,) and half width in metres of the crop around joints (21, 3).

    A joint that is NaN is left out, and so is the one farthest out, which may be wrong. Raises ValueError where fewer
    than three joints are known.
    """
    joints_m = joints_m[np.isfinite(joints_m).all(axis=-1)]
    if len(joints_m) < 3:
        raise ValueError(f"a crop needs three known joints; got {len(joints_m)}")
    target_m = joints_m.mean(0)
    second = np.sort(np.linalg.norm(joints_m - target_m, axis=-1))[-2]
    return target_m, float(np.clip(_BOX_MARGIN * second, *_HALF_WIDTH_M))


def to_pixels(P: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Project points (..., 3) with P (3, 4), or directions with (3, 3), to pixels (..., 2); NaN for what is behind."""
    points = np.asarray(points, dtype=np.float64)
    homogeneous = points @ P[:, :3].T + (P[:, 3] if P.shape[1] == 4 else 0.0)
    depth = homogeneous[..., 2:]
    return homogeneous[..., :2] / np.where(depth > 1e-9, depth, np.nan)


def _turn_to(direction: np.ndarray) -> np.ndarray:
    """The smallest rotation (3, 3) that takes the unit vector `direction`, with z > 0, to the z axis."""
    x, y, z = direction
    k = 1 / (1 + z)
    return np.array([[1 - k * x * x, -k * x * y, -x], [-k * x * y, 1 - k * y * y, -y], [x, y, z]])


def _within(rays: np.ndarray, limit: float) -> np.ndarray:
    """Which rays (..., 3) point forward and are at most `limit` off the axis, normalised coordinates."""
    return np.linalg.norm(rays[..., :2], axis=-1) <= limit * rays[..., 2]
