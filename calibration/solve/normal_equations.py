"""The normal equations of the joint least squares, and their solution with the boards eliminated.

Board poses are eliminated by the Schur complement, so the cost grows linearly in the number of sets (B. Triggs et al.,
"Bundle adjustment - a modern synthesis", 1999).
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from calibration.solve.board_shape import SHAPE_STDS
from calibration.solve.problem import MEAN_OFFSET_STD_S, Problem, offset_sum, robust_weights
from calibration.solve.rig_state import CAMERA_PARAMETERS, LENS, OFFSET, SHAPE, RigState, linearise


@dataclass(frozen=True, kw_only=True)
class Unknowns:
    """One number for each unknown, a step or a gradient: of the cameras (C, 20), of the boards' poses (S, 6), and of
    the board's shape, (5,) or (0,) where that is not free."""

    cameras: np.ndarray
    boards: np.ndarray
    shape: np.ndarray

    def __mul__(self, factor: float) -> "Unknowns":
        return Unknowns(cameras=factor * self.cameras, boards=factor * self.boards, shape=factor * self.shape)

    def __add__(self, other: "Unknowns") -> "Unknowns":
        return Unknowns(
            cameras=self.cameras + other.cameras, boards=self.boards + other.boards, shape=self.shape + other.shape
        )

    def __matmul__(self, other: "Unknowns") -> float:
        return float(
            (self.cameras * other.cameras).sum() + (self.boards * other.boards).sum() + self.shape @ other.shape
        )


class NormalEquations:
    """The cost about `state` as a quadratic, in units of the noise.

    `A` (C, 20, 20) of the cameras, `D` (S, 6, 6) of the boards, `B` (S, C, 20, 6) between them; `shape_A` (K, K) of the
    board's shape, `shape_cameras` (C, 20, K) and `shape_boards` (S, K, 6), with K = 0 where that is not free; and
    `descent`, minus the cost's derivatives.
    """

    def __init__(self, problem: Problem, state: RigState) -> None:
        table, n = problem.table, CAMERA_PARAMETERS
        self.problem = problem
        self.residual, jacobian = linearise(table, state, problem.shape_free)
        self.weights = robust_weights(problem, self.residual)[1]
        self._root = np.sqrt(self.weights)[..., None]
        jacobian *= self._root[..., None]
        self._jacobian = jacobian.reshape(len(jacobian), -1, jacobian.shape[-1])
        H = np.swapaxes(self._jacobian, 1, 2) @ self._jacobian
        board = slice(n, n + 6)
        cameras, sets = len(state.lens), len(state.board_R)
        self.A, self.B, self.D = np.zeros((cameras, n, n)), np.zeros((sets, cameras, n, 6)), np.zeros((sets, 6, 6))
        count = self._jacobian.shape[-1] - SHAPE.start
        self.shape_cameras, self.shape_boards = np.zeros((cameras, n, count)), np.zeros((sets, count, 6))
        for camera in range(cameras):
            of_camera = table.camera == camera
            where = table.set[of_camera]
            self.A[camera] = H[of_camera, :n, :n].sum(0)
            # A camera has one view in a set, except where each view is its own set: then too the sets are distinct.
            self.D[where] += H[of_camera, board, board]
            self.B[where, camera] = H[of_camera, :n, board]
            self.shape_cameras[camera] = H[of_camera, :n, SHAPE].sum(0)
            self.shape_boards[where] += H[of_camera, SHAPE, board]
        self.shape_A = H[:, SHAPE, SHAPE].sum(0) + np.diag(SHAPE_STDS[:count] ** -2.0)
        self.A[:, LENS, LENS] += problem.prior.information
        self.D[np.bincount(table.set, minlength=sets) == 0] = np.eye(6)
        self.descent = self._project(self._root * self.residual)
        self.descent.shape[:] -= (state.shape / SHAPE_STDS**2)[:count]
        away = (state.lens - problem.prior.mean)[..., None]
        self.descent.cameras[:, LENS] -= (problem.prior.information @ away)[..., 0]
        self.descent.cameras[problem.free[:, OFFSET], OFFSET] -= offset_sum(problem, state) / MEAN_OFFSET_STD_S**2

    def of_views(self) -> tuple[np.ndarray, np.ndarray]:
        """What each view alone says: its part of the normal matrix (V, P, P) and of the descent (V, P), by its camera's
        parameters, its board's pose, and the board's shape where that is free."""
        transposed = np.swapaxes(self._jacobian, 1, 2)
        weighted = (self._root * self.residual).reshape(len(self.residual), -1, 1)
        return transposed @ self._jacobian, (transposed @ weighted)[..., 0]

    def curvature(self, step: Unknowns, share: float, residual_ahead: np.ndarray) -> Unknowns:
        """What the second derivative of the prediction along `step` says of the unknowns, as residuals do.

        By finite difference from the residuals (V, N, 2) after a small `share` of the step.
        """
        table = self.problem.table
        shape = np.broadcast_to(step.shape, (len(table.camera), len(step.shape)))
        along = np.concatenate([step.cameras[table.camera], step.boards[table.set], shape], axis=-1)
        straight = (self._jacobian @ along[..., None]).reshape(self.residual.shape)
        bent = self._root * (self.residual - residual_ahead) - share * straight
        return self._project(2 / share**2 * bent)

    def size(self, step: Unknowns) -> float:
        """How much the unknowns change the prediction, each by itself, in units of the noise."""
        cameras = (np.einsum("cii->ci", self.A) * step.cameras**2).sum()
        boards = (np.einsum("sii->si", self.D) * step.boards**2).sum()
        return float(np.sqrt(cameras + boards + np.diag(self.shape_A) @ step.shape**2))

    def _project(self, weighted: np.ndarray) -> Unknowns:
        """J^T W r of residuals (V, N, 2) that are multiplied with the roots of their weights."""
        table, n = self.problem.table, CAMERA_PARAMETERS
        of_view = (np.swapaxes(self._jacobian, 1, 2) @ weighted.reshape(len(weighted), -1, 1))[..., 0]
        cameras, boards = np.zeros((len(self.A), n)), np.zeros((len(self.D), 6))
        np.add.at(cameras, table.camera, of_view[:, :n])
        np.add.at(boards, table.set, of_view[:, n : SHAPE.start])
        return Unknowns(cameras=cameras, boards=boards, shape=of_view[:, SHAPE].sum(0))


class ReducedSystem:
    """The system `S` (F, F) of the free camera parameters, and the board's shape, with the boards' poses eliminated;
    `damping` is a share of the diagonals, which is added to them."""

    def __init__(self, normal: NormalEquations, damping: float) -> None:
        self._free = normal.problem.free
        count = len(normal.shape_A)
        free = np.flatnonzero(np.append(self._free.ravel(), np.ones(count, dtype=bool)))
        cameras, n = self._free.shape
        A = np.zeros((cameras, n, cameras, n))
        own = np.arange(cameras)
        A[own, :, own, :] = normal.A
        A = A.reshape(cameras * n, cameras * n)
        with_offset = np.flatnonzero(self._free[:, OFFSET]) * n + OFFSET
        A[np.ix_(with_offset, with_offset)] += 1 / MEAN_OFFSET_STD_S**2
        across = normal.shape_cameras.reshape(cameras * n, count)
        A = np.block([[A, across], [across.T, normal.shape_A]])
        A = A[np.ix_(free, free)]
        A[np.diag_indices(len(free))] *= 1 + damping
        B = normal.B.reshape(len(normal.D), cameras * n, 6)
        self.B = np.concatenate([B, normal.shape_boards], axis=1)[:, free]
        diagonal = np.einsum("sii->si", normal.D)
        self.inverse = inverse_definite(normal.D + (damping * diagonal + 1e-9)[..., None] * np.eye(6))
        self._back = self.inverse @ np.swapaxes(self.B, 1, 2)
        # Many small products: one large one would start BLAS threads, which cost more than they save at this size.
        self.S = A - (self.B @ self._back).sum(0)
        self._scale = 1 / np.sqrt(np.maximum(np.diag(self.S), 1e-12))

    def solve(self, descent: Unknowns) -> Unknowns:
        """The step to where the quadratic is least."""
        boards = (self.inverse @ descent.boards[..., None])[..., 0]
        cameras, shape = np.zeros(self._free.size), np.zeros_like(descent.shape)
        if len(self.S):
            right = np.append(descent.cameras[self._free], descent.shape) - (self.B @ boards[..., None]).sum(0)[:, 0]
            solved = self._scale * self._solve_scaled(self._scale * right)
            cameras[self._free.ravel()] = solved[: len(solved) - len(shape)]
            shape = solved[len(solved) - len(shape) :]
            boards = boards - self._back @ solved
        return Unknowns(cameras=cameras.reshape(self._free.shape), boards=boards, shape=shape)

    def _solve_scaled(self, right: np.ndarray) -> np.ndarray:
        scaled = self.S * self._scale * self._scale[:, None]
        try:
            return cho_solve(cho_factor(scaled), right)
        except np.linalg.LinAlgError:
            return np.linalg.lstsq(scaled, right, rcond=1e-12)[0]


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
