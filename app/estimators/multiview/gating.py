"""Detections that the tracks explain beyond doubt, so that nothing else needs to be considered for them."""

import numpy as np

from app.estimators.multiview.detection_batch import DetectionBatch, distances
from app.estimators.settings import AssociationSettings

DOUBTFUL = -1


def owners_of(
    T_cam_world: np.ndarray,
    detections: DetectionBatch,
    predicted_m: np.ndarray,
    sure: np.ndarray,
    settings: AssociationSettings,
) -> np.ndarray:
    """The track that each detection (D,) is of, or DOUBTFUL.

    A detection is of a sure track (T,) where it is near that one's prediction (T, V, 21, 3), and no other detection of
    its view is, and far from any other track.
    """
    tracks, views = predicted_m.shape[:2]
    if not tracks or not len(detections):
        return np.full(len(detections), DOUBTFUL)
    distance = distances(T_cam_world, detections, predicted_m)
    owner = distance.argmin(0)
    near = (distance.min(0) <= settings.surely) & ((distance < settings.gate).sum(0) == 1) & sure[owner]
    claims = np.zeros((tracks, views), dtype=int)
    within = distance[owner, np.arange(len(owner))] < settings.gate
    np.add.at(claims, (owner[within], detections.view[within]), 1)
    return np.where(near & (claims[owner, detections.view] == 1), owner, DOUBTFUL)


def explained(owners: np.ndarray, detections: DetectionBatch, tracks: int, views: int) -> np.ndarray | None:
    """The detection of each track in each view (T, V), -1 for none; None where one is doubtful or its track's only."""
    if len(owners) < 2 or (owners == DOUBTFUL).any() or (np.bincount(owners, minlength=tracks) == 1).any():
        return None
    rows = np.full((tracks, views), -1)
    rows[owners, detections.view] = np.arange(len(owners))
    return rows
