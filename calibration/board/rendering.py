"""Images of a board as a camera would take them, with the true corners: for tests and the simulated rig."""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.sparse import csr_array

from calibration.board.board import Board
from calibration.board.pattern import board_size_m, pattern_origin_m, rasterise
from calibration.camera import Camera


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """How an image is spoilt. `blur_px` is the sigma of a Gaussian, `motion_px` (2,) the way an image point moves
    while the shutter is open, `noise` the standard deviation in grey levels, `dark` and `bright` the levels of black
    and white on the board, `gamma` the exponent of the response, `background` the level of all else."""

    blur_px: float = 0.6
    motion_px: tuple[float, float] = (0.0, 0.0)
    noise: float = 0.0
    dark: float = 25.0
    bright: float = 220.0
    gamma: float = 1.0
    background: float = 120.0


class BoardRenderer:
    """Renders one board; the drawing is made once, with `margin_m` of white paper around it."""

    def __init__(self, board: Board, margin_m: float | None = None, pixels_per_square: int = 160) -> None:
        self.board = board
        self.margin_m = 0.3 * board.side_m if margin_m is None else margin_m
        self.pixels_per_m = pixels_per_square / board.side_m
        self._levels = [rasterise(board, self.pixels_per_m, self.margin_m)]
        while min(self._levels[-1].shape) > 64:
            half = self._levels[-1]
            self._levels.append(cv2.resize(half, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))

    def render(
        self,
        camera: Camera,
        T_cam_board: np.ndarray,
        exposure: Exposure | None = None,
        seed: int = 0,
        supersample: int = 3,
    ) -> np.ndarray:
        """The image (H, W) uint8 that a camera takes of the board at a pose. Exact up to its sampling:
        `supersample` rays squared per pixel."""
        exposure = exposure or Exposure()
        paper, ink = self.draw(camera, T_cam_board, exposure, supersample)
        white = exposure.background * (1 - paper) + ink
        if exposure.blur_px > 0:
            white = cv2.GaussianBlur(white, (0, 0), exposure.blur_px)
        length = float(np.hypot(*exposure.motion_px))
        if length > 0:
            white = cv2.filter2D(white, -1, _motion_kernel(exposure.motion_px), borderType=cv2.BORDER_REPLICATE)
        if exposure.gamma != 1:
            white = 255.0 * (np.clip(white, 0, 255) / 255.0) ** exposure.gamma
        if exposure.noise > 0:
            white = white + np.random.default_rng(seed).normal(0, exposure.noise, white.shape)
        return np.clip(np.rint(white), 0, 255).astype(np.uint8)

    def corners_px(self, camera: Camera, T_cam_board: np.ndarray) -> np.ndarray:
        """The true corners (N, 2) in pixels, in the order of `Board.corners_board_m`; NaN behind the camera."""
        points = self.board.corners_board_m @ T_cam_board[:3, :3].T + T_cam_board[:3, 3]
        return camera.project(points)

    def draw(
        self, camera: Camera, T_cam_board: np.ndarray, exposure: Exposure, supersample: int = 3
    ) -> tuple[np.ndarray, np.ndarray]:
        """Two images (H, W) float32: the share of each pixel that the paper covers, and its grey level times that
        share. Rays are met with the board's plane, where the board can be; only `dark` and `bright` count."""
        ink, paper = np.zeros((2, camera.height, camera.width), dtype=np.float32)
        box = self._box(camera, T_cam_board)
        if box is None:
            return paper, ink
        left, top, right, bottom = box
        rays = _rays(camera, box, supersample)
        normal, offset = T_cam_board[:3, 2], float(T_cam_board[:3, 2] @ T_cam_board[:3, 3])
        slope = rays @ normal
        with np.errstate(divide="ignore", invalid="ignore"):
            depth = offset / slope
        on_plane = rays * depth[..., None] - T_cam_board[:3, 3]
        at_board = on_plane @ T_cam_board[:3, :2]
        drawing = at_board + pattern_origin_m(self.board)
        in_front = np.isfinite(depth) & (depth > 0)
        level = self._level(camera, T_cam_board, supersample)
        scale = self.pixels_per_m / 2**level
        texture = self._levels[level].astype(np.float32)
        at = np.where(in_front[..., None], (drawing + self.margin_m) * scale - 0.5, -1e6).astype(np.float32)
        values = cv2.remap(texture, at, np.empty(0), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        width_m, height_m = board_size_m(self.board)
        low, high = -self.margin_m, np.array([width_m, height_m]) + self.margin_m
        on_paper = in_front & (drawing > low).all(axis=-1) & (drawing < high).all(axis=-1)
        levels = exposure.dark + (exposure.bright - exposure.dark) / 255.0 * values
        for image, fine in ((paper, on_paper), (ink, on_paper * levels)):
            image[top:bottom, left:right] = cv2.resize(
                fine.astype(np.float32), (right - left, bottom - top), interpolation=cv2.INTER_AREA
            )
        return paper, ink

    def _box(self, camera: Camera, T_cam_board: np.ndarray) -> tuple[int, int, int, int] | None:
        """Left, top, right, bottom of the pixels that may show the paper; the whole image for a near, steep board."""
        width_m, height_m = board_size_m(self.board)
        x, y = np.meshgrid(np.linspace(0, 1, 21), np.linspace(0, 1, 21))
        drawing = np.stack([x.ravel(), y.ravel()], axis=1) * (np.array([width_m, height_m]) + 2 * self.margin_m)
        on_board = drawing - self.margin_m - pattern_origin_m(self.board)
        points = on_board @ T_cam_board[:3, :2].T + T_cam_board[:3, 3]
        if (points[:, 2] < 0.02).any():
            return 0, 0, camera.width, camera.height
        pixels = camera.project(points)
        low = np.clip(np.floor(pixels.min(axis=0)) - 8, 0, [camera.width, camera.height]).astype(int)
        high = np.clip(np.ceil(pixels.max(axis=0)) + 9, 0, [camera.width, camera.height]).astype(int)
        return (int(low[0]), int(low[1]), int(high[0]), int(high[1])) if (high > low).all() else None

    def _level(self, camera: Camera, T_cam_board: np.ndarray, supersample: int) -> int:
        """The smaller copy of the drawing whose pixels are about as large as the distance between rays."""
        distance = max(float(T_cam_board[2, 3]), 1e-3)
        per_ray = self.pixels_per_m * distance / (camera.focal_px * supersample)
        return int(np.clip(np.floor(np.log2(max(per_ray, 1.0))), 0, len(self._levels) - 1))


def _rays(camera: Camera, box: tuple[int, int, int, int], supersample: int) -> np.ndarray:
    """Directions (H * s, W * s, 3) of rays through an even grid within every pixel of a box.

    The lens is undone on every second pixel and interpolated between.
    """
    left, top, right, bottom = box
    nodes_x, nodes_y = np.arange(left - 1.0, right + 3.0, 2.0), np.arange(top - 1.0, bottom + 3.0, 2.0)
    nodes = camera.undistort(np.stack(np.meshgrid(nodes_x, nodes_y), axis=-1))
    across: csr_array = _between(nodes_x, (np.arange((right - left) * supersample) + 0.5) / supersample - 0.5 + left)
    down: csr_array = _between(nodes_y, (np.arange((bottom - top) * supersample) + 0.5) / supersample - 0.5 + top)
    rays = np.ones(((bottom - top) * supersample, (right - left) * supersample, 3))
    for axis in range(2):
        rays[..., axis] = (down @ nodes[..., axis]) @ across.T
    return rays


def _between(nodes: np.ndarray, at: np.ndarray) -> csr_array:
    """(len(at), len(nodes)) weights of linear interpolation between evenly spaced nodes."""
    place = (at - nodes[0]) / (nodes[1] - nodes[0])
    index = np.floor(place).astype(int)
    rows = np.arange(len(at))
    weights = np.concatenate([1 - (place - index), place - index])
    entries = weights, (np.tile(rows, 2), np.concatenate([index, index + 1]))
    return csr_array(entries, shape=(len(at), len(nodes)))


def _motion_kernel(motion_px: tuple[float, float]) -> np.ndarray:
    """A line of even weight along the motion, centred."""
    reach = int(np.ceil(max(abs(motion_px[0]), abs(motion_px[1])) / 2)) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), dtype=np.float64)
    for step in np.linspace(-0.5, 0.5, 101):
        x, y = reach + step * motion_px[0], reach + step * motion_px[1]
        column, row = int(np.floor(x)), int(np.floor(y))
        for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
            weight = abs(1 - dx - (x - column)) * abs(1 - dy - (y - row))
            if weight > 0:
                kernel[row + dy, column + dx] += weight
    return kernel / kernel.sum()
