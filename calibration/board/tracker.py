"""Finding the board in one camera's successive images, fast: first where it was, then in a small copy."""

import copy
from dataclasses import replace

import cv2
import numpy as np

from calibration.board.board import Board
from calibration.board.detector import (
    NO_BOARD,
    BoardDetection,
    detect_board,
    detect_from_markers,
    rejected,
)
from calibration.board.markers import Markers, find_markers, marker_borders, marker_count, shows_inverted
from calibration.board.settings import TRACKER

Region = tuple[int, int, int, int]


class BoardTracker:
    """The board in the images of one camera, one after another. Not for several threads at once.

    Every image is searched where the board was last, or else in a copy of 640 pixels; every eighth image without a
    board is also searched at 1280 pixels, for boards far away. Corners are always refined in the full image.

    Unless `inverted` is given, the first board that is found says whether black and white are swapped.
    """

    def __init__(self, board: Board, *, inverted: bool | None = None) -> None:
        self.board = board
        self.inverted = board.inverted if inverted is None else inverted
        self._polarity_known = inverted is not None
        self._region: Region | None = None
        self._markers = 0
        self._without = 0

    def detect(self, image: np.ndarray) -> BoardDetection:
        """The board in an image (H, W) or (H, W, 3) BGR, uint8. See `detect_board`."""
        gray = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        if self.board.type == "chessboard":
            return detect_board(gray, self.board, inverted=self.inverted)
        return self._detect(cv2.bitwise_not(gray) if self.inverted and self._polarity_known else gray)

    def copy(self) -> "BoardTracker":
        """Another tracker that goes on from where this one is."""
        return copy.copy(self)

    def for_board(self, board: Board) -> "BoardTracker":
        """Another tracker that goes on from where this one is, now that more is known of the board."""
        other = self.copy()
        other.board = board
        return other

    def follow(self, image: np.ndarray) -> BoardDetection:
        """The board near where it was last, else none: no search of the whole image."""
        return self.detect(image) if self._region is not None else rejected(NO_BOARD)

    def _detect(self, gray: np.ndarray) -> BoardDetection:
        found = rejected(NO_BOARD)
        if self._region is not None:
            found = self._in_region(gray, self._region)
        if not found.found and found.markers <= self._markers // 2:
            found = self._search(gray, found)
        self._markers = found.markers
        self._region = _around(found.outline_px, gray.shape) if found.outline_px is not None else None
        self._without = 0 if found.found else self._without + 1
        return found

    def _search(self, gray: np.ndarray, before: BoardDetection) -> BoardDetection:
        best = before
        fine = self._without % TRACKER.fine_search_every == 0
        sizes = [TRACKER.coarse_side_px, TRACKER.fine_side_px] if fine else [TRACKER.coarse_side_px]
        for size in sizes:
            markers = self._find(gray, (0, 0, gray.shape[1], gray.shape[0]), size, coarse=True)
            if not len(markers):
                continue
            found = self._in_region(gray, _reach(markers, self.board, gray.shape))
            if found.markers >= best.markers and (found.found or not best.found):
                best = found
            if best.found:
                break
        return best

    def _in_region(self, gray: np.ndarray, region: Region) -> BoardDetection:
        markers = self._find(gray, region, TRACKER.fine_side_px, coarse=False)
        if self._polarity_known or not len(markers):
            return detect_from_markers(gray, markers, self.board)
        inverted = shows_inverted(gray, markers)
        found = detect_from_markers(cv2.bitwise_not(gray) if inverted else gray, markers, self.board)
        if found.found:
            self.inverted, self._polarity_known = inverted, True
        return found

    def _find(self, gray: np.ndarray, region: Region, most_px: int, coarse: bool) -> Markers:
        """Markers in a part of the image, which is made smaller where it is larger than `most_px`."""
        assert self.board.dictionary is not None
        left, top, right, bottom = region
        part = gray[top:bottom, left:right]
        scale = min(1.0, most_px / max(part.shape))
        if scale < 1:
            part = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        count, borders = marker_count(self.board), marker_borders(self.board)
        markers = find_markers(
            part, self.board.dictionary, count, coarse, borders,
            mirrored_too=True, inverted_too=not self._polarity_known,
        )  # fmt: skip
        return replace(markers, corners_px=(markers.corners_px + 0.5) / scale - 0.5 + [left, top])


def _around(outline_px: np.ndarray, shape: tuple[int, ...]) -> Region | None:
    """The box around the board with room to move in."""
    low, high = outline_px.min(axis=0), outline_px.max(axis=0)
    room = 0.25 * (high - low).max() + 8
    return _clipped(low - room, high + room, shape)


def _reach(markers: Markers, board: Board, shape: tuple[int, ...]) -> Region:
    """The box that holds the whole board, whichever of its markers these are."""
    assert board.marker_m is not None
    points = markers.corners_px.reshape(-1, 2)
    sides = np.linalg.norm(markers.corners_px - np.roll(markers.corners_px, 1, axis=1), axis=2)
    room = 1.3 * sides.max() * board.side_m / board.marker_m * max(board.columns, board.rows)
    return _clipped(points.min(axis=0) - room, points.max(axis=0) + room, shape) or (0, 0, shape[1], shape[0])


def _clipped(low: np.ndarray, high: np.ndarray, shape: tuple[int, ...]) -> Region | None:
    size = np.array([shape[1], shape[0]])
    left, top = (int(value) for value in np.clip(np.floor(low), 0, size))
    right, bottom = (int(value) for value in np.clip(np.ceil(high), 0, size))
    return (left, top, right, bottom) if right - left > 16 and bottom - top > 16 else None
