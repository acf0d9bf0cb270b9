"""Where a robust triangulation starts: the subset of views whose DLT fits all views best."""

from functools import lru_cache
from itertools import combinations

import numpy as np

from calibration.triangulation.gauss_newton import transform
from calibration.triangulation.linear import dlt_equations, solve3
from calibration.triangulation.observations import ViewArrays
from calibration.triangulation.settings import ROBUST

_COST_BEHIND = 20.0
_COST_OF_NOTHING = 50.0


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


def best_subsets(views: ViewArrays, leave_out: bool) -> np.ndarray:
    """The DLT solution (3, U, G, J) with the least robust cost, of those from all views and from each pair.

    U is 1, or 1 + V with `leave_out`: from all views, and from all but each.
    """
    count, groups, joints = views.seen.shape
    subsets, may, counts = _subsets(count, leave_out)
    A = dlt_equations(views.P, views.points, views.scale)
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

    in_camera = transform(views.P[:, :, :, None], candidates[:, None])
    depth = in_camera[2]
    offset = in_camera[:2] / np.where(np.abs(depth) > 1e-9, depth, 1e-9) - views.points[:, :, None]
    offset *= views.scale[:, None]
    squared = offset[0] ** 2 + offset[1] ** 2
    cost = np.where(depth > 1e-9, np.log1p(squared * ROBUST.cauchy_stds**-2), _COST_BEHIND) * views.seen[:, None]
    cost = (counts @ cost.reshape(count, -1)).reshape(len(counts), -1, groups, joints)
    solvable = ((counts @ seen) >= 2).reshape(len(counts), 1, groups, joints)
    valid = valid & may.T[:, :, None, None]
    cost = np.where(valid, cost, _COST_OF_NOTHING * solvable)
    cost += ROBUST.group_share / joints * cost.sum(-1, keepdims=True)
    cost[~valid] = np.inf
    best = cost.argmin(1).reshape(len(counts), -1)
    flat = candidates.reshape(3, -1, groups * joints)
    return flat[:, best, np.arange(groups * joints)].reshape(3, len(counts), groups, joints)
