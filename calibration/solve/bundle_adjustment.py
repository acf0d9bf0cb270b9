"""Joint least squares over cameras, lenses, time offsets and board poses.

Levenberg-Marquardt with the analytic Jacobian, its steps bent by what they find ahead: where a lens's centre and the
poses trade for each other, the valley of the cost is long and curved (M. Transtrum and J. Sethna, "Improvements to the
Levenberg-Marquardt algorithm for nonlinear least-squares minimization", 2012, section 4).
"""

from dataclasses import dataclass, field, replace

import numpy as np

from calibration.solve.board_shape import BoardShape
from calibration.solve.normal_equations import NormalEquations, ReducedSystem, Unknowns
from calibration.solve.problem import CAUCHY, Problem, robust_cost, robust_weights
from calibration.solve.rig_state import RigState, apply_step, residuals

# Shares of the normal matrix's diagonal. With the first of them or less a step is as good as undamped.
_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-6, 1e-9, 1e6
# The share of a step after which its bend is measured, and the longest bend, beside the step, that is believed.
_LOOK_AHEAD, _MOST_BEND = 0.1, 0.75


@dataclass(frozen=True)
class Solution:
    """`converged`: what another step would change is small beside what the noise leaves unknown."""

    state: RigState
    residuals_px: np.ndarray = field(repr=False)
    converged: bool


def minimise(problem: Problem, state: RigState, steps: int = 50, tolerance: float = 0.05) -> Solution:
    """Levenberg-Marquardt from `state` until it is within `tolerance` standard deviations of the least cost.

    The distance is the Newton decrement (S. Boyd and L. Vandenberghe, "Convex Optimization", 2004, 9.5.1): one over all
    unknowns together, so that none is farther, whatever its unit and however little the views say of it. The share by
    which the cost still falls would not tell: of the cost of many corners, what a badly determined unknown is wrong by
    is the smallest part.
    """
    residual = residuals(problem.table, state)
    cost, damping = robust_cost(problem, state, residual), _FIRST_DAMPING
    normal = NormalEquations(problem, state)
    for _ in range(steps):
        step, decrement = _bent_step(problem, state, normal, damping)
        trial = apply_step(state, step.cameras, step.boards, step.shape)
        trial_residual = residuals(problem.table, trial)
        trial_cost = robust_cost(problem, trial, trial_residual)
        better = np.isfinite(trial_cost) and trial_cost <= cost and bool((trial.lens[:, :2] > 0).all())
        near = decrement < tolerance and damping <= _FIRST_DAMPING
        if better:
            state, residual, cost = trial, trial_residual, trial_cost
            damping = max(damping * 0.1, _LEAST_DAMPING)
        if near or damping > _MOST_DAMPING:
            return Solution(state, residual, near)
        if better:
            normal = NormalEquations(problem, state)
        else:
            damping *= 10
    return Solution(state, residual, False)


def _bent_step(problem: Problem, state: RigState, normal: NormalEquations, damping: float) -> tuple[Unknowns, float]:
    """The step, and how far the least cost is away by the quadratic, in standard deviations."""
    system = ReducedSystem(normal, damping)
    straight = system.solve(normal.descent)
    decrement = float(np.sqrt(max(normal.descent @ straight, 0.0)))
    little = straight * _LOOK_AHEAD
    ahead = residuals(problem.table, apply_step(state, little.cameras, little.boards, little.shape))
    curvature = normal.curvature(straight, _LOOK_AHEAD, ahead)
    bend = system.solve(curvature) * -0.5
    return (straight + bend if normal.size(bend) <= _MOST_BEND * normal.size(straight) else straight), decrement


def covariance(problem: Problem, state: RigState) -> np.ndarray:
    """Covariance (C, 20, C, 20) of the cameras' parameters at the solution, board poses and shape marginalised.

    From the Schur-reduced normal matrix, scaled by the noise that the residuals show. Zero for what was held.
    """
    normal = NormalEquations(problem, state)
    inverse = _scaled_inverse(normal, ReducedSystem(normal, 0.0).S)
    free, count = problem.free.ravel(), int(problem.free.sum())
    full = np.zeros((free.size, free.size))
    full[np.ix_(free, free)] = inverse[:count, :count]
    cameras, n = problem.free.shape
    return full.reshape(cameras, n, cameras, n)


def estimate_shape(problem: Problem, state: RigState) -> BoardShape:
    """The board's shape where the cost would be least, had it been free: by the quadratic about a solution, which is
    one step of a fit."""
    normal = NormalEquations(replace(problem, shape_free=True), state)
    system = ReducedSystem(normal, 0.0)
    count = int(problem.free.sum())
    inverse = _scaled_inverse(normal, system.S)[count:, count:]
    return BoardShape(state.shape + system.solve(normal.descent).shape, inverse, problem.table.reach_m)


def _scaled_inverse(normal: NormalEquations, S: np.ndarray) -> np.ndarray:
    """The covariance (F, F) from a reduced normal matrix and the noise that the residuals show."""
    problem, table = normal.problem, normal.problem.table
    squared, _ = robust_weights(problem, normal.residual)
    scale = 1 / np.sqrt(np.maximum(np.diag(S), 1e-300))
    inverse = np.linalg.pinv(S * scale * scale[:, None], rcond=1e-14, hermitian=True) * scale * scale[:, None]
    squared = squared[table.seen]
    weight = 1 / (1 + squared / CAUCHY**2)
    # In 2D, psi(r) = w r; its mean slope is E[w + w' |r| / 2] with w' |r| = -2 w^2 |r|^2 / c^2. The normal matrix
    # holds w already, so one factor of the mean slope is replaced by E[w].
    slope = np.mean(weight - weight**2 * squared / CAUCHY**2)
    freedom = max(2 * len(squared) - 6 * len(np.unique(table.set)) - len(S), 0.2 * 2 * len(squared))
    variance = (weight**2 * squared).sum() / freedom
    return inverse * (variance * np.mean(weight) / max(slope, 0.05) ** 2)
