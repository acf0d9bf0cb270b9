"""How far to trust each keypoint of a hand, by what the other views say of it.

A detector's own confidence says little of a joint's error. The other views' triangulated joint, projected into this
view, says more: a keypoint that lies d standard deviations from it has an error of about d, and its confidence, which
training takes as the inverse of the error's square, falls as 2 / d^2 (2 is what d^2 is on average where nothing is
wrong).
"""

from dataclasses import dataclass

import numpy as np

from app.labelling.stretch import Stretch
from calibration.hand import hand_size_px
from calibration.rig import Rig
from calibration.triangulation import (
    Observations,
    Triangulation,
    moving_projections,
    triangulate,
    triangulate_without_each,
)

_BATCH = 256
_NS = 1e-9


@dataclass(frozen=True, kw_only=True)
class AgreementSettings:
    """What agreement is worth.

    `one_other`: with a single other view that agrees, since errors along its line of sight are not seen.
    `alone`: where no other view has the joint. `std_of_size`: the error, as a share of the hand's size in the image,
    of a keypoint that its detector is sure of (the confidence's unit in training). `longest_gap_s`: a hand's speed is
    taken from sets that are not farther apart; at 3 m/s it would be anywhere after it.
    """

    one_other: float = 0.5
    alone: float = 0.1
    std_of_size: float = 0.036
    longest_gap_s: float = 0.35


@dataclass(frozen=True)
class Agreement:
    """`confidence` (H, V, 21) in [0, 1], 0 where not seen; `residual_px` (H, V, 21) from the others, NaN if unknown."""

    confidence: np.ndarray
    residual_px: np.ndarray


def view_agreement(rig: Rig, hands: Stretch, settings: AgreementSettings | None = None) -> Agreement:
    """Compare each view's keypoints with the joints that the other views give, at that view's time."""
    settings = settings or AgreementSettings()
    velocity_m_s = joint_velocities(hands, settings.longest_gap_s)
    parts = [
        _agreement(rig, hands, velocity_m_s, slice(first, first + _BATCH), settings)
        for first in range(0, len(hands), _BATCH)
    ]
    if not parts:
        return Agreement(np.zeros(hands.std_px.shape), np.full(hands.std_px.shape, np.nan))
    return Agreement(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def joint_velocities(hands: Stretch, longest_gap_s: float) -> np.ndarray:
    """Each joint's velocity (H, 21, 3), from the sets before and after in which the same hand was found; else 0."""
    velocity_m_s = np.zeros_like(hands.joints_m)
    for track in np.unique(hands.track):
        rows = np.flatnonzero(hands.track == track)
        times_s = (hands.time_ns[rows] - hands.time_ns[rows[0]]) * _NS
        for at, row in enumerate(rows):
            before, after = max(at - 1, 0), min(at + 1, len(rows) - 1)
            before = before if times_s[at] - times_s[before] <= longest_gap_s else at
            after = after if times_s[after] - times_s[at] <= longest_gap_s else at
            span_s = times_s[after] - times_s[before]
            if span_s > 0:
                velocity_m_s[row] = (hands.joints_m[rows[after]] - hands.joints_m[rows[before]]) / span_s
    return velocity_m_s


def _agreement(
    rig: Rig, hands: Stretch, velocity_m_s: np.ndarray, some: slice, settings: AgreementSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Confidence and residuals (G, V, 21) of some hands."""
    obs, focal_px = _observations(rig, hands, velocity_m_s, some)
    joints = triangulate(obs)
    blind_m = triangulate_without_each(obs)[:, 1:]
    own = _lengths(obs, joints.points_m[:, :, None])
    blind = _lengths(obs, blind_m.swapaxes(1, 2))
    trust, length = _trust(obs, joints, own / obs.std, blind / obs.std, settings)
    size_px = np.array([[hand_size_px(view) for view in hand] for hand in hands.keypoints_px[some]])
    sure_px = settings.std_of_size * np.maximum(size_px, 1.0)
    said = np.minimum(1.0, (sure_px[..., None] / hands.std_px[some]) ** 2) * hands.presence[some][..., None]
    confidence = np.where(obs.seen, trust, 0.0).swapaxes(1, 2) * said
    residual = np.where(np.isfinite(blind), blind, own)
    residual_px = np.where(obs.seen & np.isfinite(length), residual * focal_px, np.nan).swapaxes(1, 2)
    return np.clip(confidence, 0.0, 1.0), residual_px


def _observations(rig: Rig, hands: Stretch, velocity_m_s: np.ndarray, some: slice) -> tuple[Observations, np.ndarray]:
    """What is triangulated, with each hand moved to each view's time; and the cameras' focal lengths (V,)."""
    keypoints_px, seen = hands.keypoints_px[some], hands.seen[some]
    points = np.stack([each.camera.undistort(keypoints_px[:, v]) for v, each in enumerate(rig.cameras)], axis=2)
    focal_px = np.array([each.camera.focal_px for each in rig.cameras])
    lag_s = np.where(seen, (hands.frame_time_ns[some] - hands.time_ns[some, None]) * _NS, 0.0)
    shift_m = velocity_m_s[some][:, :, None] * lag_s[:, None, :, None]
    T_cam_world = np.stack([each.T_cam_world for each in rig.cameras])
    there = np.broadcast_to(seen[:, None], points.shape[:3])
    P = moving_projections(T_cam_world, np.ones(there.shape), shift_m)
    return Observations(P, points, hands.std_px[some].swapaxes(1, 2) / focal_px, there), focal_px


def _lengths(obs: Observations, points_m: np.ndarray) -> np.ndarray:
    """Distances (G, J, V) in the image, in focal lengths, of what is seen from points (G, J, V or 1, 3)."""
    in_camera = np.einsum("gjvab,gjvb->gjva", obs.P[..., :3], np.broadcast_to(points_m, (*obs.seen.shape, 3)))
    in_camera = in_camera + obs.P[..., 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        offset = in_camera[..., :2] / in_camera[..., 2:] - obs.points
        return np.where(obs.seen & (in_camera[..., 2] > 0), np.linalg.norm(offset, axis=-1), np.nan)


def _trust(
    obs: Observations, joints: Triangulation, own: np.ndarray, blind: np.ndarray, settings: AgreementSettings
) -> tuple[np.ndarray, np.ndarray]:
    """What the other views make of each keypoint (G, J, V), 0 to 1, and how far it is from them in stds.

    `own` and `blind` are the residuals in stds from the joint of all views and from that of all others.
    """
    inlier = joints.inliers
    others = obs.seen.sum(-1, keepdims=True) - obs.seen
    agreeing = inlier.sum(-1, keepdims=True) - inlier
    count = np.maximum(inlier.sum(-1, keepdims=True), 2)
    # A residual of a fit is smaller than the error: 2 n measurements less the 3 that place the joint.
    fitted = own * np.sqrt(2 * count / (2 * count - 3))
    # The others' joint has an error, too: about that of a keypoint over half as many as they are.
    independent = blind / np.sqrt(1 + 2 / np.maximum(others, 1))
    # Where others contradict each other, what is left out of the joint is decided by all views.
    length = np.where(inlier & ((agreeing < others) | ~np.isfinite(blind)), fitted, independent)
    length = np.where(np.isfinite(length), length, fitted)
    with np.errstate(divide="ignore", invalid="ignore"):
        near = np.minimum(1.0, 2 / length**2)
        share = np.where(others > 0, agreeing / np.maximum(others, 1), 0.0)
    worth = np.select([agreeing >= 2, agreeing == 1], [1.0, settings.one_other], 0.0)
    trust = np.where(others > 0, worth * share * np.where(np.isfinite(near), near, 0.0), settings.alone)
    return trust, length
