"""The joint fit: from first poses to the rig that fits every camera's views best."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from calibration.camera import LensModel
from calibration.rotations import make_transform
from calibration.solve.bundle_adjustment import (
    CAMERA_PARAMETERS,
    LENS,
    OFFSET,
    POSE,
    ROW,
    Problem,
    RigState,
    minimise,
    residuals,
    robust_sigma,
)
from calibration.solve.corner_errors import CornerErrors, RigArrays, corner_errors
from calibration.solve.corner_tracks import at_set_times
from calibration.solve.intrinsics import lens_prior
from calibration.solve.view_table import BoardTable

_FIRST_SIGMA = 3.0
_LEAST_SIGMA = 0.05
_BLOCK = 5
_PAUSE_S = 0.5
_BURSTS = 4
_SETTLED_S = 2e-4


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """What is unknown besides the poses: `lens_free` (C, 12), offsets (C,), row times (C,). `fixed_pose` (C,) stay."""

    lens_free: np.ndarray
    offset_free: np.ndarray
    row_free: np.ndarray
    fixed_pose: np.ndarray
    models: Sequence[LensModel]
    prior_lens: np.ndarray


@dataclass(frozen=True)
class RigFit:
    """`problem.table` holds the corners moved to the sets' times; `residuals_px` (V, N, 2) of them."""

    state: RigState
    problem: Problem
    cost: float
    residuals_px: np.ndarray

    @property
    def arrays(self) -> RigArrays:
        return rig_arrays(self.state)


def rig_arrays(state: RigState) -> RigArrays:
    return RigArrays(state.lens, state.fisheye, make_transform(state.R, state.t), state.offset_s)


def fit_rig(
    table: BoardTable,
    corners_m: np.ndarray,
    start: RigState,
    options: FitOptions,
    use: np.ndarray,
    rounds: int = 6,
    sigma: float | None = None,
) -> RigFit:
    """Fit to the sets `use` (S,). The corners are moved anew each round, until the offsets settle.

    `table` holds the views as they were seen; `corners_m` (M, 3) are all of the board's. `sigma` is the noise of an
    earlier fit that gave `start`; without it, offsets and row times are only freed once the rest fits roughly.
    """
    free = np.zeros((len(start.lens), CAMERA_PARAMETERS), dtype=bool)
    free[:, POSE] = ~options.fixed_pose[:, None]
    free[:, LENS] = options.lens_free
    prior = lens_prior(options.prior_lens, options.models, table.image_size)
    timed = bool(options.offset_free.any() or options.row_free.any())
    state, offset, warm = start, np.full(len(start.lens), np.inf), sigma is not None
    sigma = _FIRST_SIGMA if sigma is None else sigma
    problem, solution = None, None
    for number in range(rounds):
        free[:, OFFSET] = options.offset_free & (warm or number > 0)
        free[:, ROW] = options.row_free & (warm or number > 1)
        moved = at_set_times(table, state.offset_s, corners_m)
        problem = Problem(moved.select(use[moved.set]), free.copy(), prior, sigma)
        solution = minimise(problem, state, 12, 1e-4)
        state = solution.state
        unknowns = 6 * len(np.unique(problem.table.set)) + int(free.sum())
        last, sigma = sigma, max(robust_sigma(problem.table, solution.residuals_px, unknowns), _LEAST_SIGMA)
        settled = np.abs(state.offset_s - offset).max() < _SETTLED_S and abs(np.log(sigma / last)) < 0.03
        offset = state.offset_s
        if settled and number >= (0 if warm else 2 if timed else 1):
            break
    assert problem is not None and solution is not None
    problem = replace(problem, sigma=sigma)
    return RigFit(state, problem, solution.cost, solution.residuals_px)


def fold_sets(table: BoardTable) -> np.ndarray:
    """A fold, 0 or 1, for each set (S,): blocks of consecutive moments, as neighbours are nearly the same picture.

    A pause begins a new block, so that one burst of captures is never in both folds.
    """
    order, index = np.argsort(table.set_times_s, kind="stable"), np.arange(table.set_count)
    begins = np.diff(table.set_times_s[order], prepend=-np.inf) > _PAUSE_S
    first = np.maximum.accumulate(np.where(begins, index, 0))
    block = max(1, min(_BLOCK, table.set_count // 6))
    if begins.sum() >= _BURSTS:
        block = max(block, min(_BLOCK, int((index - first).max()) + 1))
    fold = np.empty(table.set_count, dtype=int)
    fold[order] = (first + (index - first) // block * block) // block % 2
    return fold


@dataclass(frozen=True)
class HeldOut(CornerErrors):
    """Errors on frames that were not used, and the rigs of the two folds, whose difference says how sure a rig is."""

    fold_states: tuple[RigState, RigState]


def heldout_errors(
    table: BoardTable, corners_m: np.ndarray, fit: RigFit, options: FitOptions, use: np.ndarray
) -> HeldOut | None:
    """Errors of triangulated corners under rigs that did not see them: two folds, each judged by the other's fit.

    `fit` to all frames is only where the folds' fits start; least squares forget it. None where a fold is too small.
    """
    folds = fold_sets(table)
    parts, states = [], []
    for fold in (0, 1):
        train, test = use & (folds != fold), use & (folds == fold)
        if train.sum() < 3 or not test.any():
            return None
        part = fit_rig(table, corners_m, fit.state, options, train, 4, fit.problem.sigma)
        parts.append(corner_errors(table, part.arrays, corners_m, test))
        states.append(part.state)
    first, second = parts
    return HeldOut(
        *(
            np.where(np.isnan(a), b, a)
            for a, b in zip(
                (first.points_m, first.residuals_px, first.loo_px),
                (second.points_m, second.residuals_px, second.loo_px),
                strict=True,
            )
        ),
        fold_states=(states[0], states[1]),
    )


def all_residuals(table: BoardTable, corners_m: np.ndarray, fit: RigFit) -> tuple[BoardTable, np.ndarray]:
    """All views moved to their sets' times, and their residuals (V, N, 2) under the fit."""
    moved = at_set_times(table, fit.state.offset_s, corners_m)
    return moved, residuals(moved, fit.state)
