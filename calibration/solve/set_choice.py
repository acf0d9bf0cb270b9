"""Which moments to use: those whose board poses differ most, and that link cameras; and in which half of the test."""

import numpy as np

from calibration.solve.pair_graph import BoardPoses
from calibration.solve.view_table import BoardTable

# Moments of one half in a row, and the pause in seconds, and how many pauses, that make a film a row of bursts.
_BLOCK = 5
_PAUSE_S = 0.5
_BURSTS = 4


def choose_sets(table: BoardTable, boards: BoardPoses, most: int) -> np.ndarray:
    """A mask (S,) of at most `most` sets whose board pose is known, farthest point first.

    Sets that few cameras' views depend on weigh more, as do sets that several cameras see.
    """
    views = np.bincount(table.set, minlength=table.set_count)
    candidates = np.flatnonzero(np.isfinite(boards.error_px) & (views > 0))
    mask = np.zeros(table.set_count, dtype=bool)
    if len(candidates) <= most:
        mask[candidates] = True
        return mask
    per_camera = np.bincount(table.camera, minlength=len(table.camera_ids))
    rarity = np.bincount(table.set, (1 / per_camera)[table.camera], minlength=table.set_count)
    linked = np.where(views >= 2, 1.0, 0.3)
    weight = (linked * np.sqrt(rarity / rarity[candidates].max()))[candidates]
    spread = np.maximum(np.std(boards.t[candidates], axis=0).max(), 1e-6)
    place = boards.t[candidates] / spread
    feature = np.concatenate([place, boards.R[candidates][:, :, 2], 0.5 * boards.R[candidates][:, :, 0]], axis=1)
    chosen = int(np.argmax(weight))
    distance = np.full(len(candidates), np.inf)
    for _ in range(most):
        mask[candidates[chosen]] = True
        distance = np.minimum(distance, np.linalg.norm(feature - feature[chosen], axis=1))
        chosen = int(np.argmax(distance * weight))
    return mask


def fold_sets(table: BoardTable) -> np.ndarray:
    """A fold, 0 or 1, for each set (S,): blocks of consecutive moments, as neighbours are nearly the same picture.

    A pause begins a new block, so that one burst of captures is never in both folds.
    """
    order, index = np.argsort(table.set_times_s, kind="stable"), np.arange(table.set_count)
    begins = np.diff(table.set_times_s[order], prepend=-np.inf) > _PAUSE_S
    first = np.maximum.accumulate(np.where(begins, index, 0))
    block = max(1, min(_BLOCK, table.set_count // 6))
    if begins.sum() >= _BURSTS:
        block = max(block, min(_BLOCK, int((index - first).max()) + 1))
    fold = np.empty(table.set_count, dtype=int)
    fold[order] = (first + (index - first) // block * block) // block % 2
    return fold
