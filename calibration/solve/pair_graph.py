"""Relative poses of cameras from shared views, and the tree that links all cameras best."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from calibration.rotations import inverse_transform, make_transform
from calibration.solve.view_poses import ViewPoses, view_rmse_px
from calibration.solve.view_table import BoardTable

_MOST_SHARED = 30
_MOST_PROPOSING = 15
_TRUNCATE_PX = 12.0
_LEAST_SHARED = 2


@dataclass(frozen=True)
class Pair:
    """`T_second_first` 4x4; `shared` sets that both saw, `agreeing` of them within the truncation.

    `error_px`: RMSE of the board carried from one camera to the other, truncated.
    """

    T_second_first: np.ndarray
    shared: int
    agreeing: int
    error_px: float


def shared_views(table: BoardTable) -> dict[tuple[int, int], np.ndarray]:
    """Pairs of view indices (K, 2) per pair of cameras, for sets that both saw."""
    cameras = len(table.camera_ids)
    view_of = np.full((table.set_count, cameras), -1)
    view_of[table.set, table.camera] = np.arange(len(table.views))
    out = {}
    for first in range(cameras):
        for second in range(first + 1, cameras):
            both = (view_of[:, first] >= 0) & (view_of[:, second] >= 0)
            out[first, second] = view_of[both][:, [first, second]]
    return out


def relative_pose(
    table: BoardTable, poses: ViewPoses, views: np.ndarray, flat: np.ndarray, focal: np.ndarray
) -> Pair | None:
    """The relative pose that explains most of the shared `views` (K, 2).

    Every shared set proposes up to four relative poses, two board poses in each camera; each proposal is scored by
    carrying all boards from the first camera to the second, with the better of the first camera's two poses, and back.
    `flat` and `focal` as in `board_poses.view_rmse_px`.
    """
    usable = np.isfinite(poses.rmse_px[views, 0]).all(1)
    views = views[usable]
    if len(views) < _LEAST_SHARED:
        return None
    shared = len(views)
    views = views[np.unique(np.linspace(0, shared - 1, min(shared, _MOST_SHARED)).astype(int))]
    first, second = views[:, 0], views[:, 1]
    T_first = make_transform(poses.R[first], poses.t[first])
    T_second = make_transform(poses.R[second], poses.t[second])
    some = np.unique(np.linspace(0, len(views) - 1, min(len(views), _MOST_PROPOSING)).astype(int))
    proposals = (T_second[some, None, :] @ inverse_transform(T_first[some])[:, :, None]).reshape(-1, 4, 4)
    likely = np.isfinite(poses.rmse_px[second[some]][:, None, :] + poses.rmse_px[first[some]][:, :, None]).reshape(-1)
    proposals = proposals[likely]
    cost = _carried(table, poses, proposals, first, second, flat, focal)
    cost += _carried(table, poses, inverse_transform(proposals), second, first, flat, focal)
    best = int(np.argmin(cost.sum(1)))
    agreeing = cost[best] < 2 * (0.5 * _TRUNCATE_PX) ** 2
    error = float(np.sqrt(cost[best].mean() / 2))
    return Pair(proposals[best], shared, int(agreeing.sum() * shared / len(views)), error)


def _carried(
    table: BoardTable, poses: ViewPoses, T_to_from: np.ndarray, source: np.ndarray, target: np.ndarray,
    flat: np.ndarray, focal: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Truncated squared errors (P, K) in the target views of boards carried there by each proposal (P, 4, 4)."""
    T = make_transform(poses.R[source], poses.t[source])
    carried = T_to_from[:, None, None] @ np.swapaxes(T, 0, 1)[None]
    rmse = view_rmse_px(table.select(target), flat[target], focal, carried[..., :3, :3], carried[..., :3, 3])
    return np.minimum(rmse, _TRUNCATE_PX).min(1) ** 2


def pair_graph(table: BoardTable, poses: ViewPoses, flat: np.ndarray, focal: np.ndarray) -> dict[tuple[int, int], Pair]:
    """All pairs of cameras that share views, by indices (first < second)."""
    pairs = {}
    for key, views in shared_views(table).items():
        pair = relative_pose(table, poses, views, flat, focal)
        if pair is not None and pair.agreeing >= _LEAST_SHARED:
            pairs[key] = pair
    return pairs


def groups(pairs: Mapping[tuple[int, int], Pair], cameras: int) -> list[list[int]]:
    """Cameras that are linked with one another, largest group first."""
    graph = np.zeros((cameras, cameras))
    for first, second in pairs:
        graph[first, second] = 1
    count, labels = connected_components(graph, directed=False)
    return sorted(
        (np.flatnonzero(labels == label).tolist() for label in range(count)), key=lambda group: (-len(group), group)
    )


def camera_poses(
    pairs: Mapping[tuple[int, int], Pair], cameras: int, root: int = 0, skip: tuple[int, int] | None = None
) -> np.ndarray | None:
    """`T_cam_root` (C, 4, 4) along the spanning tree of the pairs with the least error and the most shared views.

    `skip` leaves out one pair, for another start. None where that unlinks the cameras.
    """
    graph = np.zeros((cameras, cameras))
    for (first, second), pair in pairs.items():
        if (first, second) != skip:
            graph[first, second] = (0.1 + pair.error_px) / np.sqrt(pair.agreeing)
    tree = minimum_spanning_tree(graph).toarray() > 0
    T = np.zeros((cameras, 4, 4))
    T[root] = np.eye(4)
    reached, queue = {root}, [root]
    while queue:
        here = queue.pop()
        for there in range(cameras):
            if there in reached or not (tree[here, there] or tree[there, here]):
                continue
            pair = pairs[min(here, there), max(here, there)]
            step = pair.T_second_first if here < there else inverse_transform(pair.T_second_first)
            T[there] = step @ T[here]
            reached.add(there)
            queue.append(there)
    return T if len(reached) == cameras else None


def tree_pairs(pairs: Mapping[tuple[int, int], Pair], cameras: int) -> list[tuple[int, int]]:
    """The pairs of the tree that `camera_poses` walks."""
    graph = np.zeros((cameras, cameras))
    for (first, second), pair in pairs.items():
        graph[first, second] = (0.1 + pair.error_px) / np.sqrt(pair.agreeing)
    return [(int(a), int(b)) for a, b in zip(*np.nonzero(minimum_spanning_tree(graph).toarray()), strict=True)]


def board_poses(
    table: BoardTable, poses: ViewPoses, T_cam_world: np.ndarray, flat: np.ndarray, focal: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Board pose of every set in the world: R (S, 3, 3), t (S, 3) and its error (S,) in pixels.

    Of the poses that the set's views propose, the one that fits all of them best. An infinite error where none fits.
    """
    sets, cameras = table.set_count, len(table.camera_ids)
    view_of = np.full((sets, cameras), -1)
    view_of[table.set, table.camera] = np.arange(len(table.views))
    T_world = inverse_transform(T_cam_world)[table.camera][:, None] @ make_transform(poses.R, poses.t)
    best_T, best = np.broadcast_to(np.eye(4), (sets, 4, 4)).copy(), np.full(sets, np.inf)
    for proposer in range(cameras):
        for number in range(2):
            proposing = view_of[:, proposer]
            T = T_world[proposing, number][table.set]
            carried = T_cam_world[table.camera] @ T
            rmse = view_rmse_px(table, flat, focal, carried[:, :3, :3], carried[:, :3, 3])
            squared = np.minimum(rmse, 5 * _TRUNCATE_PX) ** 2 * table.seen.sum(1)
            cost = np.bincount(table.set, squared, minlength=sets)
            cost = np.where((proposing >= 0) & np.isfinite(poses.rmse_px[proposing, number]), cost, np.inf)
            better = cost < best
            best_T[better], best[better] = T_world[proposing[better], number], cost[better]
    corners = np.bincount(table.set, table.seen.sum(1), minlength=sets)
    return best_T[:, :3, :3], best_T[:, :3, 3], np.sqrt(best / np.maximum(corners, 1))
