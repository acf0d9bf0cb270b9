"""Detections that the tracks explain beyond doubt, so that nothing else needs to be considered."""

import numpy as np

from app.estimators.multiview.association import GATE, DetectionBatch, distances

_SURELY = 0.3


def explained_by_tracks(T_cam_world: np.ndarray, seen: DetectionBatch, predicted_m: np.ndarray) -> np.ndarray | None:
    """The detection of each track in each view (T, V), -1 for none; None where there is any doubt.

    There is none where each detection is near the prediction (T, V, 21, 3) of one track and far from any other, no
    track has two detections in one view, and each track that has any has two.
    """
    tracks, views = predicted_m.shape[:2]
    if not tracks or len(seen) < 2:
        return None
    distance = distances(T_cam_world, seen, predicted_m)
    owner = distance.argmin(0)
    if (distance.min(0) > _SURELY).any() or (tracks > 1 and (np.partition(distance, 1, axis=0)[1] < GATE).any()):
        return None
    taken = np.zeros((tracks, views), dtype=int)
    np.add.at(taken, (owner, seen.view), 1)
    if taken.max() > 1 or (taken.sum(1) == 1).any():
        return None
    rows = np.full((tracks, views), -1)
    rows[owner, seen.view] = np.arange(len(seen))
    return rows
