"""What explains that cameras disagree: one that moved, a lens that was focused anew, a wrong clock, the board itself.

Each explanation frees a few parameters for some of the views. By how much the cost would fall, had they been free, is
told by the quadratic about the solution (a score test: C. R. Rao, "Large sample tests of statistical hypotheses
concerning several parameters", 1948), without a fit for each.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from calibration.solve.bundle_adjustment import covariance, estimate_shape
from calibration.solve.lens_derivatives import LENS_PARAMETERS
from calibration.solve.normal_equations import NormalEquations, ReducedSystem
from calibration.solve.problem import CAUCHY, LensPrior, Problem, robust_weights
from calibration.solve.rig_state import CAMERA_PARAMETERS, LENS, OFFSET, POSE, ROW, SHAPE, RigState

CauseKind = Literal["moved", "focus", "clock", "board", "lens"]


@dataclass(frozen=True, kw_only=True)
class Cause:
    """One explanation. `camera` by index, None of the board. `time_s` after which it holds, None for all the time;
    `grows` with time, from the middle on.

    `gain`: by how much the cost falls, and which `share` of it that is. `change` of the parameters: pose (6,), share of
    the focal length (1,), time offset in s, or in s per s where it grows (1,), the board's shape (5,), or all of the
    given lenses (12 G,). `effect_px`: how far corners are displaced by it, RMS. `lenses`: of given ones those that the
    views contradict, by index, with the share by which each focal length should change, zero where that is not clear.
    """

    kind: CauseKind
    camera: int | None
    time_s: float | None
    grows: bool = False
    gain: float
    share: float
    change: np.ndarray
    effect_px: float
    lenses: dict[int, float] = field(default_factory=dict)


# Moments at which something may have changed, evenly spread over a camera's views, and views on each side at least.
_SPLITS, _LEAST_VIEWS = 32, 2
# Explanations with this share of the best one's gain explain as much.
_ALIKE = 0.93
# What is thinkable: standard deviations of a camera's turn and shift, of a focal length's change, of an
# offset and of a clock's rate.
_TURN_STD_RAD, _SHIFT_STD_M, _FOCUS_STD, _OFFSET_STD_S, _RATE_STD = 0.3, 0.3, 0.05, 0.2, 0.05
# And of a given lens: of its centre as a share of the image's width, and of its coefficients.
_CENTRE_STD, _COEFFICIENT_STD = 0.03, 0.2
# A given lens is contradicted where its squared distance from what the views say, by its covariance, is beyond this and
# this share of the farthest one's: noise alone reaches about 30, and a lens beside a wrong one gives way a little.
_CONTRADICTED, _CONTRADICTED_SHARE = 80.0, 0.1
# Standard deviations from which on a focal length's change is clear.
_CLEAR = 5.0


def causes(problem: Problem, state: RigState) -> list[Cause]:
    """All explanations of what a solution leaves over, the best of each kind and camera. The one that explains most
    comes first; among those that explain nearly as much, the one with the fewest parameters."""
    score = _Score(problem, state)
    found = [score.board(), *given_lenses(problem, state)]
    for camera in range(len(problem.free)):
        found += score.of_camera(camera)
    most = max(cause.gain for cause in found)
    alike = [cause for cause in found if cause.gain > _ALIKE * most]
    first = min(alike, key=lambda cause: (len(cause.change), -cause.gain))
    return [first, *sorted((cause for cause in found if cause is not first), key=lambda cause: -cause.gain)]


def row_times(problem: Problem, state: RigState) -> tuple[np.ndarray, float]:
    """The times from one row to the next (C,), in seconds, where the cost would be least had they been free, and the
    share of the cost that they explain."""
    free = problem.free.copy()
    free[:, ROW] = True
    normal = NormalEquations(replace(problem, free=free), state)
    step = ReducedSystem(normal, 0.0).solve(normal.descent)
    return state.row_s + step.cameras[:, ROW], 0.5 * float(normal.descent @ step) / _cost(problem, normal.residual)


def given_lenses(problem: Problem, state: RigState) -> list[Cause]:
    """That given lenses are not those that filmed: all of them freed at once, as the poses of cameras make up for what
    their lenses have in common, and each alone can then do little."""
    given = ~np.any(problem.free[:, LENS], axis=1)
    if not given.any():
        return []
    free, information = problem.free.copy(), problem.prior.information.copy()
    free[given, LENS] = True
    for camera in np.flatnonzero(given):
        stds = np.full(LENS_PARAMETERS, _COEFFICIENT_STD)
        stds[:2] = _FOCUS_STD * state.lens[camera, :2]
        stds[2:4] = _CENTRE_STD * problem.table.image_size[camera][0]
        information[camera] = np.diag(stds**-2.0)
    mean = np.where(given[:, None], state.lens, problem.prior.mean)
    freed = replace(problem, free=free, prior=LensPrior(mean, information))
    normal = NormalEquations(freed, state)
    step = ReducedSystem(normal, 0.0).solve(normal.descent)
    gain, changes = 0.5 * float(normal.descent @ step), step.cameras[:, LENS]
    away, focal = np.zeros(len(given)), np.zeros(len(given))
    spread = covariance(freed, state)
    for camera in np.flatnonzero(given):
        own = spread[camera, LENS, camera, LENS]
        away[camera] = changes[camera] @ np.linalg.pinv(own, hermitian=True) @ changes[camera]
        change, std = changes[camera, :2].mean(), np.sqrt(max(own[:2, :2].sum(), 0.0) / 4)
        focal[camera] = change / state.lens[camera, :2].mean() if abs(change) > _CLEAR * std else 0.0
    least = max(_CONTRADICTED, _CONTRADICTED_SHARE * away.max())
    if not (away > least).any():
        return []
    return [
        Cause(
            kind="lens",
            camera=None,
            time_s=None,
            gain=gain,
            share=gain / _cost(problem, normal.residual),
            change=changes[given].ravel(),
            effect_px=float(np.sqrt(max(2 * gain, 0) / normal.weights.sum())),
            lenses={int(camera): float(focal[camera]) for camera in np.flatnonzero(away > least)},
        )
    ]


def _cost(problem: Problem, residual: np.ndarray) -> float:
    """Of residuals (V, N, 2), as the quadratic has it."""
    squared = robust_weights(problem, residual)[0][problem.table.seen]
    return 0.5 * float((squared / (1 + squared / CAUCHY**2)).sum())


class _Score:
    """The quadratic cost of a solution, view by view, with the boards' poses eliminated.

    Per view, of all its camera's parameters had they been its own: `gram` (V, 20, 20), `cross` (V, 20, F) to what was
    free in the fit, and `descent` (V, 20).
    """

    def __init__(self, problem: Problem, state: RigState) -> None:
        self.problem, self.state = problem, state
        self.table = table = problem.table
        normal = NormalEquations(problem, state)
        system = ReducedSystem(normal, 0.0)
        n = CAMERA_PARAMETERS
        own, board = slice(0, n), slice(n, SHAPE.start)
        H, g = normal.of_views()
        to_board = H[:, own, board] @ system.inverse[table.set]
        self.own, self.weight = H[:, own, own], normal.weights.sum(1)
        self.gram = self.own - to_board @ H[:, board, own]
        self.descent = g[:, own] - (to_board @ normal.descent.boards[table.set][..., None])[..., 0]
        self.cross = -to_board @ np.swapaxes(system.B, 1, 2)[table.set]
        free = np.flatnonzero(problem.free.ravel())
        for place, parameter in enumerate(free):
            of_camera = table.camera == parameter // n
            self.cross[of_camera, :, place] += H[of_camera, own, parameter % n]
        self.cross[..., len(free) :] += H[:, own, SHAPE]
        self.inverse_S = np.linalg.pinv(system.S, hermitian=True)
        self.cost = _cost(problem, normal.residual)
        self.joint = np.bincount(table.set, minlength=table.set_count)[table.set] >= 2

    def board(self) -> Cause:
        shape = estimate_shape(self.problem, self.state)
        change = shape.values - self.state.shape
        gain = 0.5 * float(change @ np.linalg.pinv(shape.covariance) @ change)
        effect_px = float(np.sqrt(max(2 * gain, 0) / self.weight.sum()))
        return Cause(
            kind="board",
            camera=None,
            time_s=None,
            gain=gain,
            share=gain / self.cost,
            change=change,
            effect_px=effect_px,
        )

    def of_camera(self, camera: int) -> list[Cause]:
        """The best of each kind. Only where views are shared with others can a change be told, but what changed holds
        for all views."""
        table = self.table
        views = np.flatnonzero(table.camera == camera)
        views = views[np.argsort(table.time_s[views], kind="stable")]
        times, joint = table.time_s[views], np.flatnonzero(self.joint[views])
        if len(joint) < 2 * _LEAST_VIEWS:
            return []
        splits = joint[np.unique(np.linspace(_LEAST_VIEWS, len(joint) - _LEAST_VIEWS, _SPLITS).astype(int))]
        moments = (times[splits - 1] + times[splits]) / 2
        of_views = tuple(of_view[views] for of_view in (self.gram, self.cross, self.descent, self.own, self.weight))
        after = tuple(np.cumsum(each[::-1], axis=0)[::-1][splits] for each in of_views)
        pose, focal, offset = (np.zeros((CAMERA_PARAMETERS, count)) for count in (6, 1, 1))
        pose[POSE], offset[OFFSET] = np.eye(6), 1.0
        all_the_time = tuple(each.sum(0)[None] for each in of_views)
        focal[LENS.start : LENS.start + 2, 0] = self.state.lens[camera, :2]
        clocks = [self._best("clock", camera, moments, after, offset, _OFFSET_STD_S)]
        away = times - times.mean()
        powers = zip((2, 1, 1, 2, 0), of_views, strict=True)
        growing = tuple(np.tensordot(away**power, each, 1)[None] for power, each in powers)
        clocks.append(self._best("clock", camera, None, growing, offset, _RATE_STD, grows=True))
        if not self.problem.free[camera, OFFSET]:
            clocks.append(self._best("clock", camera, None, all_the_time, offset, _OFFSET_STD_S))
        return [
            self._best("moved", camera, moments, after, pose, np.repeat([_TURN_STD_RAD, _SHIFT_STD_M], 3)),
            self._best("focus", camera, moments, after, focal, _FOCUS_STD),
            max(clocks, key=lambda clock: clock.gain),
        ]

    def _best(
        self, kind: CauseKind, camera: int, moments: np.ndarray | None, sums: tuple[np.ndarray, ...],
        columns: np.ndarray, stds: np.ndarray | float, grows: bool = False,
    ) -> Cause:  # fmt: skip
        """Of the moments (T,), with sums over views of `gram`, `cross`, `descent`, `own` and `weight`, the one that
        explains most; the camera's parameters change by `columns` (20, K) times what is found, likely within `stds`."""
        gram, cross, descent, own, weight = sums
        cross, descent = columns.T @ cross, descent @ columns
        prior = np.eye(columns.shape[1]) * np.asarray(stds) ** -2.0
        reduced = columns.T @ gram @ columns - cross @ self.inverse_S @ np.swapaxes(cross, 1, 2) + prior
        change = np.linalg.solve(reduced, descent[..., None])[..., 0]
        gain = 0.5 * (descent * change).sum(-1)
        best = int(np.argmax(gain))
        whole = columns @ change[best]
        return Cause(
            kind=kind,
            camera=camera,
            time_s=None if moments is None else float(moments[best]),
            grows=grows,
            gain=float(gain[best]),
            share=float(gain[best]) / self.cost,
            change=change[best],
            effect_px=float(np.sqrt(max(whole @ own[best] @ whole, 0) / weight[best])),
        )
