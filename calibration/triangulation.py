"""Robust triangulation of groups of points (hands of joints) seen in several views, with covariance.

Shapes: G groups, J points in a group, V views, K candidate subsets of views, L links. Everything is vectorised over G
and J, so that a hand and the same hand without each of its views are solved in one call.

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

_CAUCHY = 3.0
_INLIER_STDS = 3.0
_VIEW_SOFTNESS = 3.0
_GROUP_SHARE = 1.0
_PRIOR_DOF = 6.0


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
    P[..., 3] = (R @ shift_m[..., None])[..., 0] + t
    return P


def triangulate(obs: Observations, links: Links | None = None, iterations: int = 4) -> Triangulation:
    """Confidence-weighted DLT with outlier views rejected per point, then Gauss-Newton on the image error.

    The DLT is solved for all views and for every pair of views; the solution with the least robust cost over all
    views, of the point and (so that points of one group help each other) of its group, starts the refinement.
    With two views nothing can be rejected.
    """
    seen = obs.seen & np.isfinite(obs.points).all(-1)
    solvable = seen.sum(-1) >= 2
    seen = seen & solvable[..., None]
    clean = Observations(obs.P, np.where(seen[..., None], obs.points, 0.0), np.where(seen, obs.std, 1.0), seen)
    points = _best_subset(clean)
    points, information, weights = _refine(clean, points, links, iterations)
    residual = _whitened(clean, points)[0]
    distance = np.sqrt((residual**2).sum(-1))
    covariance = _covariance(information, distance, weights, seen)
    inliers = seen & (distance < _INLIER_STDS)
    return Triangulation(
        np.where(solvable[..., None], points, np.nan),
        np.where(solvable[..., None, None], covariance, np.nan),
        inliers,
        np.where(seen, distance, np.nan),
    )


def triangulate_all(obs: Observations) -> np.ndarray:
    """Plain weighted DLT from all views of a point (G, J, 3); huge or NaN where the views do not determine it."""
    M, b = _dlt_rows(obs)
    return _solve3(M.sum(-3), b.sum(-2))


def _solve3(M: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Solve symmetric 3x3 systems (..., 3, 3) by the adjugate; a singular system gives huge or NaN values."""
    xx, xy, xz = M[..., 0, 0], M[..., 0, 1], M[..., 0, 2]
    yy, yz, zz = M[..., 1, 1], M[..., 1, 2], M[..., 2, 2]
    x, y, z = b[..., 0], b[..., 1], b[..., 2]
    a, d, f = yy * zz - yz * yz, xx * zz - xz * xz, xx * yy - xy * xy
    e, g, h = xz * yz - xy * zz, xy * yz - xz * yy, xy * xz - xx * yz
    out = np.empty_like(b)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        inverse = 1 / (xx * a + xy * e + xz * g)
        out[..., 0] = (a * x + e * y + g * z) * inverse
        out[..., 1] = (e * x + d * y + h * z) * inverse
        out[..., 2] = (g * x + h * y + f * z) * inverse
    return out


@lru_cache
def _subsets(views: int) -> np.ndarray:
    """Every pair of views, and all views (K, V), boolean."""
    pairs = [np.isin(np.arange(views), pair) for pair in combinations(range(views), 2)]
    return np.array([*pairs, np.ones(views, dtype=bool)])


def _dlt_rows(obs: Observations) -> tuple[np.ndarray, np.ndarray]:
    """Normal equations of each observation: M (G, J, V, 3, 3) and b (G, J, V, 3)."""
    rows = obs.points[..., None] * obs.P[..., 2:3, :] - obs.P[..., :2, :]
    rows = rows * (obs.seen / obs.std)[..., None, None]
    x, y = rows[..., 0, :3], rows[..., 1, :3]
    M = x[..., :, None] * x[..., None, :] + y[..., :, None] * y[..., None, :]
    return M, -(x * rows[..., 0, 3:] + y * rows[..., 1, 3:])


def _best_subset(obs: Observations) -> np.ndarray:
    """The DLT solution (G, J, 3) with the least robust cost, of those from all views and from each pair."""
    views = obs.seen.shape[-1]
    M, b = _dlt_rows(obs)
    start = _solve3(M.sum(-3), b.sum(-2))
    depth = (obs.P[..., 2, :3] * start[..., None, :]).sum(-1) + obs.P[..., 2, 3]
    depth = np.where(np.isfinite(depth), np.maximum(np.abs(depth), 1e-3), 1.0)
    M, b = M / depth[..., None, None] ** 2, b / depth[..., None] ** 2

    subsets = _subsets(views)
    groups, joints = obs.seen.shape[:2]
    M_sets = (subsets.astype(float) @ M.reshape(groups, joints, views, 9)).reshape(groups, joints, -1, 3, 3)
    b_sets = subsets.astype(float) @ b
    candidates = _solve3(M_sets, b_sets)
    complete = obs.seen.astype(float) @ subsets.T.astype(float) >= 2
    valid = complete & np.isfinite(candidates).all(-1)
    candidates = np.where(valid[..., None], candidates, 0.0)

    rotations = obs.P[..., :3].reshape(groups, joints, views * 3, 3)
    projected = candidates @ rotations.swapaxes(-1, -2) + obs.P[..., 3].reshape(groups, joints, 1, views * 3)
    projected = projected.reshape(groups, joints, -1, views, 3)
    depth = projected[..., 2]
    offset = projected[..., :2] / np.where(np.abs(depth) > 1e-9, depth, 1e-9)[..., None] - obs.points[..., None, :, :]
    squared = (offset**2).sum(-1) / obs.std[..., None, :] ** 2
    cost = np.where(depth > 1e-9, np.log1p(squared / _CAUCHY**2), 20.0)
    cost = np.where(obs.seen[..., None, :], cost, 0.0).sum(-1)
    cost = np.where(valid, cost, np.where(obs.seen.any(-1)[..., None], 50.0, 0.0))
    total = cost + _GROUP_SHARE * cost.mean(1, keepdims=True)
    total = np.where(valid, total, np.inf)
    best = total.argmin(-1)
    return np.take_along_axis(candidates, best[..., None, None], axis=2)[:, :, 0]


def _whitened(obs: Observations, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Residuals (G, J, V, 2) over std and their Jacobian (G, J, V, 2, 3) by the points; zero where not seen."""
    in_camera = np.einsum("gjvab,gjb->gjva", obs.P[..., :3], points) + obs.P[..., 3]
    depth = in_camera[..., 2:]
    depth = np.where(np.abs(depth) > 1e-6, depth, 1e-6)
    projected = in_camera[..., :2] / depth
    scale = (obs.seen / obs.std)[..., None]
    jacobian = (obs.P[..., :2, :3] - projected[..., None] * obs.P[..., 2:3, :3]) * (scale / depth)[..., None]
    return (projected - obs.points) * scale, jacobian


def _weights(distance: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Cauchy weights (G, J, V) of the residual lengths: each observation's own, times its view's over the group."""
    own = 1 / (1 + (distance / _CAUCHY) ** 2)
    if distance.shape[1] == 1:
        return own * seen
    view = _masked_median(distance, seen)
    return own * seen / (1 + (view / _VIEW_SOFTNESS) ** 2)


def _masked_median(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Median over axis 1 of what is seen, kept as an axis of length 1; 0 where nothing is."""
    count = seen.sum(1, keepdims=True)
    ordered = np.sort(np.where(seen, values, np.inf), axis=1)
    middle = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, axis=1)
    return np.where(count > 0, middle, 0.0)


def _refine(
    obs: Observations, points: np.ndarray, links: Links | None, iterations: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Iteratively reweighted Gauss-Newton.

    Gives points, the information per point (G, J, 3, 3) or, with links, of the group (G, 3J, 3J), and the weights.
    """
    groups, joints, _ = obs.seen.shape
    solvable = obs.seen.any(-1)
    for last in [False] * iterations + [True]:
        residual, jacobian = _whitened(obs, points)
        distance = np.sqrt((residual**2).sum(-1))
        weights = _weights(distance, obs.seen)
        weighted = jacobian * weights[..., None, None]
        stacked = weighted.reshape(groups, joints, -1, 3)
        information = np.swapaxes(stacked, -1, -2) @ jacobian.reshape(groups, joints, -1, 3)
        gradient = (np.swapaxes(stacked, -1, -2) @ residual.reshape(groups, joints, -1, 1))[..., 0]
        # A point that nothing holds stays where it is.
        information = information + np.where(solvable, 1e-6, 1.0)[..., None, None] * np.eye(3)
        if links is None:
            if last:
                return points, information, weights
            step = _solve3(information, gradient)
        else:
            full, full_gradient = _with_links(information, gradient, points, links, solvable)
            if last:
                return points, full, weights
            step = np.linalg.solve(full, full_gradient[..., None])[..., 0].reshape(groups, joints, 3)
        length = np.linalg.norm(step, axis=-1, keepdims=True)
        points = points - step * np.minimum(1.0, 0.1 / np.maximum(length, 1e-12))
    raise AssertionError("unreachable")


def _with_links(
    information: np.ndarray, gradient: np.ndarray, points: np.ndarray, links: Links, solvable: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The group's normal equations (G, 3J, 3J) and (G, 3J) with the soft distances added."""
    groups, joints = points.shape[:2]
    first, second = links.pairs[:, 0], links.pairs[:, 1]
    between = points[:, second] - points[:, first]
    length = np.maximum(np.linalg.norm(between, axis=-1), 1e-6)
    usable = solvable[:, first] & solvable[:, second]
    scale = np.where(usable, 1 / links.stds_m, 0.0)
    direction = between / length[..., None] * scale[..., None]
    rows = np.zeros((groups, len(links.pairs), joints, 3))
    index = np.arange(len(links.pairs))
    rows[:, index, first] = -direction
    rows[:, index, second] = direction
    rows = rows.reshape(groups, len(links.pairs), -1)
    error = (length - links.lengths_m) * scale
    # Huber's weights: a length that is far off pulls no harder than one that is somewhat off.
    weight = 1 / np.maximum(1.0, np.abs(error) / _CAUCHY)
    transposed = np.swapaxes(rows * weight[..., None], -1, -2)
    full = transposed @ rows
    blocks = full.reshape(groups, joints, 3, joints, 3)
    own = np.arange(joints)
    blocks[:, own, :, own, :] += np.swapaxes(information, 0, 1)
    return full, gradient.reshape(groups, -1) + (transposed @ error[..., None])[..., 0]


def _covariance(information: np.ndarray, distance: np.ndarray, weights: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Inverse information (G, J, 3, 3), scaled by the variance of the residuals that the group really has.

    The expected variance of 1 counts as much as `_PRIOR_DOF` measurements per point.
    """
    groups, joints = seen.shape[:2]
    if information.shape[1] == 3 * joints:
        inverse = np.linalg.inv(information).reshape(groups, joints, 3, joints, 3)
        own = np.arange(joints)
        covariance = np.swapaxes(inverse[:, own, :, own, :], 0, 1)
    else:
        covariance = np.linalg.inv(information)
    squares = (weights * distance**2).sum((1, 2))
    freedom = np.maximum((2 * weights.sum(-1) - 3).clip(0).sum(1), 0)
    prior = _PRIOR_DOF * joints
    return covariance * ((squares + prior) / (freedom + prior))[:, None, None, None]
