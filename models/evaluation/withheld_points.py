"""Points of crops, of several cameras at once, against what the labels of one camera say that had no part in them."""

import numpy as np

from calibration.hand import JOINTS
from calibration.triangulation import Observations, triangulate
from models.data.crop_cache import Shard
from models.data.hand_sequence import label_std
from models.hand.crop import to_pixels


def withheld_distances_px(points_px: np.ndarray, shard: Shard) -> np.ndarray:
    """Distances (n,), px of the cached crop, of each view's labels to what other views' points say.

    Points (R, 21, 2) of two or more other views are robustly triangulated. A crop was laid around what all
    views said of the hand.
    """
    there = (shard.rows >= 0) & (shard.rows < len(points_px))
    seen_px, P_crop = points_px[shard.rows], shard.P_crop[shard.rows].astype(np.float64)
    std_px = label_std(seen_px, np.ones(seen_px.shape[:3]))
    distances_px = []
    for view in range(shard.rows.shape[1]):
        others = there & (np.arange(shard.rows.shape[1]) != view)
        found = triangulate(
            Observations(
                np.broadcast_to(P_crop[:, None], (len(P_crop), JOINTS, *P_crop.shape[1:])),
                seen_px.swapaxes(1, 2),
                std_px.swapaxes(1, 2),
                np.broadcast_to(others[:, None], (len(others), JOINTS, others.shape[1])),
            )
        )
        for frame in np.flatnonzero(there[:, view] & (others.sum(1) >= 2)):
            row = shard.rows[frame, view]
            far = np.linalg.norm(to_pixels(P_crop[frame, view], found.points_m[frame]) - shard.labels_px[row], axis=1)
            distances_px.append(far[(shard.label_confidence[row] > 0) & np.isfinite(far)])
    return np.concatenate(distances_px)
