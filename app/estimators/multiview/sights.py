"""What each camera saw of the hands that the others see, and whether two were exchanged."""

from itertools import combinations

import numpy as np

from app.estimators.multiview.detection_batch import distances, in_cameras
from app.estimators.multiview.hand_fit import HandFit
from app.estimators.multiview.step import Match, Step
from app.estimators.settings import AssociationSettings
from app.estimators.view_watch import Sight

# Median distance of a view's joints from the hand, in stds as the detector states them: of a sound view about 1.2.
_AGREES, _DISAGREES = 3.0, 6.0


def sights(step: Step, matches: list[Match], fit: HandFit) -> dict[str, Sight]:
    """By camera; only those of which a hand tells something that two other cameras agree on."""
    # Not as the trust in each camera scales them: those of a bad camera would be near again.
    off = fit.residuals * step.std_scale
    off[np.isnan(off)] = np.inf
    off = np.partition(off, off.shape[1] // 2, axis=1)[:, off.shape[1] // 2]
    seen: dict[str, Sight] = {}
    there = np.bincount(step.all_detections.view, minlength=len(step.cameras)) > 0
    if step.left_out.any():
        off[:, step.left_out] = _nearest(step, fit)[:, step.left_out]
    for view, camera in enumerate(step.cameras):
        known = np.flatnonzero((np.delete(off, view, axis=1) < _AGREES).sum(1) >= 2)
        if (off[known, view] < _AGREES).any():
            seen[camera.camera_id] = "agrees"
            continue
        for hand in known:
            missed = matches[hand].rows[view] < 0 and there[view] and _inside(step, fit, int(hand), view)
            if missed or (matches[hand].rows[view] >= 0 and off[hand, view] > _DISAGREES):
                seen[camera.camera_id] = "elsewhere"
    return seen


def _nearest(step: Step, fit: HandFit) -> np.ndarray:
    """How far the nearest detection of each view is from each hand (H, V): median distance in stds."""
    found = step.all_detections
    stds = np.median(found.std_norm, axis=1) / step.std_scale[found.view]
    apart = distances(step.T_cam_world, found, fit.in_view_m) * found.size_norm / stds
    views = range(len(step.cameras))
    return np.stack([apart[:, found.view == view].min(axis=1, initial=np.inf) for view in views], axis=1)


def _inside(step: Step, fit: HandFit, hand: int, view: int) -> bool:
    """Whether all of a hand lies in a view's image."""
    lens = step.cameras[view].camera
    pixels = step.cameras[view].project(fit.in_view_m[hand, view])
    # NaN, behind the camera, compares as outside.
    return bool(((pixels >= 0) & (pixels < (lens.width, lens.height))).all())


def exchanged_pair(
    step: Step, fit: HandFit, doubtful: list[str], settings: AssociationSettings
) -> tuple[str, str] | None:
    """The two cameras of which each has a detection where a hand is in the other's picture."""
    ids = [camera.camera_id for camera in step.cameras]
    for one, other in combinations(sorted(ids.index(camera_id) for camera_id in doubtful), 2):
        order = np.arange(len(ids))
        order[[one, other]] = other, one
        # The detections of `one` against the hands as `other` would see them.
        T_cam_world, in_view_m = step.T_cam_world[order], fit.in_view_m[:, order]
        distance = distances(T_cam_world, step.all_detections, in_view_m)
        near = [distance[:, step.all_detections.view == view].min(initial=np.inf) for view in (one, other)]
        if max(near) < settings.surely and np.isfinite(in_cameras(T_cam_world, in_view_m)).all():
            return ids[one], ids[other]
    return None
