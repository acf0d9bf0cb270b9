"""The calibration board, kept in `board.yaml`."""

from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from calibration.errors import UserError
from calibration.yamlfile import read_yaml, write_yaml

BoardType = Literal["charuco", "chessboard", "aprilgrid"]


class Board(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True, kw_only=True):
    """A flat board. `columns` and `rows` count squares (charuco, chessboard) or tags (aprilgrid).

    `square_m` is the side of a square (aprilgrid: of a tag plus the gap), `marker_m` of a marker, in metres.
    `inverted` boards have black and white swapped. `legacy` is OpenCV's ChArUco layout before 4.6; None detects it.
    """

    type: BoardType
    columns: int
    rows: int
    square_m: float
    dictionary: str | None = None
    marker_m: float | None = None
    inverted: bool = False
    legacy: bool | None = None

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
            x = (np.arange(self.columns)[:, None] * self.square_m + np.array([0.0, self.marker_m])).ravel()
            y = (np.arange(self.rows)[:, None] * self.square_m + np.array([0.0, self.marker_m])).ravel()
        else:
            x, y = (np.arange(count) + 1.0 for count in (columns, rows))
            x, y = x * self.square_m, y * self.square_m
        grid_x, grid_y = np.meshgrid(x, y)
        return np.stack([grid_x.ravel(), grid_y.ravel(), np.zeros(columns * rows)], axis=1)


def read_board(path: Path) -> Board:
    """Read and check `board.yaml`. Raises UserError."""
    board = read_yaml(Path(path), Board)
    check_board(board, str(path))
    return board


def write_board(path: Path, board: Board) -> None:
    write_yaml(path, board)


def check_board(board: Board, name: str) -> None:
    """Raises UserError for a board that cannot exist."""
    least = 1 if board.type == "aprilgrid" else 3
    if board.columns < least or board.rows < least:
        raise UserError(f"{name}: {board.columns} columns and {board.rows} rows; a {board.type} has at least {least}.")
    if not board.square_m > 0:
        raise UserError(f"{name}: `square_m` is {board.square_m}; it must be above zero, in metres.")
    if board.type != "chessboard":
        if not board.dictionary:
            raise UserError(f"{name}: a {board.type} needs `dictionary`, for example DICT_4X4_50.")
        if board.marker_m is None or not 0 < board.marker_m < board.square_m:
            raise UserError(
                f"{name}: `marker_m` is {board.marker_m}; it must be above zero and below "
                f"`square_m` ({board.square_m})."
            )
