"""Relative poses of cameras from shared views, and the tree that links all cameras best."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from calibration.rotations import inverse_transform
from calibration.solve.view_poses import ViewPoses
from calibration.solve.view_table import BoardTable

# Of the sets that two cameras share, so many judge a relative pose and so many propose one: more take longer.
_MOST_SHARED, _MOST_PROPOSING = 30, 15
# A view that misses by more, of an image up to 1280 wide, counts as this much: its pose is the wrong one of two, and
# says no more.
_TRUNCATE_PX = 12.0
# One shared set leaves two poses that fit alike.
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
    cameras, view_of = len(table.camera_ids), table.view_of_camera()
    out = {}
    for first in range(cameras):
        for second in range(first + 1, cameras):
            both = (view_of[:, first] >= 0) & (view_of[:, second] >= 0)
            out[first, second] = view_of[both][:, [first, second]]
    return out


def relative_pose(poses: ViewPoses, views: np.ndarray, wider: float = 1.0) -> Pair | None:
    """The relative pose that explains most of the shared `views` (K, 2).

    Every shared set proposes up to four relative poses, two board poses in each camera; each proposal is scored by
    carrying all boards from the first camera to the second, with the better of the first camera's two poses, and back.
    A view may miss by `wider` times as much as is usual.
    """
    views = views[np.isfinite(poses.rmse_px[views, 0]).all(1)]
    if len(views) < _LEAST_SHARED:
        return None
    shared = len(views)
    first, second = _spread(views, _MOST_SHARED).T
    some = _spread(np.arange(len(first)), _MOST_PROPOSING)
    T_first, T_second = poses.T_cam_board[first[some]], poses.T_cam_board[second[some]]
    proposals = (T_second[:, None, :] @ inverse_transform(T_first)[:, :, None]).reshape(-1, 4, 4)
    likely = np.isfinite(poses.rmse_px[second[some]][:, None, :] + poses.rmse_px[first[some]][:, :, None]).reshape(-1)
    proposals = proposals[likely]
    width = float(np.median([width for width, _ in poses.table.image_size]))
    most_px = wider * _TRUNCATE_PX * max(width / 1280, 1.0)
    cost = _carried(poses, proposals, first, second, most_px)
    cost += _carried(poses, inverse_transform(proposals), second, first, most_px)
    best = int(np.argmin(cost.sum(1)))
    agreeing = cost[best] < 2 * (0.5 * most_px) ** 2
    error = float(np.sqrt(cost[best].mean() / 2))
    return Pair(proposals[best], shared, int(agreeing.sum() * shared / len(first)), error)


def _spread(items: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of the items, evenly spread."""
    return items[np.unique(np.linspace(0, len(items) - 1, min(len(items), most)).astype(int))]


def _carried(
    poses: ViewPoses, T_to_from: np.ndarray, source: np.ndarray, target: np.ndarray, most_px: float
) -> np.ndarray:
    """Squared errors (P, K) in the target views of boards carried there by each proposal (P, 4, 4), at most
    `most_px` squared."""
    carried = T_to_from[:, None, None] @ np.swapaxes(poses.T_cam_board[source], 0, 1)[None]
    return np.minimum(poses.carried_rmse_px(carried, target), most_px).min(1) ** 2


@dataclass(frozen=True)
class PairGraph:
    """All `pairs` of cameras that share views, by indices (first < second), and how many cameras there are."""

    pairs: Mapping[tuple[int, int], Pair]
    cameras: int

    @classmethod
    def of(cls, poses: ViewPoses, wider: float = 1.0) -> "PairGraph":
        found = {key: relative_pose(poses, views, wider) for key, views in shared_views(poses.table).items()}
        pairs = {key: pair for key, pair in found.items() if pair is not None and pair.agreeing >= _LEAST_SHARED}
        return cls(pairs, len(poses.table.camera_ids))

    def groups(self) -> list[list[int]]:
        """Cameras that are linked with one another, largest group first."""
        count, labels = connected_components(self._weights(), directed=False)
        return sorted(
            (np.flatnonzero(labels == label).tolist() for label in range(count)), key=lambda group: (-len(group), group)
        )

    def starts(self) -> list[np.ndarray]:
        """One or two `T_cam_root` (C, 4, 4) of linked cameras: along the best tree, and without its weakest pair."""
        best = self.camera_poses()
        assert best is not None
        without = self.camera_poses(skip=max(self._tree(), key=lambda key: self.pairs[key].error_px))
        return [best] if without is None else [best, without]

    def camera_poses(self, skip: tuple[int, int] | None = None) -> np.ndarray | None:
        """`T_cam_root` (C, 4, 4) along the spanning tree of the pairs with the least error and the most shared views.

        The root is the first camera. `skip` leaves out one pair. None where the cameras are not all linked.
        """
        T, reached, waiting = np.zeros((self.cameras, 4, 4)), {0}, [0]
        T[0] = np.eye(4)
        tree = self._tree(skip)
        while waiting:
            here = waiting.pop()
            for first, second in tree:
                there = second if here == first else first
                if here not in (first, second) or there in reached:
                    continue
                step = self.pairs[first, second].T_second_first
                T[there] = (step if here == first else inverse_transform(step)) @ T[here]
                reached.add(there)
                waiting.append(there)
        return T if len(reached) == self.cameras else None

    def _tree(self, skip: tuple[int, int] | None = None) -> list[tuple[int, int]]:
        tree = minimum_spanning_tree(self._weights(skip)).toarray()
        return [(int(first), int(second)) for first, second in zip(*np.nonzero(tree), strict=True)]

    def _weights(self, skip: tuple[int, int] | None = None) -> np.ndarray:
        weights = np.zeros((self.cameras, self.cameras))
        for key, pair in self.pairs.items():
            if key != skip:
                weights[key] = (0.1 + pair.error_px) / np.sqrt(pair.agreeing)
        return weights


@dataclass(frozen=True)
class BoardPoses:
    """The centred board of every set in the world: `R` (S, 3, 3), `t` (S, 3), `error_px` (S,), infinite if unknown."""

    R: np.ndarray
    t: np.ndarray
    error_px: np.ndarray


def board_poses(poses: ViewPoses, T_cam_world: np.ndarray) -> BoardPoses:
    """Of the poses that a set's views propose, the one that fits all of them best under cameras (C, 4, 4)."""
    table = poses.table
    sets, cameras = table.set_count, len(table.camera_ids)
    view_of = table.view_of_camera()
    T_world = inverse_transform(T_cam_world)[table.camera][:, None] @ poses.T_cam_board
    best_T, best = np.broadcast_to(np.eye(4), (sets, 4, 4)).copy(), np.full(sets, np.inf)
    for proposer in range(cameras):
        for number in range(2):
            proposing = view_of[:, proposer]
            T = T_world[proposing, number][table.set]
            rmse = poses.carried_rmse_px(T_cam_world[table.camera] @ T)
            squared = np.minimum(rmse, 5 * _TRUNCATE_PX) ** 2 * table.seen.sum(1)
            cost = np.bincount(table.set, squared, minlength=sets)
            cost = np.where((proposing >= 0) & np.isfinite(poses.rmse_px[proposing, number]), cost, np.inf)
            better = cost < best
            best_T[better], best[better] = T_world[proposing[better], number], cost[better]
    corners = np.bincount(table.set, table.seen.sum(1), minlength=sets)
    return BoardPoses(best_T[:, :3, :3], best_T[:, :3, 3], np.sqrt(best / np.maximum(corners, 1)))
