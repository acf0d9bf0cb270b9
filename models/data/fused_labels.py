"""Labels of all of a hand's views made one: what they agree on, seen from each view.

A detector errs differently in each view. The joint that robust triangulation finds in all of them, projected back, is
nearer to the truth than any one label (on simulated labels of mixed grades by about a third in the median), and where a
view's label was wrong or missing it is there, too. Still nothing but 2D labels enters.
"""

from dataclasses import replace

import numpy as np

from calibration.hand import JOINTS, Definition
from calibration.triangulation import Observations, triangulate
from models.data.crop_cache import Shard
from models.data.hand_sequence import label_std
from models.hand.crop import to_pixels
from models.hand.definition import convert

_HALF_TRUST_STD_M = 0.004
"""A joint known this well counts half; beyond, as the inverse of its variance."""


def in_definition(shard: Shard, source: Definition, target: Definition) -> Shard:
    """The shard with its labels, fused where they are of another definition, and with its truth, both in `target`.

    Without another view it is not known how far away the labels' points are: they stay. The truth is that of simulated
    hands, `anatomical`.
    """
    if source != target and shard.rows.shape[1] > 1:
        labels_px, confidence = fuse(shard, source, target)
        shard = replace(shard, labels_px=labels_px, label_confidence=confidence)
    if shard.joints_m is None or target == "anatomical":
        return shard
    joints_m = convert(shard.joints_m.astype(np.float64), "anatomical", target)
    return replace(shard, joints_m=joints_m.astype(np.float32))


def fuse(
    shard: Shard, source: Definition = "anatomical", target: Definition = "anatomical"
) -> tuple[np.ndarray, np.ndarray]:
    """Fused labels (R, 21, 2) in crop pixels and their confidence (R, 21) of a shard's R crops, float32.

    Confidence 0: fewer than two views have a label of the joint. They are moved from the definition `source`, which is
    that of the labels, to `target`.
    """
    there = shard.rows >= 0
    P_crop = shard.P_crop[shard.rows].astype(np.float64)
    keypoints_px = shard.labels_px[shard.rows].astype(np.float64)
    confidence = shard.label_confidence[shard.rows] * there[..., None]
    found = triangulate(
        Observations(
            np.broadcast_to(P_crop[:, None], (len(P_crop), JOINTS, *P_crop.shape[1:])),
            keypoints_px.swapaxes(1, 2),
            label_std(keypoints_px, confidence).swapaxes(1, 2),
            (confidence > 0).swapaxes(1, 2),
        )
    )
    points_m = convert(found.points_m, source, target)
    variance_m2 = np.einsum("njaa->nj", found.covariance_m2) / 3
    trust = 1 / (1 + variance_m2 / _HALF_TRUST_STD_M**2)
    fused_px = np.zeros(shard.labels_px.shape, np.float32)
    fused_confidence = np.zeros(shard.label_confidence.shape, np.float32)
    frame, view = np.nonzero(there)
    seen_px = np.stack([to_pixels(P, joints) for P, joints in zip(P_crop[frame, view], points_m[frame], strict=True)])
    known = np.isfinite(seen_px).all(-1) & np.isfinite(trust[frame])
    at = shard.rows[frame, view]
    fused_px[at] = np.where(known[..., None], seen_px, 0)
    fused_confidence[at] = np.where(known, trust[frame], 0)
    return fused_px, fused_confidence
