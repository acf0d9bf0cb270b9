"""What lies behind the hands: the background picture through a camera's lens, boards, and the image's border."""

from functools import lru_cache

import cv2
import numpy as np

from calibration.board.board import Board
from calibration.board.rendering import BoardRenderer, Exposure
from calibration.camera import Camera
from calibration.rig import RigCamera
from models.simulation.scene import PosedBoard

_WIDEST = 3.0
_GREY = 110
_INSIDE_NODES = 17


def lens_rays(lens: Camera) -> np.ndarray:
    """Directions (H, W, 3) float32 in camera axes, z = 1, through all pixels' centres; kept for the last cameras."""
    return _lens_rays(*_key(lens))


def whole_image(background: np.ndarray | None, lens: Camera) -> np.ndarray:
    """The background (H, W, 3) uint8 as a camera sees it."""
    if background is None:
        return np.full((lens.height, lens.width, 3), _GREY, np.uint8)
    u, v = _background_maps(*_key(lens), *background.shape[:2])
    return cv2.remap(background, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def seen_through(background: np.ndarray | None, lens: Camera, H_px_cam: np.ndarray, size: int) -> np.ndarray:
    """The background (size, size, 3) uint8 as the pixels `H_px_cam` (3, 3) of camera axes show it."""
    if background is None:
        return np.full((size, size, 3), _GREY, np.uint8)
    K = _background_matrix(*_key(lens), *background.shape[:2])
    return cv2.warpPerspective(
        background, K @ np.linalg.inv(H_px_cam), (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT,
    )  # fmt: skip


def picture_rays(lens: Camera, height: int, width: int) -> np.ndarray:
    """Directions (height, width, 3) in camera axes, z = 1, that the pixels of a background of that size lie in."""
    K = _background_matrix(*_key(lens), height, width)
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u)], axis=-1)


def beyond_border(lens: Camera, H_px_cam: np.ndarray, size: int) -> np.ndarray | None:
    """(size, size) bool: which pixels show what the camera's image does not hold; None where it holds all."""
    nodes = np.linspace(0, size - 1, _INSIDE_NODES)
    grid = np.stack([*np.meshgrid(nodes, nodes), np.ones((_INSIDE_NODES, _INSIDE_NODES))], axis=-1)
    pixels = lens.project(grid @ np.linalg.inv(H_px_cam).T)
    low, high = np.nanmin(pixels, axis=(0, 1)), np.nanmax(pixels, axis=(0, 1))
    if np.isfinite(pixels).all() and (low > 0).all() and (high < [lens.width - 1, lens.height - 1]).all():
        return None
    pixels = np.nan_to_num(pixels, nan=-1e4)
    at = (np.arange(size, dtype=np.float32)) * ((_INSIDE_NODES - 1) / (size - 1))
    u, v = np.meshgrid(at, at)
    fine = cv2.remap(pixels.astype(np.float32), u, v, cv2.INTER_LINEAR)
    return np.any((fine < -0.5) | (fine > np.array([lens.width, lens.height]) - 0.5), axis=-1)


def with_board(image: np.ndarray, posed: PosedBoard, camera: RigCamera) -> np.ndarray:
    """The image (H, W, 3) uint8 with a board before it; its back is white."""
    T_cam_board = camera.T_cam_world @ posed.T_world_board
    exposure = Exposure()
    paper, ink = _board_renderer(posed.board).draw(camera.camera, T_cam_board, exposure)
    if T_cam_board[:3, 2] @ T_cam_board[:3, 3] <= 0:
        ink = exposure.bright * paper
    shown = image * (1 - paper)[..., None] + ink[..., None]
    return np.rint(shown).astype(np.uint8)


@lru_cache(maxsize=4)
def _board_renderer(board: Board) -> BoardRenderer:
    return BoardRenderer(board)


def _key(lens: Camera) -> tuple:
    return lens.width, lens.height, lens.lens, lens.matrix.tobytes(), lens.distortion.tobytes()


def _lens(width: int, height: int, lens, matrix: bytes, distortion: bytes) -> Camera:
    return Camera(
        width=width,
        height=height,
        lens=lens,
        matrix=np.frombuffer(matrix).reshape(3, 3),
        distortion=np.frombuffer(distortion),
    )


@lru_cache(maxsize=8)
def _lens_rays(*key) -> np.ndarray:
    lens = _lens(*key)
    grid = np.stack(np.meshgrid(np.arange(lens.width), np.arange(lens.height)), axis=-1)
    rays = np.ones((lens.height, lens.width, 3), np.float32)
    rays[..., :2] = lens.undistort(grid)
    # Beyond what the lens model covers there is nothing; a ray without a direction meets nothing.
    rays[~np.isfinite(rays).all(axis=-1)] = 0
    return rays


@lru_cache(maxsize=64)
def _background_matrix(width, height, lens, matrix, distortion, picture_height, picture_width) -> np.ndarray:
    """(3, 3): camera axes to pixels of a picture that is stretched over the field of view."""
    corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]], dtype=float)
    seen = np.nan_to_num(_lens(width, height, lens, matrix, distortion).undistort(corners), nan=0.0)
    low, high = np.clip(seen.min(axis=0), -_WIDEST, -0.05), np.clip(seen.max(axis=0), 0.05, _WIDEST)
    scale = (np.array([picture_width, picture_height]) - 1) / (high - low)
    return np.array([[scale[0], 0, -low[0] * scale[0]], [0, scale[1], -low[1] * scale[1]], [0, 0, 1]])


@lru_cache(maxsize=16)
def _background_maps(width, height, lens, matrix, distortion, picture_height, picture_width):
    key = width, height, lens, matrix, distortion
    K = _background_matrix(*key, picture_height, picture_width)
    rays = _lens_rays(*key)
    return np.asarray(rays[..., 0] * K[0, 0] + K[0, 2], np.float32), np.asarray(
        rays[..., 1] * K[1, 1] + K[1, 2], np.float32
    )
