"""What the views say of the board itself, for people: its squares' sides, its shear, its bend, and how sure that is."""

import numpy as np

from calibration.board.board import Board
from calibration.result.result import BoardFigures
from calibration.solve.board_shape import shaped
from calibration.solve.bundle_adjustment import estimate_shape
from calibration.solve.rig_solve import RigSolve


def board_figures(solve: RigSolve, board: Board) -> BoardFigures:
    """As it was solved for, or as it would have come out. Standard deviations are at least half of what two halves of
    the footage differ by; NaN where the fit has not converged."""
    shape, flat_m = estimate_shape(solve.problem, solve.state), solve.table.corners_m - solve.table.centre_m
    values, std = shape.values, shape.std
    heights = _height_of(flat_m, values, shape.reach_m)
    high, low = int(np.argmax(heights)), int(np.argmin(heights))
    between = np.stack(
        [_height_of(flat_m, one, shape.reach_m)[[high, low]] @ [1, -1] for one in np.diag([0, 0, 1.0, 1.0, 1.0])]
    )
    bend_std = float(np.sqrt(max(between @ shape.covariance @ between, 0.0)))
    if solve.problem.shape_free and solve.heldout is not None:
        one, other = (state.shape for state in solve.heldout.fold_states)
        std = np.maximum(std, np.abs(one - other) / 2)
        bend_std = max(bend_std, abs(float(between @ (one - other))) / 2)
    if not solve.converged:
        std, bend_std = np.full_like(std, np.nan), np.nan
    stretch, mean_mm = values[0], 1000 * board.side_m
    sides = np.array(board.squares_m) * [1 + stretch / 2, 1 - stretch / 2] * 1000
    return BoardFigures(
        solved=solve.problem.shape_free,
        square_mm=(float(sides[0]), float(sides[1])),
        square_std_mm=float(mean_mm * std[0] / 2),
        stretch_percent=100 * float(stretch),
        stretch_std_percent=100 * float(std[0]),
        shear_deg=float(np.degrees(values[1])),
        shear_std_deg=float(np.degrees(std[1])),
        bend_mm=1000 * float(heights[high] - heights[low]),
        bend_std_mm=1000 * bend_std,
        reach_mm=1000 * shape.reach_m,
    )


def corners_as_solved_m(solve: RigSolve) -> np.ndarray:
    """The board's corners (M, 3), centred, as they were solved for."""
    return shaped(solve.table.corners_m - solve.table.centre_m, solve.state.shape, solve.table.reach_m)


def _height_of(flat_m: np.ndarray, shape: np.ndarray, reach_m: float) -> np.ndarray:
    """Heights (M,) of the corners over the plane that lies amid them."""
    x, y = flat_m[:, 0] / reach_m, flat_m[:, 1] / reach_m
    heights = reach_m * (shape[2] * x * x + shape[3] * x * y + shape[4] * y * y)
    plane = np.column_stack([x, y, np.ones_like(x)])
    return heights - plane @ np.linalg.lstsq(plane, heights, rcond=None)[0]
