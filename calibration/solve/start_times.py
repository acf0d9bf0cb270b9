"""Cameras whose clocks are seconds apart, as those of recordings that were started by hand: found from how the board
turns. The turn between two cameras is always the same, so that at the right shift, and there alone, the board's turns
in both give it."""

from itertools import combinations

import numpy as np
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree

from calibration.solve.pair_graph import PairGraph
from calibration.solve.view_poses import ViewPoses
from calibration.solve.view_table import frame_periods_s

# Views of a camera that are looked for in another's time, and the fewest that must have one there.
_SAMPLES, LEAST_MOMENTS = 60, 12
# Turns that differ by this are somewhat alike: single views of a board tell no better.
_ALIKE_RAD = 0.1
# Of the moments, a share so much alike is right; where the board alone turns as little, nothing tells.
_RIGHT, _STILL = 0.6, 0.4
# Of a pair's moments that fit as they are, a share from which on its clocks are not suspected.
_FITTING = 0.5


def find_starts_s(poses: ViewPoses) -> dict[str, float]:
    """By how many seconds cameras' stamps are late against the first one's, to about a frame. Empty where the cameras
    fit as they are, or no shift is clear."""
    graph, count = PairGraph.of(poses), len(poses.table.camera_ids)
    fits = {key for key, pair in graph.pairs.items() if pair.agreeing > _FITTING * pair.shared}
    if _connected(count, fits):
        return {}
    likeness, late = np.zeros((count, count)), np.zeros((count, count))
    views = [posed_views(poses, camera) for camera in range(count)]
    for a, b in combinations(range(count), 2):
        likeness[a, b], late[a, b] = best_shift(poses, views[a], views[b])
    tree = minimum_spanning_tree(np.where(likeness > _RIGHT, 1.01 - likeness, 0.0))
    order, before = breadth_first_order(tree, 0, directed=False)
    late_s, late = np.zeros(count), late - late.T
    for camera in order[1:]:
        late_s[camera] = late_s[before[camera]] + late[before[camera], camera]
    periods = frame_periods_s(poses.table.time_s, poses.table.camera, count)
    ids = poses.table.camera_ids
    return {ids[camera]: float(late_s[camera]) for camera in order if abs(late_s[camera]) > 0.5 * periods[camera]}


def _connected(count: int, pairs: set[tuple[int, int]]) -> bool:
    linked = np.zeros((count, count))
    for pair in pairs:
        linked[pair] = 1
    return connected_components(linked, directed=False)[0] == 1


def best_shift(poses: ViewPoses, own: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """How much alike the turns from one camera to another are at the best shift, 0 to 1, and by how much the other one
    is late then; of views of each, in order of time."""
    table = poses.table
    if min(len(own), len(other)) < LEAST_MOMENTS:
        return 0.0, 0.0
    period = shortest_period_s(poses, own, other)
    own = own[np.unique(np.linspace(0, len(own) - 1, min(len(own), _SAMPLES)).astype(int))]
    own_s, other_s = table.time_s[own], table.time_s[other]
    best = (0.0, 0.0)
    for shift in np.arange(other_s[0] - own_s[-1], other_s[-1] - own_s[0], period):
        nearest, both = nearest_views(own_s + shift, other_s, period)
        if both.sum() < max(LEAST_MOMENTS, 0.25 * len(own)):
            continue
        turns = poses.R[own[both], 0]
        likeness = alike(turns_between(poses, own[both], other[nearest[both]]))
        if likeness > best[0] and alike(turns) < _STILL:
            best = likeness, float(shift)
    return best


def shortest_period_s(poses: ViewPoses, own: np.ndarray, other: np.ndarray) -> float:
    """The time between two frames of the faster of two cameras, of which these are views."""
    table = poses.table
    periods = frame_periods_s(table.time_s, table.camera, len(table.camera_ids))
    return float(periods[table.camera[[own[0], other[0]]]].min())


def nearest_views(times_s: np.ndarray, other_s: np.ndarray, period: float) -> tuple[np.ndarray, np.ndarray]:
    """Of each time the index of the nearest of some others, and whether it is of the same moment."""
    after = np.clip(np.searchsorted(other_s, times_s), 1, len(other_s) - 1)
    nearest = np.where(times_s - other_s[after - 1] < other_s[after] - times_s, after - 1, after)
    return nearest, np.abs(other_s[nearest] - times_s) < 0.6 * period


def turns_between(poses: ViewPoses, own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The turns (K, 3, 3) from one camera to the other, as views of one moment have them."""
    return poses.R[other, 0] @ np.swapaxes(poses.R[own, 0], 1, 2)


def posed_views(poses: ViewPoses, camera: int) -> np.ndarray:
    """The camera's views that have a pose, in order of time."""
    views = np.flatnonzero((poses.table.camera == camera) & np.isfinite(poses.rmse_px[:, 0]))
    return views[np.argsort(poses.table.time_s[views], kind="stable")]


def alike(turns: np.ndarray) -> float:
    """How much of the turns (K, 3, 3) is like the one that most are like."""
    flat = turns.reshape(len(turns), 9)
    angle = np.arccos(np.clip((flat @ flat.T - 1) / 2, -1, 1))
    return float(np.exp(-((angle / _ALIKE_RAD) ** 2) / 2).mean(1).max())
