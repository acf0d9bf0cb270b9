"""Which board is this? A hint in words where the board that was described is not the board that is seen."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from calibration.board.board import Board
from calibration.board.markers import Markers, find_markers, marker_borders, marker_count
from calibration.board.plane import apply_homography
from calibration.board.session_scan import sample_frames
from calibration.board.settings import DETECTOR
from calibration.board.tracker import BoardTracker
from calibration.session import Session

_log = logging.getLogger(__name__)

# Smaller dictionaries of OpenCV are the first markers of these.
_FAMILIES = (
    "DICT_4X4_1000",
    "DICT_5X5_1000",
    "DICT_6X6_1000",
    "DICT_7X7_1000",
    "DICT_ARUCO_ORIGINAL",
    "DICT_ARUCO_MIP_36H12",
    "DICT_APRILTAG_16H5",
    "DICT_APRILTAG_25H9",
    "DICT_APRILTAG_36H10",
    "DICT_APRILTAG_36H11",
)
_SIDES = range(3, 21)
_LEAST_MARKERS = 4
_A = {"charuco": "a ChArUco board", "chessboard": "a chessboard", "aprilgrid": "an AprilGrid"}
_SAMPLES = 6
_SIDE_PX = 1280
_CLEAR_SCORE = 20
# Images with two boards from which on they are told.
_LEAST_TWICE = 2
# Share of the markers seen that lie where the described board has them: a wrong board holds a few by chance.
_MOST_MARKERS = 0.6


def another_board(session: Session, board: Board) -> str | None:
    """A sentence where the videos show another board than `board`, or two of them. Takes some seconds."""
    _log.info("comparing the videos with other boards ...")
    images = [image for camera_id in session.camera_ids for image in sample_frames(session, camera_id, _SAMPLES)]
    hint = hint_from_images(images, board)
    return f"{hint[0].upper()}{hint[1:]}: correct board.yaml." if hint else two_boards_hint(images, board)


def two_boards_hint(images: Sequence[np.ndarray], board: Board) -> str | None:
    """A sentence where images (H, W) uint8 show the board's markers twice, as a tracker that follows one of two boards
    does not see."""
    if board.type == "chessboard":
        return None
    own = str(board.dictionary), marker_count(board), False, marker_borders(board)
    times = sum(find_markers(image, *own, inverted_too=True).twice >= DETECTOR.most_twice for image in images)
    if times < _LEAST_TWICE:
        return None
    return (
        f"The board's markers are there twice in {times} of {len(images)} images that were compared: if two boards "
        "alike are in view, cameras may follow different ones; cover one and film again."
    )


def hint_from_images(images: Sequence[np.ndarray], board: Board) -> str | None:
    """One sentence such as "this looks like a ChArUco board of 5 x 7 with DICT_5X5 markers, not ...".

    `images` are (H, W) uint8. None where nothing better than `board` is found. Markers of ten families are looked
    for, as drawn, inverted and mirrored; the layout comes from the grid that the markers' numbers make.
    """
    found = [BoardTracker(board).detect(image) for image in images]
    family, inverted, mirrored, seen = _commonest(images)
    kind = _kind(str(family))
    layout = _layout(seen, kind)
    there = any(each.found for each in found)
    # Markers that make no grid may hang beside a chessboard that is seen.
    if family is None or (layout is None and board.type == "chessboard" and there):
        return _chessboard_hint(images, board, there)
    # A board that holds most of what is seen is there; other markers beside it are something else.
    if sum(each.markers for each in found if each.found) > _MOST_MARKERS * sum(len(markers) for markers in seen):
        return None
    differs = []
    if board.type == "chessboard" or family_of(str(board.dictionary)) != family:
        differs.append("dictionary")
    if layout is not None and (board.columns, board.rows) != layout:
        differs.append("layout")
    if not differs and not mirrored:
        return None
    dictionary = family if "dictionary" in differs else str(board.dictionary)
    size = f" of {layout[0]} x {layout[1]}" if layout is not None else ""
    extras = [name for name, holds in (("printed inverted", inverted), ("seen in mirror images", mirrored)) if holds]
    extra = f" ({', '.join(extras)})" if extras else ""
    return f"this looks like {_A[kind]}{size} with {_plain(dictionary)} markers{extra}, not {_describe(board)}"


def family_of(dictionary: str) -> str:
    """The dictionary that holds all markers of this one: DICT_4X4_50 is the start of DICT_4X4_1000."""
    stem = dictionary.upper().rpartition("_")[0]
    return next((name for name in _FAMILIES if name.rpartition("_")[0] == stem and "X" in stem), dictionary.upper())


def _describe(board: Board) -> str:
    with_markers = f" with {_plain(str(board.dictionary))} markers" if board.type != "chessboard" else ""
    return f"{_A[board.type]} of {board.columns} x {board.rows}{with_markers}"


def _plain(dictionary: str) -> str:
    """DICT_5X5_1000 as DICT_5X5: the number of markers does not show."""
    stem, _, size = dictionary.rpartition("_")
    return stem if size.isdigit() else dictionary


def _commonest(images: Sequence[np.ndarray]) -> tuple[str | None, bool, bool, list[Markers]]:
    """The family of markers seen most, and how; markers seen in one image only count little, being often noise."""
    small = [_shrunk(image) for image in images]
    best: tuple[float, str | None, bool, bool, list[Markers]] = (2.0, None, False, False, [])
    for inverted, mirrored in ((False, False), (True, False), (False, True), (True, True)):
        turned = [_turned(image, inverted, mirrored) for image in small]
        for family in _FAMILIES:
            borders = (2, 1) if "APRILTAG" in family else (1,)
            seen = [find_markers(image, _spelt(family), coarse=True, borders=borders) for image in turned]
            times = Counter(int(marker) for markers in seen for marker in markers.ids)
            lone = 0.1 if len(images) > 1 else 1.0
            score = sum(number if number > 1 else lone for number in times.values())
            score *= len(times) >= _LEAST_MARKERS - 1
            if score > best[0]:
                best = (score, family, inverted, mirrored, seen)
        if best[0] >= _CLEAR_SCORE and _layout(best[4], _kind(str(best[1]))) is not None:
            break
    # Noise and glare are read as a few markers too, but these make no grid.
    if best[0] < _CLEAR_SCORE and _layout(best[4], _kind(str(best[1]))) is None:
        return None, False, False, []
    return best[1:]


def _kind(family: str) -> str:
    return "aprilgrid" if "APRILTAG" in family else "charuco"


def _shrunk(image: np.ndarray) -> np.ndarray:
    scale = _SIDE_PX / max(image.shape)
    return image if scale >= 1 else cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _turned(image: np.ndarray, inverted: bool, mirrored: bool) -> np.ndarray:
    image = cv2.bitwise_not(image) if inverted else image
    return np.ascontiguousarray(image[:, ::-1]) if mirrored else image


def _spelt(family: str) -> str:
    """OpenCV spells the tag sizes with a small h."""
    return family.replace("H", "h") if "APRILTAG" in family or "MIP" in family else family


def _layout(seen: Iterable[Markers], kind: str) -> tuple[int, int] | None:
    """(columns, rows) of the grid that the markers' numbers make; None where too few are seen together."""
    usable = [markers for markers in seen if len(markers) >= _LEAST_MARKERS]
    if not usable:
        return None
    best, columns, shift, kept = 0, 0, 0, []
    for tried in _SIDES:
        for first in (1, 0) if kind == "charuco" else (0,):
            on_board = [_on_board(markers, tried, first, kind) for markers in usable]
            agreeing = sum(len(ids) for ids in on_board)
            if agreeing > best:
                best, columns, shift, kept = agreeing, tried, first, on_board
    if best < 0.6 * sum(len(markers) for markers in usable):
        return None
    # Of the markers that lie on the board alone: a wrong reading elsewhere may have any number.
    often = Counter(int(marker) for ids in kept for marker in ids)
    last = max(marker for marker, times in often.items() if times > 1 or len(usable) == 1)
    return columns, int(_cell(np.array([last]), columns, shift, kind)[0, 1]) + 1


def _on_board(markers: Markers, columns: int, shift: int, kind: str) -> np.ndarray:
    """The ids of the markers that lie on one plane if the board has this many columns; `shift` is 1 where its first
    square is white."""
    none = markers.ids[:0]
    cells = _cell(markers.ids, columns, shift, kind)
    if len(np.unique(cells[:, 0])) < 2 or len(np.unique(cells[:, 1])) < 2:
        return none
    # Turned by any angle, a marker's own corners still tell its size: half a marker is the tolerance.
    centres = markers.corners_px.mean(axis=1)
    side = float(np.median(np.linalg.norm(markers.corners_px[:, 0] - markers.corners_px[:, 1], axis=1)))
    if len(centres) < 5:
        return markers.ids[_agreeing_with_corners(markers, cells, side)]
    H, kept = cv2.findHomography(cells, centres, cv2.RANSAC, 0.25 * side)
    if H is None or np.linalg.matrix_rank(cells[kept.ravel() > 0] - cells[kept.ravel() > 0][0]) < 2:
        return none
    return markers.ids[kept.ravel() > 0]


def _agreeing_with_corners(markers: Markers, cells: np.ndarray, side: float) -> np.ndarray:
    """Which markers (M,) lie, with all their corners, on one plane."""
    unit = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 0.375
    best = np.zeros(len(markers), dtype=bool)
    for turn in range(4):
        at = (cells[:, None] + np.roll(unit, turn, axis=0)).reshape(-1, 2)
        H, _ = cv2.findHomography(at, markers.corners_px.reshape(-1, 2), 0)
        if H is not None:
            apart = np.linalg.norm(apply_homography(H, at) - markers.corners_px.reshape(-1, 2), axis=1)
            lie = apart.reshape(-1, 4).max(axis=1) < 0.2 * side
            best = lie if lie.sum() > best.sum() else best
    return best


def _cell(ids: np.ndarray, columns: int, shift: int, kind: str) -> np.ndarray:
    """(n, 2) column and row of markers on the board."""
    if kind == "aprilgrid":
        return np.stack([ids % columns, ids // columns], axis=1).astype(np.float64)
    rows = int(2 * ids.max() / columns) + 3
    white = np.array([(c, r) for r in range(rows) for c in range(columns) if (c + r) % 2 == 1 - shift])
    return white[ids].astype(np.float64)


def _chessboard_hint(images: Sequence[np.ndarray], board: Board, there: bool) -> str | None:
    """Of a chessboard that most images agree on. `there`: `board` is found in some, as it is within a larger one."""
    sizes: Counter[tuple[int, int]] = Counter()
    for image in images:
        scale = min(1.0, 800 / max(image.shape))
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        found, _, meta = cv2.findChessboardCornersSBWithMeta(small, (3, 3), cv2.CALIB_CB_LARGER)
        if found:
            rows, columns = meta.shape[:2]
            sizes[max(rows, columns) + 1, min(rows, columns) + 1] += 1
    if not sizes:
        return None
    (columns, rows), times = sizes.most_common(1)[0]
    asked = max(board.columns, board.rows), min(board.columns, board.rows)
    if (columns, rows) == asked or 2 * times < sizes.total():
        return None
    if board.type == "chessboard":
        told = not there or (columns >= asked[0] and rows >= asked[1])
    else:
        # What is no larger may be a part of the board itself, blurred or overexposed so that its markers are gone.
        told = not there and (columns > asked[0] or rows > asked[1])
    return f"this looks like a chessboard of {columns} x {rows}, not {_describe(board)}" if told else None
