"""Which latencies the footage shows: constant offsets per camera, and row times of rolling shutters."""

from dataclasses import replace

import numpy as np

from calibration.solve.bundle_adjustment import OFFSET, ROW, covariance
from calibration.solve.corner_errors import CornerErrors, rmse_trim_median
from calibration.solve.rig_fit import FitOptions, HeldOut, RigFit, fit_rig, heldout_errors
from calibration.solve.view_table import BoardTable, frame_period_s

_MAX_OFFSET_STD_S = 0.005
_OFFSET_GAIN = 0.98


def with_offsets(
    table: BoardTable, corners_m: np.ndarray, fit: RigFit, options: FitOptions, use: np.ndarray,
    before: HeldOut | None,
) -> tuple[RigFit, FitOptions, HeldOut | None, bool, str]:  # fmt: skip
    """The fit with one constant time offset per camera, if frames that were not used fit better for it."""
    everyone = np.ones(len(options.offset_free), dtype=bool)
    trial_options = replace(options, offset_free=everyone)
    trial = fit_rig(table, corners_m, fit.state, trial_options, use, sigma=fit.problem.sigma)
    std = offset_std_s(trial)
    if np.min(std) > _MAX_OFFSET_STD_S or not np.isfinite(std).all():
        least = 1000 * float(np.min(std))
        return fit, options, before, False, (
            f"the board moved too slowly to tell time offsets (uncertain by {least:.0f} ms or more); they stay zero"
        )  # fmt: skip
    unsure = std > _MAX_OFFSET_STD_S
    if unsure.any():
        trial_options = replace(options, offset_free=~unsure)
        trial = fit_rig(table, corners_m, fit.state, trial_options, use, sigma=fit.problem.sigma)
        std = np.where(unsure, np.nan, offset_std_s(trial))
    away = np.abs(trial.state.offset_s - table.offset_s)
    if not (away > 2.5 * std).any():
        return fit, options, before, False, (
            "the cameras' time stamps agree within their uncertainty "
            f"({1000 * np.nanmax(std):.1f} ms); offsets stay zero"
        )  # fmt: skip
    after = heldout_errors(table, corners_m, trial, trial_options, use)
    if before is None or after is None:
        return fit, options, before, False, "too few moments to test time offsets; they stay zero"
    old, new = _trimmed(before), _trimmed(after)
    if not new < _OFFSET_GAIN * old:
        return fit, options, before, False, (
            f"time offsets do not improve frames that were not used ({old:.3f} to {new:.3f} pixels); they stay zero"
        )  # fmt: skip
    note = f"time offsets improve frames that were not used from {old:.3f} to {new:.3f} pixels (trimmed RMSE)"
    if unsure.any():
        names = ", ".join(table.camera_ids[camera] for camera in np.flatnonzero(unsure))
        note += f"; the board moved too slowly in front of {names}, whose offset stays zero"
    return trial, trial_options, after, True, note


def with_row_times(
    table: BoardTable, corners_m: np.ndarray, fit: RigFit, options: FitOptions, use: np.ndarray,
    before: HeldOut | None, note: str,
) -> tuple[RigFit, HeldOut | None, str]:  # fmt: skip
    """The fit with a row time per camera, kept only if the fit improves and no row time is negative by much."""
    trial = fit_rig(table, corners_m, fit.state, replace(options, row_free=np.ones_like(options.row_free)), use)
    squared = [float(np.median(np.linalg.norm(f.residuals_px, axis=-1)[f.problem.table.seen])) for f in (fit, trial)]
    full = covariance(trial.problem, trial.state)
    cameras = np.arange(len(full))
    std = np.sqrt(full[cameras, ROW, cameras, ROW])
    if squared[1] < _OFFSET_GAIN * squared[0] and (trial.state.row_s > -3 * std).all():
        return (
            trial,
            before,
            f"{note}; rolling-shutter row times were kept ({squared[0]:.3f} to {squared[1]:.3f} pixels)",
        )
    return fit, before, f"{note}; rolling-shutter row times did not improve the fit and stay zero"


def offset_std_s(fit: RigFit) -> np.ndarray:
    """Standard deviation (C,) of the offsets about their mean; infinite where the footage says nothing."""
    full = covariance(fit.problem, fit.state)
    cameras = np.arange(len(full))
    std = np.sqrt(np.maximum(full[cameras, OFFSET, cameras, OFFSET], 0))
    return np.where(fit.problem.free[:, OFFSET] & (std <= 0), np.inf, std)


def _trimmed(errors: CornerErrors) -> float:
    return rmse_trim_median(errors.residuals_px)[1]


def late_cameras(fit: RigFit) -> list[str]:
    """A warning for each camera whose stamps are nearly a frame or more off the others'."""
    table, offset_s = fit.problem.table, fit.state.offset_s
    period = frame_period_s(table.time_s, table.camera)
    away = offset_s - np.median(offset_s)
    if len(offset_s) == 2:
        away = np.array([0.0, offset_s[1] - offset_s[0]])
    return [
        f"the time stamps of camera {table.camera_ids[camera]} are {abs(away[camera]) * 1000:.0f} ms "
        f"({abs(away[camera]) / period:.1f} frames) {'late' if away[camera] > 0 else 'early'} against the "
        "other cameras'; the rig's time offset puts that right, but check how its frames are stamped"
        for camera in np.flatnonzero(np.abs(away) > 0.7 * period)
    ]
