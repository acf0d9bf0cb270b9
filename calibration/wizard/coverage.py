"""What captured board views cover: image cells, tilts and distances of each camera, and the pairs that saw it together.

Tilt and distance are read with a nominal lens, since the wizard works before any lens is known: they steer the capture
and are no measurement.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np

from calibration.board.board import Board
from calibration.board.views import BoardView
from calibration.image_cells import GRID, cell_counts, cells_of

_NOMINAL_FOCAL = 0.8
# Two poses of a flat board whose errors differ by less than this factor cannot be told apart.
_AMBIGUOUS = 2.0
_TILT_WEIGHT = 0.7
_SIZE_WEIGHT = 0.5

ViewSet = Mapping[str, BoardView]


@dataclass(frozen=True, kw_only=True)
class BoardPlacement:
    """Where the board is in one image, in numbers that compare between views.

    `centre` (2,) in image widths and heights; `log_size` log2 of the board's diagonal in image widths, if it faced the
    camera; `normals` (K, 3) the one or two possible directions of the board's back in camera axes: where x is above
    zero the edge on the right of the image is the nearer one, where y is the lower edge. `cells` indexes GRID. `sure`
    where half of the board was seen: else tilt and size are vague.
    """

    centre: np.ndarray
    log_size: float
    normals: np.ndarray
    cells: frozenset[int]
    sure: bool = True

    def distance(self, other: "BoardPlacement") -> float:
        """How different two placements are; 0.1 is barely worth another image, 0.4 is plainly another pose."""
        between = self.normals[:, None] - other.normals[None]
        tilt = _TILT_WEIGHT * float(np.linalg.norm(between, axis=2).min())
        size = _SIZE_WEIGHT * (self.log_size - other.log_size)
        return float(np.linalg.norm([*(self.centre - other.centre), size, tilt]))


def placement(view: BoardView, board: Board, image_size: tuple[int, int]) -> BoardPlacement:
    """The board's placement in a view of at least four corners."""
    width, height = image_size
    points = board.corners_board_m[view.corner_ids]
    middle = board.corners_board_m.mean(axis=0)
    focal = _NOMINAL_FOCAL * width
    matrix = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    cells = frozenset(cells_of(view.corners_px, image_size).tolist())
    seen_centre = view.corners_px.mean(axis=0) / (width, height)
    try:
        count, turns, shifts, errors = cv2.solvePnPGeneric(
            points - middle, view.corners_px.astype(np.float64), matrix, np.zeros(5), flags=cv2.SOLVEPNP_IPPE
        )
    except cv2.error:
        count, turns, shifts, errors = 0, [], [], np.empty((0, 1))
    if not count:
        extent = float(np.linalg.norm(np.ptp(view.corners_px, axis=0)))
        facing = np.array([[0.0, 0.0, 1.0]])
        return BoardPlacement(
            centre=seen_centre,
            log_size=float(np.log2(max(extent, 1.0) / width)),
            normals=facing,
            cells=cells,
            sure=False,
        )
    both = count > 1 and float(errors[1, 0]) < _AMBIGUOUS * float(errors[0, 0]) + 0.2
    normals = np.array([cv2.Rodrigues(turn)[0][:, 2] for turn in turns[: 2 if both else 1]])
    depth = max(float(shifts[0][2, 0]), 1e-3)
    diagonal = float(np.linalg.norm(np.ptp(board.corners_board_m, axis=0)))
    centre = shifts[0][:2, 0] * focal / depth / (width, height) + 0.5
    log_size = float(np.log2(diagonal * focal / depth / width))
    sure = 2 * len(points) >= len(board.corners_board_m)
    return BoardPlacement(centre=np.clip(centre, -0.5, 1.5), log_size=log_size, normals=normals, cells=cells, sure=sure)


class CameraCoverage:
    """What one camera has of the board. `heat` (rows, columns) counts corners per cell."""

    def __init__(self) -> None:
        self.heat = np.zeros(GRID, dtype=int)
        self.placements: list[BoardPlacement] = []

    def add(self, view: BoardView, placed: BoardPlacement, image_size: tuple[int, int]) -> None:
        self.heat += cell_counts(view.corners_px, image_size)
        self.placements.append(placed)

    @property
    def views(self) -> int:
        return len(self.placements)

    @property
    def share(self) -> float:
        """Share of the image's cells where corners were seen."""
        return float((self.heat > 0).mean())

    def new_cells(self, placed: BoardPlacement) -> int:
        return sum(self.heat.reshape(-1)[cell] == 0 for cell in placed.cells)

    def novelty(self, placed: BoardPlacement) -> float:
        """Distance to the nearest placement so far; infinite for the first."""
        return min((placed.distance(other) for other in self.placements), default=np.inf)

    def tilted(self, axis: int, least_degrees: float) -> int:
        """Views tilted at least so much sideways (`axis` 0) or up and down (1), counted where both poses agree."""
        least = np.sin(np.radians(least_degrees))
        return sum(placed.sure and bool((np.abs(placed.normals[:, axis]) > least).all()) for placed in self.placements)

    @property
    def size_ratio(self) -> float:
        """The largest view of the board over the smallest."""
        sizes = [placed.log_size for placed in self.placements if placed.sure]
        return float(2 ** (max(sizes) - min(sizes))) if sizes else 1.0


class Coverage:
    """The coverage of all cameras, and of pairs: how often both saw the board, and where in the first one's image."""

    def __init__(self, board: Board, image_size: Mapping[str, tuple[int, int]], sets: Iterable[ViewSet] = ()) -> None:
        self._board, self._image_size = board, dict(image_size)
        self.cameras = {camera_id: CameraCoverage() for camera_id in image_size}
        self.shared = dict.fromkeys(combinations(image_size, 2), 0)
        self.pair_heat = {
            (first, second): np.zeros(GRID, dtype=int)
            for first in image_size
            for second in image_size
            if first != second
        }
        for views in sets:
            self.add(views)

    def place(self, view: BoardView) -> BoardPlacement:
        return placement(view, self._board, self._image_size[view.camera_id])

    def add(self, views: ViewSet) -> None:
        """Count one captured set."""
        for camera_id, view in views.items():
            size = self._image_size[camera_id]
            self.cameras[camera_id].add(view, self.place(view), size)
            for other in views:
                if other != camera_id:
                    self.pair_heat[camera_id, other] += cell_counts(view.corners_px, size)
        for pair in self.shared:
            self.shared[pair] += pair[0] in views and pair[1] in views

    def groups(self, least_shared: int) -> list[list[str]]:
        """Cameras that at least so many shared captures link with one another, in the order of the rig."""
        group_of = {camera_id: number for number, camera_id in enumerate(self.cameras)}
        for (first, second), count in self.shared.items():
            if count >= least_shared:
                joined, gone = group_of[first], group_of[second]
                group_of = {camera_id: joined if group == gone else group for camera_id, group in group_of.items()}
        return [
            [camera_id for camera_id, of in group_of.items() if of == group]
            for group in dict.fromkeys(group_of.values())
        ]
