"""The calibration board, kept in `board.yaml`."""

from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from calibration.errors import UserError
from calibration.yamlfile import read_yaml, write_yaml

# A print that is further from square than this is a typing error.
_MOST_STRETCH = 1.2
# A square wider than this, or narrower than a thousandth of it, is in another unit.
_MOST_SQUARE_M = 1.0

BoardType = Literal["charuco", "chessboard", "aprilgrid"]


class Board(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True, kw_only=True):
    """A flat board. `columns` and `rows` count squares (charuco, chessboard) or tags (aprilgrid).

    `square_m` is the side of a square (aprilgrid: of a tag plus the gap), `marker_m` of a marker, in metres. Two
    numbers are a square's width, along a row, and its height, along a column: a print that is not square. Its markers
    are stretched alike, and `marker_m` is the mean of their sides.
    `inverted` boards have black and white swapped. `legacy` is OpenCV's ChArUco layout before 4.6; None detects it.
    """

    type: BoardType
    columns: int
    rows: int
    square_m: float | tuple[float, float]
    dictionary: str | None = None
    marker_m: float | None = None
    inverted: bool = False
    legacy: bool | None = None

    @property
    def squares_m(self) -> tuple[float, float]:
        """Width and height of a square."""
        return self.square_m if isinstance(self.square_m, tuple) else (self.square_m, self.square_m)

    @property
    def side_m(self) -> float:
        """The mean of a square's width and height."""
        return sum(self.squares_m) / 2

    @property
    def stretch(self) -> np.ndarray:
        """(2,) what places on a board of `side_m` along x and y are multiplied with."""
        return np.array(self.squares_m) / self.side_m

    @property
    def squares_text_mm(self) -> str:
        """The size of a square for people, in millimetres: one number, or width x height."""
        sides = [f"{1000 * side:g}" for side in self.squares_m]
        return sides[0] if sides[0] == sides[1] else " x ".join(sides)

    @property
    def corner_shape(self) -> tuple[int, int]:
        """(columns, rows) of the corners that are measured: inner corners, or the four corners of every tag."""
        if self.type == "aprilgrid":
            return 2 * self.columns, 2 * self.rows
        return self.columns - 1, self.rows - 1

    @property
    def corners_board_m(self) -> np.ndarray:
        """(N, 3) corners in the board's frame, metres: x along a row, y along a column, z = 0; N row by row."""
        columns, rows = self.corner_shape
        if self.type == "aprilgrid":
            assert self.marker_m is not None
            x = (np.arange(self.columns)[:, None] * self.side_m + np.array([0.0, self.marker_m])).ravel()
            y = (np.arange(self.rows)[:, None] * self.side_m + np.array([0.0, self.marker_m])).ravel()
        else:
            x, y = ((np.arange(count) + 1.0) * self.side_m for count in (columns, rows))
        grid_x, grid_y = np.meshgrid(x * self.stretch[0], y * self.stretch[1])
        return np.stack([grid_x.ravel(), grid_y.ravel(), np.zeros(columns * rows)], axis=1)


def board_file(path: Path) -> Path:
    """A `board.yaml`, or that in a folder."""
    return path / "board.yaml" if path.is_dir() else path


def read_board(path: Path) -> Board:
    """Read and check a `board.yaml`, or that in a folder. Raises UserError."""
    path = board_file(Path(path))
    board = read_yaml(path, Board, "Give the board.yaml that `usthand board` wrote, or one like it.")
    check_board(board, str(path))
    return board


def write_board(path: Path, board: Board) -> None:
    write_yaml(path, board)


def check_counts(kind: BoardType, columns: int, rows: int, name: str) -> None:
    """Raises UserError for fewer columns or rows than a board has of which the corners can be told apart."""
    # Tags of one row fit two layouts; OpenCV finds no chessboard of two inner corners a row.
    least = {"charuco": 3, "chessboard": 4, "aprilgrid": 2}[kind]
    if columns < least or rows < least:
        raise UserError(f"{name}: {columns} columns and {rows} rows; a {kind} has at least {least}.")


def check_board(board: Board, name: str) -> None:
    """Raises UserError for a board that cannot exist."""
    check_counts(board.type, board.columns, board.rows, name)
    if not min(board.squares_m) > 0:
        raise UserError(f"{name}: `square_m` is {_written(board)}; it must be above zero, in metres.")
    if not _MOST_SQUARE_M / 1000 <= board.side_m <= _MOST_SQUARE_M:
        raise UserError(
            f"{name}: `square_m` is {_written(board)}, and no board has squares of {1000 * board.side_m:g} mm. It is "
            f"in metres: write 0.054 for 54 mm, and `marker_m` likewise."
        )
    if max(board.squares_m) > _MOST_STRETCH * min(board.squares_m):
        raise UserError(
            f"{name}: `square_m` is {_written(board)}, width and height of a square; they differ by more than a print "
            "does. Measure a row and a column of squares again."
        )
    if board.type != "chessboard":
        if not board.dictionary:
            raise UserError(f"{name}: a {board.type} needs `dictionary`, for example DICT_4X4_50.")
        if board.marker_m is None or not 0 < board.marker_m < board.side_m:
            raise UserError(
                f"{name}: `marker_m` is {board.marker_m}; it must be above zero and below "
                f"`square_m` ({_written(board)})."
            )


def _written(board: Board) -> str:
    """`square_m` as the file has it."""
    return str(list(board.square_m) if isinstance(board.square_m, tuple) else board.square_m)
