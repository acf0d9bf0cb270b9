"""Cameras whose clocks are seconds apart, as those of recordings that were started by hand: found from how the board
turns. The turn between two cameras is always the same, so that at the right shift, and there alone, the board's turns
in both give it."""

import numpy as np
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree

from calibration.solve.pair_graph import PairGraph
from calibration.solve.view_poses import ViewPoses
from calibration.solve.view_table import frame_periods_s

# Views of a camera that are looked for in another's time, and the fewest that must have one there.
_SAMPLES, _LEAST = 60, 12
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
    for a in range(count):
        for b in range(a + 1, count):
            likeness[a, b], late[a, b] = _best_shift(poses, a, b)
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


def _best_shift(poses: ViewPoses, a: int, b: int) -> tuple[float, float]:
    """How much alike the turns from camera a to b are at the best shift, 0 to 1, and by how much b is late then."""
    table = poses.table
    own, other = (_posed(poses, camera) for camera in (a, b))
    if min(len(own), len(other)) < _LEAST:
        return 0.0, 0.0
    period = float(frame_periods_s(table.time_s, table.camera, len(table.camera_ids))[[a, b]].min())
    own = own[np.unique(np.linspace(0, len(own) - 1, min(len(own), _SAMPLES)).astype(int))]
    own_s, other_s = table.time_s[own], table.time_s[other]
    turns, others = poses.R[own, 0], poses.R[other, 0]
    best = (0.0, 0.0)
    for shift in np.arange(other_s[0] - own_s[-1], other_s[-1] - own_s[0], period):
        after = np.clip(np.searchsorted(other_s, own_s + shift), 1, len(other_s) - 1)
        nearest = np.where(own_s + shift - other_s[after - 1] < other_s[after] - own_s - shift, after - 1, after)
        both = np.abs(other_s[nearest] - own_s - shift) < 0.6 * period
        if both.sum() < max(_LEAST, 0.25 * len(own)):
            continue
        between = others[nearest[both]] @ np.swapaxes(turns[both], 1, 2)
        alike = _alike(between)
        if alike > best[0] and _alike(turns[both]) < _STILL:
            best = alike, float(shift)
    return best


def _posed(poses: ViewPoses, camera: int) -> np.ndarray:
    """The camera's views that have a pose, in order of time."""
    views = np.flatnonzero((poses.table.camera == camera) & np.isfinite(poses.rmse_px[:, 0]))
    return views[np.argsort(poses.table.time_s[views], kind="stable")]


def _alike(turns: np.ndarray) -> float:
    """How much of the turns (K, 3, 3) is like the one that most are like."""
    flat = turns.reshape(len(turns), 9)
    angle = np.arccos(np.clip((flat @ flat.T - 1) / 2, -1, 1))
    return float(np.exp(-((angle / _ALIKE_RAD) ** 2) / 2).mean(1).max())
