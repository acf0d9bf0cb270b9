"""What the joint least squares minimises: corners, unknowns, priors, and the robust cost of a state.

Cauchy weights on the length of each corner's residual make it robust; the noise's scale is the robust estimate of P.
Huber, "Robust Statistics", 1981, section 7.6.
"""

from dataclasses import dataclass

import numpy as np

from calibration.solve.board_shape import SHAPE_STDS
from calibration.solve.rig_state import OFFSET, RigState
from calibration.solve.view_table import BoardTable

# Beyond this many standard deviations a corner counts for less and less.
CAUCHY = 3.0
# Offsets are only known up to their mean: this holds it.
MEAN_OFFSET_STD_S = 1e-7
# The median length of a 2D Gaussian of unit variance.
_MEDIAN_LENGTH = 1.17741


@dataclass(frozen=True)
class LensPrior:
    """What is known of lenses beforehand: mean (C, 12) and information (C, 12, 12)."""

    mean: np.ndarray
    information: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Problem:
    """`free` (C, 20) says which of a camera's pose (6), lens (12), offset and row time are unknown; `shape_free`,
    whether the board's shape is."""

    table: BoardTable
    free: np.ndarray
    prior: LensPrior
    sigma: float = 1.0
    shape_free: bool = False


def robust_sigma(table: BoardTable, residual_px: np.ndarray, unknowns: int) -> float:
    """Scale of the residuals over `std_px`, from their median length, corrected for the unknowns that were fitted."""
    length = np.linalg.norm(residual_px, axis=-1)[table.seen] / np.repeat(table.std_px, table.seen.sum(1))
    count = 2 * len(length)
    if not len(length):
        return 1.0
    median = float(np.median(length)) / _MEDIAN_LENGTH
    return max(median * np.sqrt(count / max(count - unknowns, 0.2 * count)), 1e-4)


def robust_weights(problem: Problem, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared residual lengths in units of the noise, and Cauchy weights over the noise's variance, (V, N)."""
    scale = 1 / (problem.sigma * problem.table.std_px[:, None]) ** 2
    squared = (residual**2).sum(-1) * scale
    return squared, problem.table.seen * scale / (1 + squared / CAUCHY**2)


def robust_cost(problem: Problem, state: RigState, residual: np.ndarray) -> float:
    squared, _ = robust_weights(problem, residual)
    data = 0.5 * CAUCHY**2 * float(np.log1p(squared / CAUCHY**2).sum())
    away = state.lens - problem.prior.mean
    prior = 0.5 * float(np.einsum("ci,cij,cj->", away, problem.prior.information, away))
    if problem.shape_free:
        prior += 0.5 * float(((state.shape / SHAPE_STDS) ** 2).sum())
    return data + prior + 0.5 * offset_sum(problem, state) ** 2 / MEAN_OFFSET_STD_S**2


def offset_sum(problem: Problem, state: RigState) -> float:
    """Offsets are only known up to their mean, which is kept where it was."""
    free = problem.free[:, OFFSET]
    return float((state.offset_s - problem.table.offset_s)[free].sum()) if free.any() else 0.0
