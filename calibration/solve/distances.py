"""Distances between cameras, how sure they are, and what measured ones say of the scale."""

from collections.abc import Mapping

import numpy as np

from calibration.errors import UserError
from calibration.solve.camera_figures import FoldDifferences
from calibration.solve.rig_solve import RigSolve

Pair = tuple[str, str]


def camera_distances(solve: RigSolve, folds: FoldDifferences) -> tuple[dict[Pair, float], dict[Pair, float]]:
    """Distances between camera centres, and their standard deviations, in metres."""
    distances, stds = {}, {}
    R, centres, ids = solve.state.R, solve.state.centres_world_m, solve.table.camera_ids
    blocks = solve.stated_covariance[:, 3:6, :, 3:6]
    for a in range(len(ids)):
        for b in range(a + 1, len(ids)):
            between = centres[b] - centres[a]
            length = float(np.linalg.norm(between))
            along = between / length
            u, v = R[a] @ along, R[b] @ along
            variance = u @ blocks[a, :, a] @ u + v @ blocks[b, :, b] @ v - 2 * (u @ blocks[a, :, b] @ v)
            distances[ids[a], ids[b]] = length
            stds[ids[a], ids[b]] = max(float(np.sqrt(max(variance, 0.0))), float(folds.distance_m[a, b]))
    return distances, stds


def scale_bias(distances: Mapping[Pair, float], known: Mapping[Pair, float]) -> float | None:
    """Signed percentage by which the rig's distances exceed the known ones; None where none is known."""
    if not known:
        return None
    got, true = [], []
    for pair, distance in known.items():
        found = distances.get(pair, distances.get((pair[1], pair[0])))
        if found is None:
            raise UserError(f"a known distance names cameras {pair[0]} and {pair[1]}; the rig has no such pair.")
        if not distance > 0:
            raise UserError(f"the known distance of {pair[0]} and {pair[1]} is {distance} m; it must be above zero.")
        got.append(found)
        true.append(distance)
    return float(100 * (np.dot(got, true) / np.dot(true, true) - 1))
