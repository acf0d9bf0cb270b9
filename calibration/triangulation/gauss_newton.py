"""The Gauss-Newton iteration by which every point is triangulated, whatever projects it and however it is weighted.

Components come first and points last, so that each of few NumPy calls runs over long rows: V views, points (...).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from calibration.triangulation.linear import solve3


class Linearised(NamedTuple):
    """At points (3, ...): `residual` (2, V, ...), projected minus observed, its Jacobian (3, 2, V, ...) by the points,
    and how much each observation counts, `weights` (V, ...)."""

    residual: np.ndarray
    jacobian: np.ndarray
    weights: np.ndarray


Linearise = Callable[[np.ndarray], Linearised]
Step = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""The step (3, ...) at points (3, ...) with their information (3, 3, ...) and gradient (3, ...)."""


def linearise_pinhole(
    P: np.ndarray, points_m: np.ndarray, observed: np.ndarray, scale: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray]:
    """`residual` and `jacobian` of points (3, ...) under projection matrices P (4, 3, V, ...), times `scale` (V, ...).

    `observed` (2, V, ...) in the unit of the projection.
    """
    in_camera = transform(P, points_m[:, None])
    depth = in_camera[2]
    inverse = 1 / np.where(np.abs(depth) > 1e-6, depth, 1e-6)
    residual = in_camera[:2] * inverse
    jacobian = residual * P[:3, 2:]
    np.subtract(P[:3, :2], jacobian, out=jacobian)
    jacobian *= inverse * scale
    residual -= observed
    residual *= scale
    return residual, jacobian


def transform(P: np.ndarray, points: np.ndarray) -> np.ndarray:
    """P X for P (4, 3, ...) and X (3, ...)."""
    out = P[0] * points[0]
    out += P[1] * points[1]
    out += P[2] * points[2]
    out += P[3]
    return out


def information_of(near: Linearised, hold: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Information (3, 3, ...) and gradient (3, ...); `hold` (...) on the diagonal keeps in place what nothing holds."""
    views = near.weights.shape
    jacobian = near.jacobian.reshape(3, 2 * views[0], -1)
    weighted = (near.jacobian * near.weights).reshape(jacobian.shape)
    information = np.einsum("aon,bon->abn", weighted, jacobian).reshape(3, 3, *views[1:])
    gradient = np.einsum("aon,on->an", weighted, near.residual.reshape(2 * views[0], -1)).reshape(3, *views[1:])
    for axis in range(3):
        information[axis, axis] += hold
    return information, gradient


def refine(
    points_m: np.ndarray,
    linearise: Linearise,
    iterations: int,
    hold: np.ndarray | float,
    longest_step_m: float = np.inf,
    step_of: Step | None = None,
) -> np.ndarray:
    """Points (3, ...) after Gauss-Newton on the weighted squares of the residuals, weighted anew at each iteration.

    `hold` as in `information_of`; `step_of` where more than the observations decides on the step.
    """
    for _ in range(iterations):
        near = linearise(points_m)
        information, gradient = information_of(near, hold)
        if step_of is None:
            step = solve3(np.concatenate([information, gradient[:, None]], axis=1))
        else:
            step = step_of(points_m, information, gradient)
        length = np.sqrt(step[0] ** 2 + step[1] ** 2 + step[2] ** 2)
        points_m = points_m - step * np.minimum(1.0, longest_step_m / np.maximum(length, 1e-12))
    return points_m
