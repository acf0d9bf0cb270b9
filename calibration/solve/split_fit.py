"""A camera that changed at a moment: fitted as two, before and after, and what the difference is.

The quadratic about a fit that is torn between both says which camera and when, but not how much: far from the least
cost it is wrong. Two cameras fit both, and how sure their difference is tells a lens that was focused from a camera
that moved.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from calibration.rotations import inverse_transform
from calibration.solve.bundle_adjustment import covariance, minimise
from calibration.solve.misfit import Cause
from calibration.solve.problem import LensPrior, Problem, robust_sigma
from calibration.solve.rig_state import CAMERA_PARAMETERS, LENS, POSE, RigState, residuals

_ROUNDS, _STEPS = 3, 25
# The noise is never taken for less, as in the fit of the whole rig.
_LEAST_SIGMA = 0.05
# Squared standard deviations that a pose may leave less of a change than a lens, as it has five parameters more:
# Akaike's criterion, two for each.
_SIMPLER = 10.0


@dataclass(frozen=True, kw_only=True)
class CameraChange:
    """Of the camera by index: `turn_rad` (3,) and `shift_m` (3,) in its axes, the `focal` length's change as a share of
    it, and which of both it is; `share` of the first fit's squared
    misfit that two cameras instead of one remove."""

    camera: int
    kind: Literal["moved", "focus"]
    turn_rad: np.ndarray
    shift_m: np.ndarray
    focal: float
    share: float


def fit_change(problem: Problem, state: RigState, cause: Cause) -> CameraChange:
    """What changed of the camera, and at the moment, that a cause names."""
    assert cause.camera is not None and cause.time_s is not None
    camera, count, table = cause.camera, len(problem.free), problem.table
    after = (table.camera == camera) & (table.time_s > cause.time_s)
    table = replace(
        table,
        camera_ids=(*table.camera_ids, table.camera_ids[camera]),
        image_size=(*table.image_size, table.image_size[camera]),
        camera=np.where(after, count, table.camera),
        offset_s=np.append(table.offset_s, table.offset_s[camera]),
    )
    free = np.concatenate([problem.free, problem.free[camera : camera + 1]])
    free[count, POSE] = True
    information = problem.prior.information
    prior = LensPrior(
        np.concatenate([problem.prior.mean, problem.prior.mean[camera : camera + 1]]),
        np.concatenate([information, information[camera : camera + 1]]),
    )
    two = replace(problem, table=table, free=free, prior=prior)
    start = replace(
        state, **{name: np.concatenate([getattr(state, name), getattr(state, name)[camera : camera + 1]])
                  for name in ("lens", "fisheye", "R", "t", "offset_s", "row_s")},
    )  # fmt: skip
    fitted = start
    for _ in range(_ROUNDS):
        solution = minimise(two, fitted, _STEPS)
        fitted = solution.state
        unknowns = 6 * len(np.unique(table.set)) + int(free.sum())
        two = replace(two, sigma=max(robust_sigma(table, solution.residuals_px, unknowns), _LEAST_SIGMA))
    change, chi_focus, chi_moved = _difference(two, fitted, camera, count)
    return CameraChange(
        camera=camera,
        kind="focus" if chi_focus < chi_moved + _SIMPLER else "moved",
        turn_rad=change[:3],
        shift_m=change[3:6],
        focal=float(change[6]),
        share=1 - _squares(two, fitted) / _squares(problem, state),
    )


def _difference(problem: Problem, state: RigState, before: int, after: int) -> tuple[np.ndarray, float, float]:
    """The change (7,) of pose and focal share, and what is left of it, in squared standard deviations, were only the
    lens or only the pose changed: the least over the changes that this allows."""
    T = state.T_cam_world
    step = T[after] @ inverse_transform(T[before])
    turn = np.array([step[2, 1] - step[1, 2], step[0, 2] - step[2, 0], step[1, 0] - step[0, 1]]) / 2
    full = np.concatenate([turn, step[:3, 3], state.lens[after] - state.lens[before]])
    # Both cameras' small steps are about their own axes; the first one's are turned along.
    across = np.zeros((CAMERA_PARAMETERS, CAMERA_PARAMETERS))
    across[:3, :3], across[3:6, 3:6] = step[:3, :3], step[:3, :3]
    across[3:6, :3] = _cross(step[:3, 3]) @ step[:3, :3]
    across[LENS, LENS] = np.eye(12)
    C = covariance(problem, state)
    first, second, between = C[before, :, before], C[after, :, after], C[after, :, before]
    own = slice(0, LENS.stop)
    both = (second + across @ first @ across.T - between @ across.T - across @ between.T)[own, own]
    known = np.diag(both) > 0
    information = np.zeros_like(both)
    information[np.ix_(known, known)] = np.linalg.pinv(both[np.ix_(known, known)], hermitian=True)
    focal = state.lens[before, :2].mean()
    lens_only, pose_only = np.zeros((LENS.stop, 1)), np.zeros((LENS.stop, 6))
    lens_only[6:8, 0], pose_only[:6] = focal, np.eye(6)
    chi = [_left(full, information, allowed) for allowed in (lens_only, pose_only)]
    return np.append(full[:6], full[6:8].mean() / focal), chi[0], chi[1]


def _left(change: np.ndarray, information: np.ndarray, allowed: np.ndarray) -> float:
    """Squared standard deviations of a change (P,) that the directions `allowed` (P, K) do not explain."""
    best = np.linalg.lstsq(allowed.T @ information @ allowed, allowed.T @ information @ change, rcond=1e-12)[0]
    left = change - allowed @ best
    return float(left @ information @ left)


def _cross(vector: np.ndarray) -> np.ndarray:
    x, y, z = vector
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])


def _squares(problem: Problem, state: RigState) -> float:
    """The sum of all squared residuals, as robust weights would hide the largest."""
    squared = (residuals(problem.table, state) ** 2).sum(-1) / problem.table.std_px[:, None] ** 2
    return float(squared[problem.table.seen].sum())
