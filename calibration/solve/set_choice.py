"""Which moments to use: those whose board poses differ most, and that link cameras."""

import numpy as np

from calibration.solve.bundle_adjustment import RigState
from calibration.solve.view_table import BoardTable


def choose_sets(table: BoardTable, state: RigState, known: np.ndarray, most: int) -> np.ndarray:
    """A mask (S,) of at most `most` sets with a `known` (S,) board pose, farthest point first.

    Sets that few cameras' views depend on weigh more, as do sets that several cameras see.
    """
    views = np.bincount(table.set, minlength=table.set_count)
    candidates = np.flatnonzero(known & (views > 0))
    mask = np.zeros(table.set_count, dtype=bool)
    if len(candidates) <= most:
        mask[candidates] = True
        return mask
    per_camera = np.bincount(table.camera, minlength=len(table.camera_ids))
    rarity = np.bincount(table.set, (1 / per_camera)[table.camera], minlength=table.set_count)
    linked = np.where(views >= 2, 1.0, 0.3)
    weight = (linked * np.sqrt(rarity / rarity[candidates].max()))[candidates]
    spread = np.maximum(np.std(state.board_t[candidates], axis=0).max(), 1e-6)
    place = state.board_t[candidates] / spread
    feature = np.concatenate(
        [place, state.board_R[candidates][:, :, 2], 0.5 * state.board_R[candidates][:, :, 0]], axis=1
    )
    chosen = int(np.argmax(weight))
    distance = np.full(len(candidates), np.inf)
    for _ in range(most):
        mask[candidates[chosen]] = True
        distance = np.minimum(distance, np.linalg.norm(feature - feature[chosen], axis=1))
        chosen = int(np.argmax(distance * weight))
    return mask
