"""The board as drawn: black rectangles on white, in metres."""

import cv2
import numpy as np

from calibration.board.board import Board
from calibration.board.markers import check_dictionary, dictionary_of


def board_size_m(board: Board) -> tuple[float, float]:
    """(width, height) of the drawn board, metres, small squares of an AprilGrid's edge included."""
    if board.type == "aprilgrid":
        assert board.marker_m is not None
        gap = board.side_m - board.marker_m
        size = np.array([board.columns, board.rows]) * board.side_m + gap
    else:
        size = np.array([board.columns, board.rows]) * board.side_m
    width_m, height_m = size * board.stretch
    return float(width_m), float(height_m)


def pattern_origin_m(board: Board) -> np.ndarray:
    """(2,) where the board's origin lies in the drawing, whose (0, 0) is its top left; the axes are the same."""
    return board.stretch * (board.side_m - (board.marker_m or 0.0) if board.type == "aprilgrid" else 0.0)


def black_rectangles_m(board: Board) -> np.ndarray:
    """Black rectangles (n, 4) of the drawing: left, top, right, bottom in metres, y down; not inverted.

    Raises UserError where the dictionary is unknown or too small.
    """
    check_dictionary(board, "the board")
    if board.type == "aprilgrid":
        return _aprilgrid(board) * np.tile(board.stretch, 2)
    return _squares(board) * np.tile(board.stretch, 2)


def _squares(board: Board) -> np.ndarray:
    first_black = not (board.type == "charuco" and board.legacy and board.rows % 2 == 0)
    cells = [(c, r) for r in range(board.rows) for c in range(board.columns)]
    black = [(c, r) for c, r in cells if ((c + r) % 2 == 0) == first_black]
    squares = np.array([[c, r, c + 1, r + 1] for c, r in black]) * board.side_m
    if board.type == "chessboard":
        return squares
    assert board.marker_m is not None
    gap = (board.side_m - board.marker_m) / 2
    white = [cell for cell in cells if cell not in set(black)]
    markers = [
        _marker_m(board, index, border=1) + np.tile(np.array(cell) * board.side_m + gap, 2)
        for index, cell in enumerate(white)
    ]
    return np.concatenate([squares, *markers])


def _aprilgrid(board: Board) -> np.ndarray:
    """Kalibr's drawing: tags with a border of two modules and small black squares between their corners."""
    assert board.marker_m is not None
    gap = board.side_m - board.marker_m
    tags = []
    for index in range(board.columns * board.rows):
        row, column = divmod(index, board.columns)
        corner = np.array([gap + column * board.side_m, gap + (board.rows - 1 - row) * board.side_m])
        tag = _marker_m(board, index, border=2)
        # OpenCV 4 draws AprilTags turned by 180 degrees: https://github.com/opencv/opencv/pull/28823
        tags.append(board.marker_m - tag[:, [2, 3, 0, 1]] + np.tile(corner, 2))
    knots = (
        np.array([[c, r] for r in range(board.rows + 1) for c in range(board.columns + 1)], dtype=np.float64)
        * board.side_m
    )
    return np.concatenate([*tags, np.concatenate([knots, knots + gap], axis=1)])


def _marker_m(board: Board, index: int, border: int) -> np.ndarray:
    """Black runs (n, 4) of a marker whose top left is (0, 0), metres."""
    assert board.dictionary is not None and board.marker_m is not None
    dictionary = dictionary_of(board.dictionary)
    modules = dictionary.markerSize + 2 * border
    image = cv2.aruco.generateImageMarker(dictionary, index, modules, borderBits=border)
    runs = []
    for row in range(modules):
        dark = np.concatenate([[0], (image[row] < 128).astype(int), [0]])
        starts, ends = np.flatnonzero(np.diff(dark) == 1), np.flatnonzero(np.diff(dark) == -1)
        runs += [[start, row, end, row + 1] for start, end in zip(starts, ends, strict=True)]
    return np.array(runs, dtype=np.float64) * board.marker_m / modules


def rasterise(board: Board, pixels_per_m: float, margin_m: float = 0.0) -> np.ndarray:
    """The drawing (H, W) uint8, each pixel as bright as the part of it that is white.

    Pixel (x, y) covers the drawing from x / pixels_per_m - margin_m on: its centre is half a pixel further.
    """
    width_m, height_m = board_size_m(board)
    shape = [int(np.ceil((side + 2 * margin_m) * pixels_per_m - 1e-6)) for side in (height_m, width_m)]
    black = np.zeros(shape, dtype=np.float32)
    for left, top, right, bottom in (black_rectangles_m(board) + margin_m) * pixels_per_m:
        across, x = _cover(left, right, shape[1])
        down, y = _cover(top, bottom, shape[0])
        black[y : y + len(down), x : x + len(across)] += down[:, None] * across[None, :]
    black = np.clip(black, 0.0, 1.0)
    if board.inverted:
        # The paper around an inverted board stays white.
        inner = np.zeros(shape, dtype=np.float32)
        across, x = _cover(margin_m * pixels_per_m, (margin_m + width_m) * pixels_per_m, shape[1])
        down, y = _cover(margin_m * pixels_per_m, (margin_m + height_m) * pixels_per_m, shape[0])
        inner[y : y + len(down), x : x + len(across)] = down[:, None] * across[None, :]
        black = np.clip(inner - black, 0.0, 1.0)
    return np.rint(255 * (1 - black)).astype(np.uint8)


def _cover(low: float, high: float, size: int) -> tuple[np.ndarray, int]:
    """How much of each pixel from the returned one on lies between `low` and `high`."""
    first, last = int(np.floor(low + 1e-9)), min(int(np.ceil(high - 1e-9)), size)
    edges = np.arange(first, last + 1)
    return np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0.0, 1.0).astype(np.float32), first
