"""Markers on a board: dictionaries, where each marker lies, and finding markers in an image."""

import re
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from calibration.board.board import Board
from calibration.errors import UserError

# OpenCV spells AprilTag families with a small and with a large H; the small one is the common one.
DICTIONARIES = tuple(
    sorted(name for name in dir(cv2.aruco) if name.startswith("DICT_") and not re.search(r"\dH\d", name))
)
_LEAST_SIDE_PX = 9.0


@dataclass(frozen=True)
class MarkerLayout:
    """Markers `ids` (M,) with their corners (M, 4, 2) in the board's frame, metres, clockwise in the image from the
    marker's own top left. `legacy` is OpenCV's ChArUco layout before 4.6."""

    ids: np.ndarray
    corners_board_m: np.ndarray
    legacy: bool = False


@dataclass(frozen=True)
class Markers:
    """Markers found in an image: ids (M,) and corners (M, 4, 2) in pixels."""

    ids: np.ndarray
    corners_px: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


def dictionary_of(name: str) -> "cv2.aruco.Dictionary":
    """An OpenCV marker dictionary by name. Raises UserError for a name that OpenCV does not know."""
    if name not in DICTIONARIES:
        raise UserError(f"dictionary `{name}` is not known; known dictionaries: {', '.join(DICTIONARIES)}.")
    return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, name))


def marker_count(board: Board) -> int:
    """How many markers the board carries."""
    if board.type == "chessboard":
        return 0
    return board.columns * board.rows // (1 if board.type == "aprilgrid" else 2)


def check_dictionary(board: Board, name: str) -> None:
    """Raises UserError where the dictionary is unknown or has fewer markers than the board needs."""
    if board.type == "chessboard":
        return
    assert board.dictionary is not None
    available = len(dictionary_of(board.dictionary).bytesList)
    needed = marker_count(board)
    if needed > available:
        raise UserError(
            f"{name}: a {board.type} of {board.columns}x{board.rows} needs {needed} markers, but {board.dictionary} "
            f"has {available}. Use a larger dictionary or fewer columns and rows."
        )


def marker_layouts(board: Board) -> list[MarkerLayout]:
    """Every layout that the board may have, the likeliest first.

    A ChArUco board with an even number of rows has two, unless `board.legacy` is set: OpenCV before 4.6 began with a
    white square. An AprilGrid has four: Kalibr's, whose tags count from the bottom left upward, and one whose tags
    count from the top left downward, each with tags as AprilTag prints them or as OpenCV 4 does, turned by 180
    degrees. The board's frame is the same in all: its origin is the top left corner of the top left tag, y down.
    """
    if board.type == "aprilgrid":
        return _tag_layouts(board)
    if board.type == "chessboard":
        return []
    settings = [board.legacy] if board.legacy is not None else [False, True] if board.rows % 2 == 0 else [False]
    return [_charuco_layout(board, bool(legacy)) for legacy in settings]


def _charuco_layout(board: Board, legacy: bool) -> MarkerLayout:
    """Markers lie in the white squares, counted row by row. The first square is black, in a legacy board white where
    the number of rows is even."""
    assert board.marker_m is not None
    white = 0 if legacy and board.rows % 2 == 0 else 1
    cells = [(c, r) for r in range(board.rows) for c in range(board.columns) if (c + r) % 2 == white]
    origin = (np.array(cells) + 0.5) * board.side_m - board.marker_m / 2
    corners = (origin[:, None] + _UNIT_SQUARE * board.marker_m) * board.stretch
    return MarkerLayout(np.arange(len(cells)), corners, legacy)


def _tag_layouts(board: Board) -> list[MarkerLayout]:
    assert board.marker_m is not None
    ids = np.arange(board.columns * board.rows)
    column, row = ids % board.columns, ids // board.columns
    layouts = []
    for turn in (2, 0):
        for row_down in (board.rows - 1 - row, row):
            origin = np.stack([column, row_down], axis=1) * board.side_m
            corners = origin[:, None] + np.roll(_UNIT_SQUARE, turn, axis=0) * board.marker_m
            layouts.append(MarkerLayout(ids, corners * board.stretch))
    return layouts


_UNIT_SQUARE = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float64)


def marker_borders(board: Board) -> tuple[int, ...]:
    """Widths that the black border of the board's markers may have, in modules: Kalibr's tags have two."""
    return (2, 1) if board.type == "aprilgrid" else (1,)


def find_markers(
    gray: np.ndarray, dictionary: str, count: int | None = None, coarse: bool = False, borders: tuple[int, ...] = (1,)
) -> Markers:
    """Markers of a dictionary in an image (H, W) uint8, in the order of their ids; `count` looks at the first only.

    An id that is seen twice is dropped: one of them is wrong and nothing says which. `coarse` is faster and finds
    fewer. `borders` are the widths of the markers' black border to try, in modules. Safe in threads.
    """
    corners, ids = (), None
    for border in borders:
        corners, ids, _ = _detector(dictionary, count, coarse, border).detectMarkers(gray)
        if ids is not None and len(ids):
            break
    if ids is None or not len(ids):
        return Markers(np.empty(0, dtype=int), np.empty((0, 4, 2)))
    flat = np.asarray(ids).reshape(-1)
    kept, first, seen = np.unique(flat, return_index=True, return_counts=True)
    once = seen == 1
    return Markers(kept[once].astype(int), np.array(corners, dtype=np.float64).reshape(-1, 4, 2)[first[once]])


@lru_cache(maxsize=64)
def _detector(name: str, count: int | None, coarse: bool, border: int) -> "cv2.aruco.ArucoDetector":
    dictionary = dictionary_of(name)
    if count is not None:
        bits = dictionary.bytesList[:count].copy()
        dictionary = cv2.aruco.Dictionary(bits, dictionary.markerSize, dictionary.maxCorrectionBits)
    parameters = cv2.aruco.DetectorParameters()
    parameters.markerBorderBits = border
    parameters.adaptiveThreshWinSizeMin = 9 if coarse else 5
    parameters.adaptiveThreshWinSizeMax = 9 if coarse else 15
    parameters.adaptiveThreshWinSizeStep = 10
    return cv2.aruco.ArucoDetector(dictionary, parameters)
