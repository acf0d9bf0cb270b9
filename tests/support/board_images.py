"""Rendered images of boards with the true corners, for the tests of detection."""

import cv2
import numpy as np

from calibration.board.board import Board
from calibration.board.pattern import board_size_m, pattern_origin_m
from calibration.board.rendering import BoardRenderer, Exposure
from calibration.camera import Camera, LensModel

DISTORTION: dict[LensModel, np.ndarray] = {
    "pinhole5": np.array([-0.25, 0.1, 1e-3, -1e-3, -0.02]),
    "pinhole8": np.array([0.3, -0.1, 5e-4, 5e-4, 0.01, 0.5, -0.05, 0.01]),
    "fisheye4": np.array([-0.02, 0.005, -0.002, 5e-4]),
}
FOCAL_PX: dict[LensModel, float] = {"pinhole5": 900.0, "pinhole8": 800.0, "fisheye4": 500.0}
CAMERAS: dict[str, Camera] = {
    lens: Camera(
        width=1280,
        height=720,
        lens=lens,
        matrix=np.array([[focal, 0, 635], [0, focal + 4, 357], [0, 0, 1]]),
        distortion=DISTORTION[lens],
    )
    for lens, focal in FOCAL_PX.items()
}
CHARUCO = Board(type="charuco", columns=5, rows=7, square_m=0.03, dictionary="DICT_5X5_100", marker_m=0.022)
EVEN_CHARUCO = Board(type="charuco", columns=6, rows=8, square_m=0.03, dictionary="DICT_4X4_250", marker_m=0.022)
REAL_CHARUCO = Board(
    type="charuco", columns=4, rows=5, square_m=0.054, dictionary="DICT_4X4_1000", marker_m=0.0405, inverted=True
)
CHESSBOARD = Board(type="chessboard", columns=8, rows=7, square_m=0.03)
APRILGRID = Board(type="aprilgrid", columns=5, rows=4, square_m=0.052, dictionary="DICT_APRILTAG_36h11", marker_m=0.04)


def pose(board: Board, camera: Camera, share: float = 0.5, turn=(0.3, -0.35, 0.2), place=(0.0, 0.0)) -> np.ndarray:
    """T_cam_board: the board's centre at `place` (in units of its depth), its height `share` of the image's."""
    size = np.array(board_size_m(board))
    depth = camera.focal_px * size[1] / (share * camera.height)
    T = np.eye(4)
    T[:3, :3] = cv2.Rodrigues(np.array(turn, dtype=np.float64))[0]
    middle = np.append(size / 2 - pattern_origin_m(board), 0.0)
    T[:3, 3] = np.array([place[0] * depth, place[1] * depth, depth]) - T[:3, :3] @ middle
    return T


def picture(
    board: Board, lens: str = "pinhole5", exposure: Exposure | None = None, **placed
) -> tuple[np.ndarray, np.ndarray]:
    """An image (H, W) and the true corners (N, 2) in it."""
    camera, renderer = CAMERAS[lens], BoardRenderer(board)
    T_cam_board = pose(board, camera, **placed)
    image = renderer.render(camera, T_cam_board, exposure or Exposure(noise=2.0), seed=1)
    return image, renderer.corners_px(camera, T_cam_board)
