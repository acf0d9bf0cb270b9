"""Matched detections of hands to 3D joints: triangulation, bone lengths, covariance and honest error figures."""

from dataclasses import dataclass

import numpy as np

from app.estimators.multiview.detection_batch import DetectionBatch, in_cameras
from app.estimators.tracks import Motion
from calibration.rig import RigCamera
from calibration.triangulation import Links, Observations, moving_projections, triangulate, triangulate_without_each
from models.hand.bone_lengths import LINKS, BoneLengths

_FREE_ITERATIONS = 3
# From the free solution, which is near.
_LINKED_ITERATIONS = 6
# Of a joint without a view, from two others or more, where stds are right: the median distance in that view's stds.
_LEAST_TO_DOUBT, _USUAL_BLIND = 3, 1.6
_AGREEMENT = np.array([0.1, 0.3, 0.7, 1.0])


@dataclass(frozen=True, kw_only=True)
class HandFit:
    """Hands (H) in the world at the reference time.

    `joints_m` (H, 21, 3), `covariance_m2` (H, 21, 3, 3), `inliers` (H, 21, V), `free_joints_m` (H, 21, 3) without the
    bone prior, `in_view_m` (H, V, 21, 3) the joints at each view's capture time, `residuals` (H, 21, V) in stds,
    `reprojection_px` and `leave_one_out_px` (H, 21, V), NaN where there is no such measurement.
    """

    joints_m: np.ndarray
    covariance_m2: np.ndarray
    inliers: np.ndarray
    residuals: np.ndarray
    free_joints_m: np.ndarray
    in_view_m: np.ndarray
    reprojection_px: np.ndarray
    leave_one_out_px: np.ndarray


def motion_terms(motions: list[Motion | None], lag_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where joints are at each view's time, as `gain * X + shift` of the joints X at the reference time.

    `motions` (H) are predictions for the reference time, None for a hand that is new; `lag_s` (V,) each view's capture
    time minus the reference time. Gives gain (H, 21, V) and shift in metres (H, 21, V, 3). The velocity used is the
    one that the motion filter would have after measuring X, so it is linear in X.
    """
    gain = np.ones((len(motions), 21, len(lag_s)))
    shift = np.zeros((len(motions), 21, len(lag_s), 3))
    for hand, motion in enumerate(motions):
        if motion is None:
            continue
        velocity_gain = motion.velocity_gain(motion.settings.measured_sd_m**2)
        gain[hand] = 1 + velocity_gain[:, None] * lag_s
        rest = motion.velocity_m_s - velocity_gain[:, None] * motion.position_m
        shift[hand] = rest[:, None, :] * lag_s[:, None]
    return gain, shift


def quick_fit(
    T_cam_world: np.ndarray, detections: DetectionBatch, rows: np.ndarray, gain: np.ndarray, shift: np.ndarray
) -> np.ndarray:
    """Robustly triangulated hands at each view's time (H, V, 21, 3), for matching."""
    points, std, there = _arrange(detections, rows)
    joints = triangulate(Observations(moving_projections(T_cam_world, gain, shift), points, std, there), iterations=1)
    return _in_views(joints.points_m, gain, shift)


def fit_hands(
    cameras: list[RigCamera],
    T_cam_world: np.ndarray,
    detections: DetectionBatch,
    rows: np.ndarray,
    gain: np.ndarray,
    shift: np.ndarray,
    bones: list[BoneLengths],
) -> HandFit:
    """Fit hands to detections `rows` (H, V), -1 for none, of hands with those `bones` (H)."""
    points, std, there = _arrange(detections, rows)
    obs = Observations(moving_projections(T_cam_world, gain, shift), points, std, there)
    # Of each hand first the joints from all views, then from all but each.
    by_views = triangulate_without_each(obs, _FREE_ITERATIONS)
    links = Links(LINKS, np.stack([each.links_m for each in bones]), np.stack([each.links_sd_m for each in bones]))
    fitted = triangulate(obs, links, _LINKED_ITERATIONS, start_m=by_views[:, 0])
    in_view = _in_views(fitted.points_m, gain, shift)
    blind = by_views[:, 1:] * gain.swapaxes(1, 2)[..., None] + shift.swapaxes(1, 2)

    # The two kinds of joints (2, H, V, 21, 3) go through each camera's lens together.
    both = in_cameras(T_cam_world, np.stack([in_view, blind]))
    projected_px = np.empty((*both.shape[:-1], 2))
    for view, camera in enumerate(cameras):
        projected_px[:, :, view] = camera.camera.project(both[:, :, view])
    offset = projected_px - detections.keypoints_px[rows]
    error = np.sqrt(offset[..., 0] ** 2 + offset[..., 1] ** 2)
    error[:, rows < 0] = np.nan
    reprojection, leave_one_out = error.swapaxes(-1, -2)
    focal_px = np.array([camera.camera.matrix[0, 0] for camera in cameras])
    doubt = _doubt(leave_one_out / (std * focal_px))
    return HandFit(
        joints_m=fitted.points_m,
        covariance_m2=fitted.covariance_m2 * doubt[:, None, None, None] ** 2,
        inliers=fitted.inliers,
        residuals=fitted.residuals,
        free_joints_m=by_views[:, 0],
        in_view_m=in_view,
        reprojection_px=reprojection,
        leave_one_out_px=leave_one_out,
    )


def _arrange(detections: DetectionBatch, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (H, 21, V, 2), stds (H, 21, V) and mask (H, 21, V) of the chosen detections."""
    points = detections.keypoints_norm[rows].swapaxes(1, 2)
    std = detections.std_norm[rows].swapaxes(1, 2)
    there = np.broadcast_to((rows >= 0)[:, None, :], std.shape)
    return points, std, there


def _in_views(joints_m: np.ndarray, gain: np.ndarray, shift: np.ndarray) -> np.ndarray:
    return (joints_m[:, :, None] * gain[..., None] + shift).swapaxes(1, 2)


def _doubt(blind: np.ndarray) -> np.ndarray:
    """How many times the stated errors of hands (H) are too small, at least 1, by what each view (H, 21, V) says of
    joints that are triangulated without it, in stds: of blurred pictures detectors err more than they know."""
    doubt = np.ones(len(blind))
    for hand, of_hand in enumerate(blind):
        views = np.isfinite(of_hand).any(0).sum()
        if views >= _LEAST_TO_DOUBT:
            doubt[hand] = max(1.0, float(np.nanmedian(of_hand)) / _USUAL_BLIND)
    return doubt


def confidence(fit: HandFit) -> np.ndarray:
    """Confidence (H, 21) in [0, 1]: low with few agreeing views, large residuals, or a large expected error."""
    views = fit.inliers.sum(-1)
    agreement = _AGREEMENT[np.minimum(views, 3)]
    squares = np.where(np.isfinite(fit.residuals) & fit.inliers, fit.residuals, 0.0) ** 2
    residual = np.sqrt(squares.sum(-1) / np.maximum(views, 1))
    variance = np.einsum("hjaa->hj", fit.covariance_m2)
    value = agreement * np.exp(-((residual / 4) ** 2)) / (1 + variance / 0.03**2)
    return np.where(np.isfinite(value), value, 0.0).clip(0, 1)
