"""Robust triangulation of groups of points (hands of joints) seen in several views, with covariance.

Shapes: G groups, J points in a group, V views, K candidate subsets of views, L links. Inside, components come first and
points last, so that each of few NumPy calls runs over long rows: with the small groups of a hand, what costs is the
number of calls.

A point that moves is handled through its projection matrix: where the point is at `gain * X + shift` when view v is
taken, `moving_projections` gives the 3x4 matrix that maps X itself to that view.

Sources: DLT as R. Hartley and A. Zisserman, "Multiple View Geometry", 2nd ed., 12.2 (inhomogeneous form, rows weighted
by 1 / (std * depth) so that they measure the error in the image); robust weights as P. Holland and R. Welsch, "Robust
regression using iteratively reweighted least-squares", 1977; covariance as Hartley and Zisserman, 5.2.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from scipy.linalg import get_lapack_funcs

_CAUCHY = 3.0
_INLIER_STDS = 3.0
_VIEW_SOFTNESS = 3.0
_GROUP_SHARE = 1.0
_PRIOR_DOF = 6.0
_SLICE = 15
_posv, _potrf, _potrs = get_lapack_funcs(("posv", "potrf", "potrs"), dtype=np.float64)


@dataclass(frozen=True)
class Observations:
    """Points seen in views.

    `P` (G, J, V, 3, 4) maps homogeneous world metres to normalised image coordinates; `points` (G, J, V, 2) are
    the normalised image coordinates (distortion removed); `std` (G, J, V) their expected error, in the same
    unit; `seen` (G, J, V) says which exist. What is not seen may hold any value.
    """

    P: np.ndarray
    points: np.ndarray
    std: np.ndarray
    seen: np.ndarray

    def __post_init__(self) -> None:
        shape = self.seen.shape
        for name, end in (("P", (3, 4)), ("points", (2,)), ("std", ())):
            if getattr(self, name).shape != (*shape, *end):
                raise ValueError(f"{name} must be {(*shape, *end)}; got {getattr(self, name).shape}")


@dataclass(frozen=True)
class Links:
    """Soft constraints on distances within a group: `pairs` (L, 2) of points, `lengths_m` and `stds_m` (G, L).

    An infinite std switches a link off.
    """

    pairs: np.ndarray
    lengths_m: np.ndarray
    stds_m: np.ndarray


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


def moving_projections(T_cam_world: np.ndarray, gain: np.ndarray, shift_m: np.ndarray) -> np.ndarray:
    """Projections (G, J, V, 3, 4) of points that are at `gain * X + shift` when each view is taken.

    `T_cam_world` (V, 4, 4); `gain` (G, J, V); `shift_m` (G, J, V, 3).
    """
    R, t = T_cam_world[:, :3, :3], T_cam_world[:, :3, 3]
    P = np.empty((*gain.shape, 3, 4))
    P[..., :3] = gain[..., None, None] * R
    P[..., 3] = np.einsum("vab,gjvb->gjva", R, shift_m) + t
    return P


def triangulate(
    obs: Observations, links: Links | None = None, iterations: int = 4, start_m: np.ndarray | None = None
) -> Triangulation:
    """Confidence-weighted DLT with outlier views rejected per point, then Gauss-Newton on the image error.

    The DLT is solved for all views and for every pair of views; the solution with the least robust cost over all
    views, of the point and (so that points of one group help each other) of its group, starts the refinement, unless
    `start_m` (G, J, 3) does. With two views nothing can be rejected.
    """
    views = _Views.of(obs)
    if start_m is None:
        points = _best_subsets(views, leave_out=False)[:, 0]
    else:
        points = np.where(views.solvable, start_m.transpose(2, 0, 1), 0.0)
    points = _refine(views, points, links, iterations)
    near = _linearise(views, points)
    covariance = _covariance(views, near, _information(views, points, near, links)[0])
    lost = ~views.solvable
    points[:, lost] = np.nan
    covariance[lost] = np.nan
    seen = views.seen.transpose(1, 2, 0)
    distance = np.sqrt(near.squared.transpose(1, 2, 0))
    return Triangulation(
        points.transpose(1, 2, 0), covariance, seen & (distance < _INLIER_STDS), np.where(seen, distance, np.nan)
    )


def triangulate_without_each(obs: Observations, iterations: int = 4) -> np.ndarray:
    """Points (G, 1 + V, J, 3) from all views and from all but each view v at 1 + v, as `triangulate` finds them.

    NaN where fewer than two views remain.
    """
    views = _Views.of(obs)
    starts = _best_subsets(views, leave_out=True)
    sets = views.without_each()
    points = _refine(sets, starts.reshape(3, -1, starts.shape[-1]), None, iterations)
    points[:, ~sets.solvable] = np.nan
    return points.reshape(starts.shape).transpose(2, 1, 3, 0)


def triangulate_all(obs: Observations) -> np.ndarray:
    """Plain weighted DLT from all views of a point (G, J, 3); huge or NaN where the views do not determine it."""
    scale = obs.seen / obs.std
    A = normal_equations(
        obs.P.transpose(4, 3, 0, 1, 2), obs.points.transpose(3, 0, 1, 2), np.where(obs.seen, scale, 0.0)
    )
    return solve3(A.sum(-1)).transpose(1, 2, 0)


def normal_equations(P: np.ndarray, points: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The DLT's normal equations M X = b of each observation, as (3, 4, ...): M in three columns, b in the last.

    Components first: `P` (4, 3, ...) the columns of the projection matrix, `points` (2, ...), `scale` (...) the
    weight of the observation's rows.
    """
    rows = points * P[:, 2:] - P[:, :2]
    rows *= scale
    rows[3] *= -1
    return rows[:3, None, 0] * rows[None, :, 0] + rows[:3, None, 1] * rows[None, :, 1]


def solve3(A: np.ndarray) -> np.ndarray:
    """Solve symmetric 3x3 systems `A` (3, 4, ...), M and b, by the adjugate; huge or NaN where M is singular."""
    (xx, xy, xz, x), (_, yy, yz, y), (_, _, zz, z) = A
    a, d, f = yy * zz - yz * yz, xx * zz - xz * xz, xx * yy - xy * xy
    e, g, h = xz * yz - xy * zz, xy * yz - xz * yy, xy * xz - xx * yz
    out = np.empty(A.shape[:1] + A.shape[2:])
    out[0] = a * x + e * y + g * z
    out[1] = e * x + d * y + h * z
    out[2] = g * x + h * y + f * z
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        out /= xx * a + xy * e + xz * g
    return out


class _Views:
    """Observations with components first: `P` (4, 3, V, G, J), `points` (2, V, G, J), `scale` (V, G, J) 1 / std."""

    def __init__(self, P: np.ndarray, points: np.ndarray, scale: np.ndarray, seen: np.ndarray) -> None:
        self.solvable = seen.sum(0) >= 2
        self.seen = seen & self.solvable
        self.P = P
        self.points = points
        self.scale = np.where(self.seen, scale, 0.0)
        # For the median over a group's points of what each view saw of it: the place of the middle after sorting.
        count = self.seen.sum(-1)
        self.unseen = ~self.seen
        self.absent = count == 0
        self.middle = np.arange(count.size).reshape(count.shape) * seen.shape[-1] + np.maximum(count - 1, 0) // 2

    @classmethod
    def of(cls, obs: Observations) -> "_Views":
        points = obs.points.transpose(3, 2, 0, 1)
        seen = obs.seen.transpose(2, 0, 1) & np.isfinite(points).all(0)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = 1 / obs.std.transpose(2, 0, 1)
        P = np.ascontiguousarray(obs.P.transpose(4, 3, 2, 0, 1))
        return cls(P, np.where(seen, points, 0.0), scale, seen)

    def without_each(self) -> "_Views":
        """1 + V times as many groups: first those with all views, then all those without view 0, and so on."""
        views, groups, joints = self.seen.shape
        keep = ~np.eye(views, 1 + views, 1, dtype=bool)

        def spread(values: np.ndarray) -> np.ndarray:
            wide = np.broadcast_to(values[..., None, :, :], (*values.shape[:-2], 1 + views, groups, joints))
            return wide.reshape(*values.shape[:-2], -1, joints)

        seen = (self.seen[:, None] & keep[:, :, None, None]).reshape(views, -1, joints)
        return _Views(spread(self.P), spread(self.points), spread(self.scale), seen)


@lru_cache
def _subsets(views: int, leave_out: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every pair of views and all views (K, V); who may use each; which views count for whom.

    The users are all views and, with `leave_out`, all but each: may (K, U), counts (U, V).
    """
    everyone = tuple(range(views))
    chosen = {*combinations(everyone, 2), everyone}
    if leave_out and views > 2:
        chosen |= set(combinations(everyone, views - 1))
    sets = [np.isin(everyone, subset) for subset in sorted(chosen, key=lambda subset: (len(subset), subset))]
    counts = ~np.eye(views, 1 + views if leave_out else 1, 1, dtype=bool).T
    subsets = np.array(sets, dtype=float)
    # Those who leave one out take pairs and what is left; the rest take pairs and all.
    may = np.array([[(~s | c).all() and s.sum() in (2, c.sum()) for c in counts] for s in np.array(sets)])
    return subsets, may, counts.astype(float)


def _best_subsets(views: _Views, leave_out: bool) -> np.ndarray:
    """The DLT solution (3, U, G, J) with the least robust cost, of those from all views and from each pair.

    U is 1, or 1 + V with `leave_out`: from all views, and from all but each.
    """
    count, groups, joints = views.seen.shape
    subsets, may, counts = _subsets(count, leave_out)
    A = normal_equations(views.P, views.points, views.scale)
    start = solve3(A.sum(2))
    depth = (views.P[:3, 2] * start[:, None]).sum(0) + views.P[3, 2]
    depth = np.where(np.isfinite(depth), np.maximum(np.abs(depth), 1e-3), 1.0)
    A /= depth**2
    A = (subsets @ A.reshape(3, 4, count, -1)).reshape(3, 4, -1, groups, joints)
    candidates = solve3(A)
    seen = views.seen.reshape(count, -1).astype(float)
    complete = (subsets @ seen >= 2).reshape(-1, groups, joints)
    valid = complete & np.isfinite(candidates).all(0)
    candidates = np.where(valid, candidates, 0.0)

    in_camera = _transform(views.P[:, :, :, None], candidates[:, None])
    depth = in_camera[2]
    offset = in_camera[:2] / np.where(np.abs(depth) > 1e-9, depth, 1e-9) - views.points[:, :, None]
    offset *= views.scale[:, None]
    squared = offset[0] ** 2 + offset[1] ** 2
    cost = np.where(depth > 1e-9, np.log1p(squared * _CAUCHY**-2), 20.0) * views.seen[:, None]
    cost = (counts @ cost.reshape(count, -1)).reshape(len(counts), -1, groups, joints)
    solvable = ((counts @ seen) >= 2).reshape(len(counts), 1, groups, joints)
    valid = valid & may.T[:, :, None, None]
    cost = np.where(valid, cost, 50.0 * solvable)
    cost += _GROUP_SHARE / joints * cost.sum(-1, keepdims=True)
    cost[~valid] = np.inf
    best = cost.argmin(1).reshape(len(counts), -1)
    flat = candidates.reshape(3, -1, groups * joints)
    return flat[:, best, np.arange(groups * joints)].reshape(3, len(counts), groups, joints)


def _transform(P: np.ndarray, points: np.ndarray) -> np.ndarray:
    """P X for P (4, 3, ...) and X (3, ...)."""
    out = P[0] * points[0]
    out += P[1] * points[1]
    out += P[2] * points[2]
    out += P[3]
    return out


@dataclass(frozen=True)
class _Linearised:
    """At some points: `residual` (2, V, G, J) over std, zero where not seen, its square's sum (V, G, J), its Jacobian
    (3, 2, V, G, J) by the points, and the robust weights (V, G, J)."""

    residual: np.ndarray
    squared: np.ndarray
    jacobian: np.ndarray
    weights: np.ndarray


def _linearise(views: _Views, points: np.ndarray) -> _Linearised:
    in_camera = _transform(views.P, points[:, None])
    depth = in_camera[2]
    inverse = 1 / np.where(np.abs(depth) > 1e-6, depth, 1e-6)
    projected = in_camera[:2] * inverse
    jacobian = projected * views.P[:3, 2:]
    np.subtract(views.P[:3, :2], jacobian, out=jacobian)
    jacobian *= inverse * views.scale
    projected -= views.points
    projected *= views.scale
    squared = projected[0] ** 2 + projected[1] ** 2
    return _Linearised(projected, squared, jacobian, _weights(views, squared))


def _weights(views: _Views, squared: np.ndarray) -> np.ndarray:
    """Cauchy weights (V, G, J) of the residual lengths: each observation's own, times its view's over the group."""
    weights = 1 / (1 + squared * _CAUCHY**-2)
    weights *= views.seen
    if squared.shape[-1] > 1:
        ordered = np.where(views.unseen, np.inf, squared)
        ordered.sort(axis=-1)
        middle = np.where(views.absent, 0.0, ordered.reshape(-1)[views.middle])
        weights /= (1 + middle * _VIEW_SOFTNESS**-2)[..., None]
    return weights


def _information(
    views: _Views, points: np.ndarray, near: _Linearised, links: Links | None
) -> tuple[np.ndarray, np.ndarray]:
    """Information and gradient: per point (3, 3, G, J) and (3, G, J) or, with links, per group (G, 3J, 3J), (G, 3J)."""
    _, groups, joints = points.shape
    jacobian = near.jacobian.reshape(3, -1, groups * joints)
    weighted = (near.jacobian * near.weights).reshape(jacobian.shape)
    information = np.einsum("aon,bon->abn", weighted, jacobian).reshape(3, 3, groups, joints)
    gradient = np.einsum("aon,on->an", weighted, near.residual.reshape(-1, groups * joints)).reshape(points.shape)
    # A point that nothing holds stays where it is.
    hold = np.where(views.solvable, 1e-6, 1.0)
    for axis in range(3):
        information[axis, axis] += hold
    return (information, gradient) if links is None else _with_links(views, information, gradient, points, links)


def _refine(views: _Views, points: np.ndarray, links: Links | None, iterations: int) -> np.ndarray:
    """Points (3, G, J) after iteratively reweighted Gauss-Newton."""
    _, groups, joints = points.shape
    for _ in range(iterations):
        near = _linearise(views, points)
        information, gradient = _information(views, points, near, links)
        if links is None:
            step = solve3(np.concatenate([information, gradient[:, None]], axis=1))
        else:
            solved = [_solve(M, g) for M, g in zip(information, gradient, strict=True)]
            step = np.array(solved).reshape(groups, joints, 3).transpose(2, 0, 1)
        length = np.sqrt(step[0] ** 2 + step[1] ** 2 + step[2] ** 2)
        points = points - step * (0.1 / np.maximum(length, 0.1))
    return points


def _with_links(
    views: _Views, information: np.ndarray, gradient: np.ndarray, points: np.ndarray, links: Links
) -> tuple[np.ndarray, np.ndarray]:
    """The group's normal equations (G, 3J, 3J) and (G, 3J) with the soft distances added."""
    _, groups, joints = points.shape
    first, second = links.pairs[:, 0], links.pairs[:, 1]
    between = points[..., second] - points[..., first]
    length = np.maximum(np.sqrt(between[0] ** 2 + between[1] ** 2 + between[2] ** 2), 1e-6)
    usable = views.solvable[:, first] & views.solvable[:, second]
    scale = np.where(usable, 1 / links.stds_m, 0.0)
    direction = between / length
    error = (length - links.lengths_m) * scale
    # Huber's weights: a length that is far off pulls no harder than one that is somewhat off.
    pull = scale / np.maximum(1.0, np.abs(error) / _CAUCHY)
    # Each link adds to the blocks of its two points, and what it adds on the diagonal it takes off beside it.
    outer = (pull * scale) * direction[:, None] * direction
    ends = np.zeros((len(first), joints))
    ends[np.arange(len(first)), first] = -1.0
    ends[np.arange(len(first)), second] = 1.0
    own = np.arange(joints)
    blocks = np.zeros((groups, joints, 3, joints, 3))
    blocks[:, own, :, own, :] = (information + outer @ np.abs(ends)).transpose(3, 2, 0, 1)
    beside = outer.transpose(3, 2, 0, 1)
    blocks[:, first, :, second, :] = -beside
    blocks[:, second, :, first, :] = -beside
    gradient = gradient + (direction * (pull * error)) @ ends
    return blocks.reshape(groups, 3 * joints, -1), gradient.transpose(1, 2, 0).reshape(groups, -1)


def _covariance(views: _Views, near: _Linearised, information: np.ndarray) -> np.ndarray:
    """Inverse information (G, J, 3, 3), scaled by the variance of the residuals that the group really has.

    The expected variance of 1 counts as much as `_PRIOR_DOF` measurements per point.
    """
    groups, joints = views.solvable.shape
    if information.ndim == 3:
        inverse = np.array([_inverse(M) for M in information]).reshape(groups, joints, 3, joints, 3)
        own = np.arange(joints)
        covariance = np.swapaxes(inverse[:, own, :, own, :], 0, 1)
    else:
        covariance = np.linalg.inv(information.transpose(2, 3, 0, 1))
    squares = (near.weights * near.squared).sum((0, 2))
    freedom = np.maximum(2 * near.weights.sum(0) - 3, 0).sum(1)
    prior = _PRIOR_DOF * joints
    return covariance * ((squares + prior) / (freedom + prior))[:, None, None, None]


def _solve(M: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Solve with a symmetric, positive definite matrix, by LU where rounding made it not quite that."""
    _, solution, failed = _posv(M, b)
    return np.linalg.solve(M, b) if failed else solution


def _inverse(M: np.ndarray) -> np.ndarray:
    """Inverse of a symmetric, positive definite matrix.

    In slices so thin that OpenBLAS does not start its threads, which cost many times what there is to be done.
    """
    factor, failed = _potrf(M, lower=1)
    if failed:
        return np.linalg.inv(M)
    return np.hstack([_potrs(factor, columns, lower=1)[0] for columns in _unit_slices(len(M))])


@lru_cache
def _unit_slices(size: int) -> list[np.ndarray]:
    unit = np.eye(size)
    return [np.asfortranarray(unit[:, start : start + _SLICE]) for start in range(0, size, _SLICE)]
