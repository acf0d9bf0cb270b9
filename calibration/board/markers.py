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
    """Markers found in an image: ids (M,) and corners (M, 4, 2) in pixels.

    `mirrored`: all were read as a mirror shows them; corners keep their order on the marker, which in the image then
    runs against the clock. `twice`: how many ids were seen more than once, and so left out.
    """

    ids: np.ndarray
    corners_px: np.ndarray
    mirrored: bool = False
    twice: int = 0

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
    gray: np.ndarray,
    dictionary: str,
    count: int | None = None,
    coarse: bool = False,
    borders: tuple[int, ...] = (1,),
    *,
    mirrored_too: bool = False,
    inverted_too: bool = False,
) -> Markers:
    """Markers of a dictionary in an image (H, W) uint8, in the order of their ids; `count` looks at the first only.

    An id that is seen twice is dropped: one of them is wrong and nothing says which. `coarse` is faster and finds
    fewer. `borders` are the widths of the markers' black border to try, in modules. `mirrored_too` also reads them as a
    mirror shows them, as on the back of a two-sided board, and gives whichever are more; `inverted_too` also those with
    black and white swapped. Either costs next to nothing: the squares that may be markers are the same.
    Safe in threads.
    """
    corners, ids = (), None
    for border in borders:
        detector = _detector(dictionary, count, coarse, border, mirrored_too, inverted_too)
        corners, ids, _ = detector.detectMarkers(gray)
        if ids is not None and len(ids):
            break
    if ids is None or not len(ids):
        return Markers(np.empty(0, dtype=int), np.empty((0, 4, 2)))
    flat, at = np.asarray(ids).reshape(-1).astype(int), np.array(corners, dtype=np.float64).reshape(-1, 4, 2)
    if not mirrored_too:
        return _seen_once(flat, at, False)
    known = len(dictionary_of(dictionary).bytesList) if count is None else count
    back = flat >= known
    if 2 * back.sum() <= len(flat):
        return _seen_once(flat[~back], at[~back], False)
    # What the detector took for the marker's top left is its top right.
    return _seen_once(flat[back] - known, at[back][:, [1, 0, 3, 2]], True)


def _seen_once(ids: np.ndarray, corners_px: np.ndarray, mirrored: bool) -> Markers:
    kept, first, seen = np.unique(ids, return_index=True, return_counts=True)
    once = seen == 1
    return Markers(kept[once], corners_px[first[once]], mirrored, int((~once).sum()))


def shows_inverted(gray: np.ndarray, markers: Markers) -> bool:
    """Whether the markers' borders are brighter than what lies around them, by the corners of most."""
    corners = markers.corners_px
    inward = (corners.mean(axis=1, keepdims=True) - corners) * 0.12
    inside, outside = _levels(gray, corners + inward), _levels(gray, corners - inward)
    return float(np.sign(inside - outside).sum()) > 0


def _levels(gray: np.ndarray, at_px: np.ndarray) -> np.ndarray:
    at = np.clip(np.rint(at_px).astype(int), 0, [gray.shape[1] - 1, gray.shape[0] - 1])
    return gray[at[..., 1], at[..., 0]].astype(np.float64)


@lru_cache(maxsize=64)
def _detector(
    name: str, count: int | None, coarse: bool, border: int, mirrored_too: bool, inverted_too: bool
) -> "cv2.aruco.ArucoDetector":
    dictionary = dictionary_of(name)
    if count is not None or mirrored_too:
        kinds = dictionary.bytesList[:count].copy()
        if mirrored_too:
            kinds = np.concatenate([kinds, _mirror_images(kinds, dictionary.markerSize)])
        dictionary = cv2.aruco.Dictionary(kinds, dictionary.markerSize, dictionary.maxCorrectionBits)
    parameters = cv2.aruco.DetectorParameters()
    parameters.markerBorderBits = border
    parameters.detectInvertedMarker = inverted_too
    parameters.adaptiveThreshWinSizeMin = 9 if coarse else 5
    parameters.adaptiveThreshWinSizeMax = 9 if coarse else 15
    parameters.adaptiveThreshWinSizeStep = 10
    return cv2.aruco.ArucoDetector(dictionary, parameters)


def _mirror_images(kinds: np.ndarray, side: int) -> np.ndarray:
    """The markers (M, ...) of a dictionary with left and right exchanged."""
    bits = [cv2.aruco.Dictionary.getBitsFromByteList(kinds[index : index + 1], side) for index in range(len(kinds))]
    flipped = [cv2.aruco.Dictionary.getByteListFromBits(np.ascontiguousarray(each[:, ::-1])) for each in bits]
    return np.concatenate(flipped)
