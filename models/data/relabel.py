"""Labels of another grade for crops whose truth is known: to see what label noise does to the same images."""

from dataclasses import replace

import numpy as np

from models.data.crop_cache import Shard
from models.simulation.detector_noise import NoiseGrade, detect


def relabel(shard: Shard, grade: NoiseGrade, seed: int) -> Shard:
    """The shard with a simulated detector's labels of that grade. Raises ValueError for a shard read without truth."""
    if shard.joints_m is None or shard.visible is None:
        raise ValueError("new labels need the truth: read the cache with it")
    labels_px, confidence = (
        np.zeros(shard.labels_px.shape, np.float32),
        np.zeros(shard.label_confidence.shape, np.float32),
    )
    for sequence in np.unique(shard.sequence):
        frames = np.flatnonzero(shard.sequence == sequence)
        for view in range(shard.rows.shape[1]):
            seen = frames[shard.rows[frames, view] >= 0]
            rows = shard.rows[seen, view]
            if not len(rows):
                continue
            P, joints = shard.P_crop[rows].astype(np.float64), shard.joints_m[seen].astype(np.float64)
            projected = np.einsum("nab,njb->nja", P[..., :3], joints) + P[:, None, :, 3]
            truth_px = projected[..., :2] / projected[..., 2:]
            said = detect(truth_px, shard.visible[rows], seen - frames[0], [seed, int(sequence), view], grade)
            labels_px[rows] = np.where(said.found[:, None, None], said.keypoints_px, 0)
            confidence[rows] = np.where(said.found[:, None], said.confidence, 0)
    return replace(shard, labels_px=labels_px, label_confidence=confidence)
