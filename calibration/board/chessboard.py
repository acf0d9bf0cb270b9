"""Finding a chessboard, with its corners numbered the same way in every camera."""

import cv2
import numpy as np

from calibration.board.board import Board

_WORKING_SIDE_PX = 800
_FLAGS = cv2.CALIB_CB_NORMALIZE_IMAGE


def find_chessboard(gray: np.ndarray, board: Board) -> tuple[np.ndarray, np.ndarray] | None:
    """Corners (N, 2) in pixels in the order of `Board.corners_board_m`, and one square's image axes (N, 2, 2).

    None where the whole board is not in sight. The first corner is the one whose outer square is black, which tells
    a board from the same board turned by 180 degrees where one of `columns` and `rows` is even and the other odd;
    of others, the corner nearest to the image's top left is first. A chessboard does not show whether an image is
    mirrored.
    """
    columns, rows = board.corner_shape
    scale = min(1.0, _WORKING_SIDE_PX / max(gray.shape))
    small = gray if scale == 1 else cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    found, corners = cv2.findChessboardCornersSB(small, (columns, rows), flags=_FLAGS)
    if not found:
        return None
    grid = ((corners.reshape(rows, columns, 2) + 0.5) / scale - 0.5).astype(np.float64)
    grid = _oriented(gray, grid, board)
    axes = np.stack([np.gradient(grid, axis=1), np.gradient(grid, axis=0)], axis=2)
    return grid.reshape(-1, 2), axes.reshape(-1, 2, 2)


def _oriented(gray: np.ndarray, grid: np.ndarray, board: Board) -> np.ndarray:
    """The grid (rows, columns, 2) turned so that it is not mirrored and its first corner is the right one."""
    along, down = grid[0, -1] - grid[0, 0], grid[-1, 0] - grid[0, 0]
    if along[0] * down[1] - along[1] * down[0] < 0:
        grid = grid[:, ::-1]
    turned = grid[::-1, ::-1]
    if board.columns % 2 != board.rows % 2:
        return grid if _first_is_dark(gray, grid) else turned
    if not _first_is_dark(gray, grid) and board.columns == board.rows:
        grid = np.rot90(grid).copy()
        turned = grid[::-1, ::-1]
    return min((grid, turned), key=lambda candidate: float(candidate[0, 0].sum()))


def _first_is_dark(gray: np.ndarray, grid: np.ndarray) -> bool:
    """Whether squares of the first one's colour are darker than the others."""
    centres = (grid[:-1, :-1] + grid[1:, :-1] + grid[:-1, 1:] + grid[1:, 1:]) / 4
    at = np.clip(np.rint(centres).astype(int), 0, [gray.shape[1] - 1, gray.shape[0] - 1])
    levels = gray[at[..., 1], at[..., 0]].astype(float)
    row, column = np.indices(levels.shape)
    even = (row + column) % 2 == 0
    # The first inner square lies diagonally below the first square, so it has the same colour.
    return bool(levels[even].mean() < levels[~even].mean())
