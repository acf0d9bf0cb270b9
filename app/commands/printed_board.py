"""The printed board of a command that calibrates: a chessboard that looks the same when turned is none for cameras."""

from pathlib import Path

from calibration.board.board import Board, read_board
from calibration.errors import UserError


def refuse_symmetric(board: Board, place: str) -> None:
    """Raise UserError for a chessboard that is the same when turned by 180 degrees; `place` is how errors call it."""
    columns, rows = board.columns, board.rows
    if board.type == "chessboard" and columns % 2 == rows % 2:
        raise UserError(
            f"{place}a chessboard of {columns} x {rows} squares looks the same when turned by 180 degrees, so cameras "
            "cannot agree on its corners. Make one number even and the other odd, for example `usthand board --type "
            f"chessboard --columns {columns} --rows {rows + 1}`, or use `usthand board --type charuco`."
        )


def read_printed_board(path: Path) -> Board:
    """Read `board.yaml`. Raises UserError where it is wrong, and for a symmetric chessboard."""
    board = read_board(path)
    refuse_symmetric(board, f"{path}: ")
    return board
