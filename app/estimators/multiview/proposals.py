"""Where hands may be: triangulated from every pair of detections in two views."""

from dataclasses import dataclass

import numpy as np

from app.estimators.multiview.detection_batch import DetectionBatch
from app.estimators.settings import AssociationSettings
from calibration.triangulation import dlt_equations, moving_projections, solve3


@dataclass(frozen=True)
class Proposals:
    """Where hands may be: K proposals, first the tracks, `followed` of them.

    `in_view_m` (K, V, 21, 3) joints in world metres at each view's capture time, `side` (K,) evidence that it is a
    right hand (log-odds) from what was before.
    """

    in_view_m: np.ndarray
    side: np.ndarray
    followed: int


def pair_proposals(
    T_cam_world: np.ndarray,
    detections: DetectionBatch,
    gain: np.ndarray,
    shift_m: np.ndarray,
    among: np.ndarray,
    settings: AssociationSettings,
) -> np.ndarray:
    """Hands at each view's time (K, V, 21, 3), triangulated from every pair in two views of detections `among` (D,).

    `gain` (M, 21, V) and `shift_m` (M, 21, V, 3) are the ways in which a hand may be moving (that of each track, and at
    rest); each pair takes the one that fits it best. Pairs that do not fit, or are of no hand's size, are left out.
    """
    views = len(T_cam_world)
    both = among[:, None] & among
    first, second = np.nonzero(both & (detections.view[:, None] < detections.view))
    count = len(first)
    if not count:
        return np.zeros((0, views, 21, 3))
    # Components first, then detections, ways and joints, as in calibration.triangulation.
    P = moving_projections(T_cam_world, gain, shift_m).transpose(4, 3, 2, 0, 1)[:, :, detections.view]
    points = detections.keypoints_norm.transpose(2, 0, 1)[:, :, None]
    A = dlt_equations(P, points, 1 / detections.std_norm[:, None])
    hands = solve3(A[:, :, first] + A[:, :, second])
    own = np.maximum(_fit_of(P, points, detections, hands, first), _fit_of(P, points, detections, hands, second))
    way = own.argmin(1)
    hands = hands[:, np.arange(count), way].transpose(1, 2, 0)
    palm = np.linalg.norm(hands[:, 9] - hands[:, 0], axis=-1)
    good = (
        (own.min(1) < settings.gate)
        & np.isfinite(hands).all((1, 2))
        & (palm > settings.palm_m[0])
        & (palm < settings.palm_m[1])
    )
    hands, way = hands[good], way[good]
    return (hands[:, :, None] * gain[way][..., None] + shift_m[way]).swapaxes(1, 2)


def _fit_of(
    P: np.ndarray, points: np.ndarray, detections: DetectionBatch, hands: np.ndarray, member: np.ndarray
) -> np.ndarray:
    """How far hands (3, K, M, 21) are from each pair's `member` (K,) of the detections: (K, M), as `distances`."""
    P = P[:, :, member]
    in_camera = P[0] * hands[0] + P[1] * hands[1] + P[2] * hands[2] + P[3]
    depth = in_camera[2]
    with np.errstate(divide="ignore", invalid="ignore"):
        offset = in_camera[:2] / depth - points[:, member]
        squared = offset[0] ** 2 + offset[1] ** 2
    squared[~((depth > 1e-3) & np.isfinite(squared))] = np.inf
    return np.sqrt(np.partition(squared, 10, axis=-1)[..., 10]) / np.maximum(detections.size_norm[member, None], 1e-6)
