"""Names of a board's corners, and which of them fingertips are to touch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibration.board.board import Board
from calibration.errors import UserError


@dataclass(frozen=True)
class Target:
    """A corner to touch: its name, and its place (3,) on the board."""

    name: str
    place_board_m: np.ndarray


def corner_names(board: Board) -> list[str]:
    """A name for each of the board's corners, in their order: columns A, B, ... from the left of the printed face,
    rows 1, 2, ... from its top. The print is the right way up as `usthand board` draws it."""
    columns, rows = board.corner_shape
    return [f"{_letters(column)}{row + 1}" for row in range(rows) for column in range(columns)]


def targets_of(board: Board, names: Sequence[str] | None = None) -> list[Target]:
    """The corners of these names; by default the four outermost and the one nearest to the middle, which are so far
    apart that it is plain which of them a fingertip touches.

    Raises UserError for a name that the board does not have, or fewer than two corners.
    """
    known, places_m = corner_names(board), board.corners_board_m
    if names is None:
        columns, rows = board.corner_shape
        chosen = [0, columns - 1, (rows - 1) * columns, rows * columns - 1]
        if columns > 2 and rows > 2:
            chosen.append(int(np.argmin(np.linalg.norm(places_m - places_m.mean(0), axis=1))))
        return [Target(known[index], places_m[index]) for index in chosen]
    wanted = list(dict.fromkeys(name.upper() for name in names))
    for name in wanted:
        if name not in known:
            raise UserError(f"`--corners {name}`: the board has the corners {known[0]} to {known[-1]}.")
    if len(wanted) < 2:
        raise UserError("`--corners`: give two or more corners, far apart, such as the outermost four.")
    return [Target(name, places_m[known.index(name)]) for name in wanted]


def spacing_m(targets: Sequence[Target]) -> float:
    """The least distance between two of them."""
    places_m = np.stack([target.place_board_m for target in targets])
    apart_m = np.linalg.norm(places_m[:, None] - places_m, axis=-1)
    return float(apart_m[np.triu_indices(len(targets), 1)].min())


def _letters(column: int) -> str:
    return chr(65 + column) if column < 26 else _letters(column // 26 - 1) + chr(65 + column % 26)
