"""Joint least squares over cameras, lenses, time offsets and board poses.

Levenberg-Marquardt with the analytic Jacobian. Board poses are eliminated by the Schur complement, so the cost grows
linearly in the number of sets (B. Triggs et al., "Bundle adjustment - a modern synthesis", 1999). Cauchy weights on the
length of each corner's residual make it robust; covariances use the robust estimate of their scale (P. Huber, "Robust
Statistics", 1981, section 7.6).
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from calibration.solve.rig_state import CAMERA_PARAMETERS, LENS, OFFSET, RigState, apply_step, linearise, residuals
from calibration.solve.view_table import BoardTable

# Beyond this many standard deviations a corner counts for less and less.
_CAUCHY = 3.0
# Offsets are only known up to their mean: this holds it.
_MEAN_OFFSET_STD_S = 1e-7
# The median length of a 2D Gaussian of unit variance.
_MEDIAN_LENGTH = 1.17741


@dataclass(frozen=True)
class LensPrior:
    """What is known of lenses beforehand: mean (C, 12) and information (C, 12, 12)."""

    mean: np.ndarray
    information: np.ndarray


@dataclass(frozen=True)
class Problem:
    """`free` (C, 20) says which of a camera's pose (6), lens (12), offset and row time are unknown."""

    table: BoardTable
    free: np.ndarray
    prior: LensPrior
    sigma: float = 1.0


@dataclass(frozen=True)
class Solution:
    """`cost` is the robust cost."""

    state: RigState
    cost: float
    residuals_px: np.ndarray = field(repr=False)


def robust_sigma(table: BoardTable, residual_px: np.ndarray, unknowns: int) -> float:
    """Scale of the residuals over `std_px`, from their median length, corrected for the unknowns that were fitted."""
    length = np.linalg.norm(residual_px, axis=-1)[table.seen] / np.repeat(table.std_px, table.seen.sum(1))
    count = 2 * len(length)
    if not len(length):
        return 1.0
    median = float(np.median(length)) / _MEDIAN_LENGTH
    return max(median * np.sqrt(count / max(count - unknowns, 0.2 * count)), 1e-4)


@dataclass(frozen=True, kw_only=True)
class NormalEquations:
    """Blocks of the weighted normal equations, in units of the noise: cameras A (C, 20, 20), boards D (S, 6, 6),
    coupling B (S, C, 20, 6), and the gradients."""

    A: np.ndarray
    D: np.ndarray
    B: np.ndarray
    gradient: np.ndarray
    board_gradient: np.ndarray


def _weights(problem: Problem, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared residual lengths in units of the noise, and Cauchy weights over the noise's variance, (V, N)."""
    scale = 1 / (problem.sigma * problem.table.std_px[:, None]) ** 2
    squared = (residual**2).sum(-1) * scale
    return squared, problem.table.seen * scale / (1 + squared / _CAUCHY**2)


def robust_cost(problem: Problem, state: RigState, residual: np.ndarray) -> float:
    squared, _ = _weights(problem, residual)
    data = 0.5 * _CAUCHY**2 * float(np.log1p(squared / _CAUCHY**2).sum())
    away = state.lens - problem.prior.mean
    prior = 0.5 * float(np.einsum("ci,cij,cj->", away, problem.prior.information, away))
    return data + prior + 0.5 * _offset_sum(problem, state) ** 2 / _MEAN_OFFSET_STD_S**2


def _offset_sum(problem: Problem, state: RigState) -> float:
    """Offsets are only known up to their mean, which is kept where it was."""
    free = problem.free[:, OFFSET]
    return float((state.offset_s - problem.table.offset_s)[free].sum()) if free.any() else 0.0


def normal_equations(problem: Problem, state: RigState) -> NormalEquations:
    table = problem.table
    residual, jacobian = linearise(table, state)
    _, weights = _weights(problem, residual)
    views, corners = weights.shape
    root = np.sqrt(weights)
    jacobian *= root[..., None, None]
    flat = jacobian.reshape(views, 2 * corners, -1)
    transposed = np.swapaxes(flat, 1, 2)
    H = transposed @ flat
    g = (transposed @ (residual * root[..., None]).reshape(views, -1, 1))[..., 0]
    cameras, sets, n = len(state.lens), len(state.board_R), CAMERA_PARAMETERS
    A, gradient = np.zeros((cameras, n, n)), np.zeros((cameras, n))
    D, board_gradient = np.zeros((sets, 6, 6)), np.zeros((sets, 6))
    B = np.zeros((sets, cameras, n, 6))
    for camera in range(cameras):
        of_camera = table.camera == camera
        where = table.set[of_camera]
        A[camera], gradient[camera] = H[of_camera, :n, :n].sum(0), g[of_camera, :n].sum(0)
        # A camera has one view in a set, except where each view is its own set: then too the sets are distinct.
        D[where] += H[of_camera, n:, n:]
        board_gradient[where] += g[of_camera, n:]
        B[where, camera] = H[of_camera, :n, n:]
    A[:, LENS, LENS] += problem.prior.information
    gradient[:, LENS] -= (problem.prior.information @ (state.lens - problem.prior.mean)[..., None])[..., 0]
    empty = np.bincount(table.set, minlength=sets) == 0
    D[empty] = np.eye(6)
    return NormalEquations(A=A, D=D, B=B, gradient=gradient, board_gradient=board_gradient)


def _reduced(
    problem: Problem, state: RigState, normal: NormalEquations, damping: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The system of the free camera parameters with the boards eliminated.

    Gives its matrix, right-hand side, D^-1 B^T (S, 6, F) and D^-1 g (S, 6).
    """
    free = np.flatnonzero(problem.free.ravel())
    cameras, n = problem.free.shape
    A = np.zeros((cameras, n, cameras, n))
    own = np.arange(cameras)
    A[own, :, own, :] = normal.A
    A = A.reshape(cameras * n, cameras * n)
    with_offset = np.flatnonzero(problem.free[:, OFFSET]) * n + OFFSET
    A[np.ix_(with_offset, with_offset)] += 1 / _MEAN_OFFSET_STD_S**2
    gradient = normal.gradient.ravel().copy()
    gradient[with_offset] -= _offset_sum(problem, state) / _MEAN_OFFSET_STD_S**2
    A, gradient = A[np.ix_(free, free)], gradient[free]
    A[np.diag_indices(len(free))] *= 1 + damping
    B = normal.B.reshape(len(normal.D), cameras * n, 6)[:, free]
    diagonal = np.einsum("sii->si", normal.D)
    D = normal.D + (damping * diagonal + 1e-9)[..., None] * np.eye(6)
    inverse = inverse_definite(D)
    back = inverse @ np.swapaxes(B, 1, 2)
    board_part = (inverse @ normal.board_gradient[..., None])[..., 0]
    # Many small products: one large one would start BLAS threads, which cost more than they save at this size.
    S = A - (B @ back).sum(0)
    return S, gradient - (B @ board_part[..., None]).sum(0)[:, 0], back, board_part


def inverse_definite(matrices: np.ndarray) -> np.ndarray:
    """Inverses of positive definite matrices (S, n, n), by Gauss-Jordan elimination of all at once.

    LAPACK, asked for each alone, wakes BLAS threads for every one, which on a busy machine wait for one another.
    """
    out = matrices.copy()
    for k in range(out.shape[1]):
        pivot, column = 1 / out[:, k, k], out[:, :, k].copy()
        row = out[:, k] * pivot[:, None]
        out -= column[:, :, None] * row[:, None]
        out[:, k], out[:, :, k] = row, -column * pivot[:, None]
        out[:, k, k] = pivot
    return out


def _step(problem: Problem, state: RigState, normal: NormalEquations, damping: float) -> tuple[np.ndarray, np.ndarray]:
    S, right, back, board_part = _reduced(problem, state, normal, damping)
    camera_step = np.zeros(problem.free.size)
    if len(right):
        scale = 1 / np.sqrt(np.maximum(np.diag(S), 1e-12))
        try:
            solved = scale * cho_solve(cho_factor(S * scale * scale[:, None]), scale * right)
        except np.linalg.LinAlgError:
            solved = scale * np.linalg.lstsq(S * scale * scale[:, None], scale * right, rcond=1e-12)[0]
        camera_step[problem.free.ravel()] = solved
        board_part = board_part - back @ solved
    return camera_step.reshape(problem.free.shape), board_part


def minimise(problem: Problem, state: RigState, iterations: int = 20, tolerance: float = 1e-6) -> Solution:
    """Levenberg-Marquardt from `state` until the cost falls by less than `tolerance` of itself."""
    residual = residuals(problem.table, state)
    cost = robust_cost(problem, state, residual)
    damping = 1e-4
    normal = normal_equations(problem, state)
    for _ in range(iterations):
        trial = apply_step(state, *_step(problem, state, normal, damping))
        trial_residual = residuals(problem.table, trial)
        trial_cost = robust_cost(problem, trial, trial_residual)
        if np.isfinite(trial_cost) and trial_cost <= cost and (trial.lens[:, :2] > 0).all():
            small = cost - trial_cost <= tolerance * cost
            state, residual, cost = trial, trial_residual, trial_cost
            damping = max(damping * 0.1, 1e-9)
            if small:
                break
            normal = normal_equations(problem, state)
        elif damping > 1e6 or (damping >= 1e-3 and abs(trial_cost - cost) <= tolerance * 0.1 * cost):
            break
        else:
            damping *= 10
    return Solution(state, cost, residual)


def covariance(problem: Problem, state: RigState) -> np.ndarray:
    """Covariance (C, 20, C, 20) of the cameras' parameters at the solution, board poses marginalised.

    From the Schur-reduced normal matrix, scaled by the noise that the residuals show. Zero for what was held.
    """
    table = problem.table
    residual = residuals(table, state)
    squared, _ = _weights(problem, residual)
    normal = normal_equations(problem, state)
    S = _reduced(problem, state, normal, 0.0)[0]
    free = problem.free.ravel()
    scale = 1 / np.sqrt(np.maximum(np.diag(S), 1e-300))
    inverse = np.linalg.pinv(S * scale * scale[:, None], rcond=1e-14, hermitian=True) * scale * scale[:, None]
    squared = squared[table.seen]
    weight = 1 / (1 + squared / _CAUCHY**2)
    # In 2D, psi(r) = w r; its mean slope is E[w + w' |r| / 2] with w' |r| = -2 w^2 |r|^2 / c^2. The normal matrix
    # holds w already, so one factor of the mean slope is replaced by E[w].
    slope = np.mean(weight - weight**2 * squared / _CAUCHY**2)
    freedom = max(2 * len(squared) - 6 * len(np.unique(table.set)) - int(free.sum()), 0.2 * 2 * len(squared))
    variance = (weight**2 * squared).sum() / freedom
    factor = variance * np.mean(weight) / max(slope, 0.05) ** 2
    full = np.zeros((free.size, free.size))
    full[np.ix_(free, free)] = inverse * factor
    cameras, n = problem.free.shape
    return full.reshape(cameras, n, cameras, n)
