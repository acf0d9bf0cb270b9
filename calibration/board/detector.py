"""Finding the board in an image: corners to a fraction of a pixel, or the reason why not."""

from dataclasses import dataclass, field, replace
from functools import partial

import cv2
import numpy as np

from calibration.board.board import Board
from calibration.board.chessboard import find_chessboard
from calibration.board.corners import RefinedCorners, refine_corners
from calibration.board.markers import Markers, find_markers, marker_borders, marker_count, marker_layouts
from calibration.board.plane import PlaneFit, apply_homography, fit_markers, is_ambiguous, lie_smoothly
from calibration.board.settings import DETECTOR

NO_BOARD, FEW_CORNERS, BLUR, DARK, NOT_FLAT, LAYOUT, TWO_BOARDS = (
    "no board",
    "few corners",
    "blur",
    "dark",
    "not this board",
    "other layout",
    "two boards",
)


@dataclass(frozen=True, kw_only=True)
class BoardDetection:
    """The board in one image, or why it was turned down.

    `corner_ids` (n,) index `Board.corners_board_m`, `corners_px` (n, 2) are distorted pixels of the image as given,
    `std_px` the expected error of a corner. `rejected` is None, or the reason, with no corners. `markers` counts the
    markers that lie where the board has them. `legacy` is the layout that was seen, None where the board has but one.
    `edge_px` is the width of an edge between black and white where it is widest, `contrast` bright minus dark in grey
    levels. `outline_px` (4, 2) bounds the board, in pixels, where at least two markers were seen. `mirrored`: the board
    is seen as a mirror shows it, which is how the back of a two-sided board looks; a chessboard does not tell.
    """

    corner_ids: np.ndarray
    corners_px: np.ndarray
    std_px: float = np.nan
    rejected: str | None = None
    markers: int = 0
    legacy: bool | None = None
    mirrored: bool = False
    edge_px: float = np.nan
    contrast: float = np.nan
    outline_px: np.ndarray | None = field(default=None, repr=False)

    @property
    def found(self) -> bool:
        return self.rejected is None


def detect_board(
    image: np.ndarray, board: Board, *, inverted: bool | None = None, coarse: bool = False
) -> BoardDetection:
    """Find the board in an image (H, W) or (H, W, 3) BGR, uint8, from its front or, where its markers are mirrored,
    from its back. `inverted` overrides `board.inverted`."""
    gray = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    if board.inverted if inverted is None else inverted:
        gray = cv2.bitwise_not(gray)
    if board.type == "chessboard":
        return _detect_chessboard(gray, board)
    assert board.dictionary is not None
    markers = find_markers(
        gray, board.dictionary, marker_count(board), coarse, marker_borders(board), mirrored_too=True
    )
    return detect_from_markers(gray, markers, board)


def detect_from_markers(gray: np.ndarray, markers: Markers, board: Board) -> BoardDetection:
    """The board's corners in a gray image whose black is dark, from markers found in it."""
    if markers.twice >= DETECTOR.most_twice:
        return rejected(TWO_BOARDS, len(markers))
    if not len(markers):
        return rejected(NO_BOARD)
    layouts = marker_layouts(board)
    fits = [fit for layout in layouts if (fit := fit_markers(markers, layout)) is not None]
    if not fits:
        return rejected(NOT_FLAT if len(markers) >= 3 else FEW_CORNERS, len(markers))
    fit = max(fits, key=lambda fit: (fit.markers, -fit.rmse_px))
    legacy = fit.layout.legacy if board.type == "charuco" and board.rows % 2 == 0 else None
    if fit.markers < 2 or is_ambiguous(fit, fits):
        return rejected(FEW_CORNERS, fit.markers)
    points = board.corners_board_m[:, :2]
    found = _refine(gray, fit, points, board)
    outline = apply_homography(fit.H_px_board, _outline_m(board))
    return replace(found, markers=fit.markers, legacy=legacy, mirrored=markers.mirrored, outline_px=outline)


def _outline_m(board: Board) -> np.ndarray:
    size = np.array([board.columns, board.rows]) * board.squares_m
    return np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * size


def _refine(gray: np.ndarray, fit: PlaneFit, points_board_m: np.ndarray, board: Board) -> BoardDetection:
    signs = expected_signs(board, fit.layout.legacy)
    ids, corners, axes = _in_sight(gray, fit, points_board_m, board)
    if len(ids) < DETECTOR.least_corners:
        return rejected(FEW_CORNERS)
    refined = refine_corners(gray, corners, axes, signs[ids], *edge_room(board))
    return judge(refined, ids, axes, points_board_m, board)


def judge(
    refined: RefinedCorners, ids: np.ndarray, axes: np.ndarray, points_board_m: np.ndarray, board: Board
) -> BoardDetection:
    """Keep the corners that can be trusted, or turn the view down."""
    square_px = float(np.median(np.linalg.norm(axes, axis=2)))
    seen = partial(replace, contrast=refined.contrast, edge_px=float(refined.edge_px.max()))
    if refined.contrast < DETECTOR.least_contrast:
        return seen(rejected(DARK))
    if refined.edge_px.max() > max(DETECTOR.widest_edge_squares * square_px, DETECTOR.widest_edge_px):
        return seen(rejected(BLUR))
    farthest_px = max(DETECTOR.farthest_moved_reach * edge_room(board)[0] * square_px, DETECTOR.farthest_moved_px)
    good = (refined.saddle > DETECTOR.least_saddle) & (refined.moved_px < farthest_px)
    good &= lie_smoothly(refined.corners_px, points_board_m[ids] / board.side_m, good, square_px)
    ids, corners = ids[good], refined.corners_px[good]
    columns = board.corner_shape[0]
    if len(ids) < DETECTOR.least_corners or len(set(ids % columns)) < 2 or len(set(ids // columns)) < 2:
        return seen(rejected(FEW_CORNERS))
    std_px = corner_std_px(float(refined.edge_px.max()), refined.noise, refined.contrast)
    return seen(BoardDetection(corner_ids=ids, corners_px=corners, std_px=std_px))


def _in_sight(gray: np.ndarray, fit: PlaneFit, points_board_m: np.ndarray, board: Board):
    """Ids (n,), expected pixels (n, 2) and axes (n, 2, 2) of the corners that lie in the image, at a usable size."""
    corners, square_m = fit.predict(points_board_m), board.side_m
    axes = np.stack(
        [
            (fit.predict(points_board_m + step) - fit.predict(points_board_m - step)) / 0.5
            for step in (np.array([0.25 * square_m, 0]), np.array([0, 0.25 * square_m]))
        ],
        axis=1,
    )
    height, width = gray.shape
    reach = 0.3 * np.abs(axes).sum(axis=1)
    inside = ((corners - reach > 0) & (corners + reach < [width - 1, height - 1])).all(axis=1)
    area = np.abs(np.linalg.det(axes))
    lengths = np.linalg.norm(axes, axis=2)
    large = lengths.min(axis=1) * edge_room(board)[0] > DETECTOR.least_reach_px
    usable = inside & large & (area > 0.15 * lengths.prod(axis=1))
    apart = np.linalg.norm(points_board_m[:, None] - fit.markers_m[None], axis=2).min(axis=1)
    ids = np.flatnonzero(usable & (apart < DETECTOR.farthest_marker_squares * square_m))
    return ids, corners[ids], axes[ids]


def corner_std_px(edge_px: float, noise: float, contrast: float) -> float:
    """Expected error of a corner, pixels.

    Noise moves a corner by about half an edge's width times noise over contrast (measured on rendered boards, square
    sizes of 25 to 100 pixels). What is seen in real boards but in no rendered one, being neither noise nor blur, is
    taken as 0.05 pixels and 2 % of the edge's width.
    """
    return float(np.linalg.norm([0.05, 0.02 * edge_px, 0.5 * edge_px * noise / contrast]))


def expected_signs(board: Board, legacy: bool) -> np.ndarray:
    """(N,) +1 where the square above and left of a corner is black, else -1."""
    columns, rows = board.corner_shape
    row, column = np.divmod(np.arange(columns * rows), columns)
    first = -1 if legacy and board.rows % 2 == 0 else 1
    return first * (-1) ** (row + column)


def edge_room(board: Board) -> tuple[float, float]:
    """How far edges go on from a corner, and half the width of the strips along them that show nothing else, squares.

    Between the tags of an AprilGrid lie small squares, so that its corners are crossings too, as short as the gap.
    """
    if board.type == "chessboard" or board.marker_m is None:
        return 0.5, 0.35
    gap = 1 - board.marker_m / board.side_m
    return (0.9 * gap, 0.6 * gap) if board.type == "aprilgrid" else (0.5, 0.8 * gap / 2)


def _detect_chessboard(gray: np.ndarray, board: Board) -> BoardDetection:
    found = find_chessboard(gray, board)
    if found is None:
        return rejected(NO_BOARD)
    corners, axes = found
    ids = np.arange(len(corners))
    refined = refine_corners(gray, corners, axes, expected_signs(board, False), *edge_room(board))
    outline = np.stack([corners.min(axis=0), corners.max(axis=0)])
    return replace(judge(refined, ids, axes, board.corners_board_m[:, :2], board), outline_px=outline)


def rejected(reason: str, markers: int = 0) -> BoardDetection:
    none = np.empty(0, dtype=int)
    return BoardDetection(corner_ids=none, corners_px=np.empty((0, 2)), rejected=reason, markers=markers)
