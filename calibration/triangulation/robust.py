"""Robust triangulation of groups of points (hands of joints) seen in several views, with covariance.

Shapes: G groups, J points in a group, V views, K candidate subsets of views, L links. Inside, components come first and
points last: with the small groups of a hand, what costs is the number of calls.

A point that moves is handled through its projection matrix: where the point is at `gain * X + shift` when view v is
taken, `moving_projections` gives the 3x4 matrix that maps X itself to that view.

Sources: DLT as R. Hartley and A. Zisserman, "Multiple View Geometry", 2nd ed., 12.2 (inhomogeneous form, rows weighted
by 1 / (std * depth) so that they measure the error in the image); robust weights as P. Holland and R. Welsch, "Robust
regression using iteratively reweighted least-squares", 1977; covariance as Hartley and Zisserman, 5.2.
"""

from dataclasses import dataclass

import numpy as np

from calibration.triangulation.gauss_newton import Linearised, information_of, linearise_pinhole, refine
from calibration.triangulation.links import Links, own_covariances, solve_groups, with_links
from calibration.triangulation.observations import Observations, ViewArrays
from calibration.triangulation.settings import ROBUST
from calibration.triangulation.subsets import best_subsets

_LONGEST_STEP_M = 0.1


@dataclass(frozen=True)
class Triangulation:
    """`points_m` (G, J, 3) world, NaN where fewer than two views saw a point; `covariance_m2` (G, J, 3, 3).

    `inliers` (G, J, V): the observations that were kept. `residuals` (G, J, V): distance in the image over its
    std, NaN where not seen.
    """

    points_m: np.ndarray
    covariance_m2: np.ndarray
    inliers: np.ndarray
    residuals: np.ndarray


def triangulate(
    obs: Observations, links: Links | None = None, iterations: int = 4, start_m: np.ndarray | None = None
) -> Triangulation:
    """Confidence-weighted DLT with outlier views rejected per point, then Gauss-Newton on the image error.

    The DLT is solved for all views and for every pair of views; the solution with the least robust cost over all
    views, of the point and (so that points of one group help each other) of its group, starts the refinement, unless
    `start_m` (G, J, 3) does. With two views nothing can be rejected.
    """
    views = ViewArrays.of(obs)
    if start_m is None:
        points = best_subsets(views, leave_out=False)[:, 0]
    else:
        points = np.where(views.solvable, start_m.transpose(2, 0, 1), 0.0)
    points = _refine(views, points, links, iterations)
    near = _linearise(views, points)
    squared = near.residual[0] ** 2 + near.residual[1] ** 2
    covariance = _covariance(views, points, near, squared, links)
    lost = ~views.solvable
    points[:, lost] = np.nan
    covariance[lost] = np.nan
    seen = views.seen.transpose(1, 2, 0)
    distance = np.sqrt(squared.transpose(1, 2, 0))
    inliers = seen & (distance < ROBUST.inlier_stds)
    return Triangulation(points.transpose(1, 2, 0), covariance, inliers, np.where(seen, distance, np.nan))


def triangulate_without_each(obs: Observations, iterations: int = 4) -> np.ndarray:
    """Points (G, 1 + V, J, 3) from all views and from all but each view v at 1 + v, as `triangulate` finds them.

    NaN where fewer than two views remain.
    """
    views = ViewArrays.of(obs)
    starts = best_subsets(views, leave_out=True)
    sets = views.without_each()
    points = _refine(sets, starts.reshape(3, -1, starts.shape[-1]), None, iterations)
    points[:, ~sets.solvable] = np.nan
    return points.reshape(starts.shape).transpose(2, 1, 3, 0)


def _refine(views: ViewArrays, points: np.ndarray, links: Links | None, iterations: int) -> np.ndarray:
    """Points (3, G, J) after iteratively reweighted Gauss-Newton."""

    def linked_step(points: np.ndarray, information: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        assert links is not None
        return solve_groups(*with_links(views.solvable, information, gradient, points, links))

    step_of = None if links is None else linked_step
    return refine(points, lambda points: _linearise(views, points), iterations, _hold(views), _LONGEST_STEP_M, step_of)


def _hold(views: ViewArrays) -> np.ndarray:
    """A point that too few views hold stays where it is."""
    return np.where(views.solvable, 1e-6, 1.0)


def _linearise(views: ViewArrays, points: np.ndarray) -> Linearised:
    """The residuals over their std, zero where not seen."""
    residual, jacobian = linearise_pinhole(views.P, points, views.points, views.scale)
    return Linearised(residual, jacobian, _weights(views, residual[0] ** 2 + residual[1] ** 2))


def _weights(views: ViewArrays, squared: np.ndarray) -> np.ndarray:
    """Cauchy weights (V, G, J) of the residual lengths: each observation's own, times its view's over the group."""
    weights = 1 / (1 + squared * ROBUST.cauchy_stds**-2)
    weights *= views.seen
    if squared.shape[-1] > 1:
        ordered = np.where(views.unseen, np.inf, squared)
        ordered.sort(axis=-1)
        middle = np.where(views.absent, 0.0, ordered.reshape(-1)[views.middle])
        weights /= (1 + middle * ROBUST.view_stds**-2)[..., None]
    return weights


def _covariance(
    views: ViewArrays, points: np.ndarray, near: Linearised, squared: np.ndarray, links: Links | None
) -> np.ndarray:
    """Inverse information (G, J, 3, 3), scaled by the variance of the residuals that the group really has."""
    information, gradient = information_of(near, _hold(views))
    if links is None:
        covariance = np.linalg.inv(information.transpose(2, 3, 0, 1))
    else:
        covariance = own_covariances(with_links(views.solvable, information, gradient, points, links)[0])
    squares = (near.weights * squared).sum((0, 2))
    freedom = np.maximum(2 * near.weights.sum(0) - 3, 0).sum(1)
    prior = ROBUST.prior_freedom * points.shape[-1]
    return covariance * ((squares + prior) / (freedom + prior))[:, None, None, None]
