"""Figures of a solved rig by camera and by image: what was fitted, what it misses by, how sure it is."""

from dataclasses import dataclass

import numpy as np

from calibration.image_cells import cell_counts, cells_of
from calibration.result.result import CameraFigures, ImageFigures
from calibration.solve.corner_errors import CornerErrors, rigidity, rmse_trim_median
from calibration.solve.lens_derivatives import lens_count
from calibration.solve.rig_solve import RigSolve
from calibration.solve.rig_state import LENS, OFFSET, ROW

# With fewer corners, the error of an image region says nothing.
_LEAST_IN_REGION = 12


def image_figures(errors: CornerErrors, corners_m: np.ndarray) -> ImageFigures:
    """Summarise the errors of triangulated corners of a board with corners (M, 3)."""
    rmse, trimmed, median = rmse_trim_median(errors.residuals_px)
    rigid_mm, bias = rigidity(errors.points_m, corners_m)
    known = np.isfinite(errors.residuals_px).all(-1)
    loo = float(np.nanmedian(errors.loo_px)) if np.isfinite(errors.loo_px).any() else np.nan
    return ImageFigures(
        rmse_px=rmse,
        trim_rmse_px=trimmed,
        median_px=median,
        rigidity_mm_rms=rigid_mm,
        loo_px=loo,
        scale_bias_percent=bias,
        corners=int(known.sum()),
    )


@dataclass(frozen=True)
class FoldDifferences:
    """Half of what the rigs of two halves of the footage differ by: `position_m`, `offset_s` (C,), `distance_m` (C, C).

    The covariance supposes independent errors of corners; what a whole stretch of footage shares (a bent board, an
    uneven clock) shows only here. Zero where the footage was not halved.
    """

    position_m: np.ndarray
    offset_s: np.ndarray
    distance_m: np.ndarray

    @classmethod
    def of(cls, solve: RigSolve) -> "FoldDifferences":
        states = solve.heldout.fold_states if solve.heldout is not None else (solve.state, solve.state)
        # Both have the first camera at the world's origin.
        centres = [state.centres_world_m for state in states]
        lengths = [np.linalg.norm(own[:, None] - own, axis=-1) for own in centres]
        offsets = [state.offset_s - state.offset_s.mean() for state in states]
        return cls(
            np.linalg.norm(centres[0] - centres[1], axis=1) / 2,
            np.abs(offsets[0] - offsets[1]) / 2,
            np.abs(lengths[0] - lengths[1]) / 2,
        )


def camera_figures(solve: RigSolve, folds: FoldDifferences) -> dict[str, CameraFigures]:
    """By camera id."""
    return {camera_id: _of_camera(solve, folds, number) for number, camera_id in enumerate(solve.table.camera_ids)}


def _of_camera(solve: RigSolve, folds: FoldDifferences, number: int) -> CameraFigures:
    moved, size = solve.views.table, solve.table.image_size[number]
    own = solve.views.used & (moved.camera == number)
    corners = moved.seen & own[:, None]
    length = np.linalg.norm(solve.views.residuals_px, axis=-1)
    several = np.bincount(moved.set, minlength=moved.set_count) >= 2
    joint = corners & several[moved.set][:, None]
    heldout_px = loo_px = np.nan
    if solve.heldout is not None:
        away = np.linalg.norm(solve.heldout.errors.residuals_px[:, :, number], axis=-1)
        loo = solve.heldout.errors.loo_px[..., number]
        heldout_px = float(np.sqrt(np.nanmean(away**2))) if np.isfinite(away).any() else np.nan
        loo_px = float(np.nanmedian(loo)) if np.isfinite(loo).any() else np.nan
    free = solve.problem.free[number]
    std = np.sqrt(np.maximum(np.diag(solve.stated_covariance[number, :, number]), 0))
    timed = solve.offsets_known and bool(free[OFFSET]) and solve.converged
    held = "focal length held" if solve.held_focal_std[number] else ""
    return CameraFigures(
        camera_id=moved.camera_ids[number],
        frames=int(own.sum()),
        intrinsic_rmse_px=float(solve.intrinsics.rmse_px[number]),
        rmse_px=float(np.sqrt(np.mean(length[corners] ** 2))) if corners.any() else np.nan,
        heldout_rmse_px=heldout_px,
        loo_px=loo_px,
        coverage=float((cell_counts(moved.pixels[corners], size) > 0).mean()),
        region_rmse_px=_region_rmse(moved.pixels[joint], length[joint], size),
        lens_note="given" if solve.intrinsics.given[number] else held,
        intrinsics_std=std[LENS][: lens_count(solve.intrinsics.models[number])],
        rotation_std_deg=float(np.degrees(np.linalg.norm(std[0:3]))),
        position_std_mm=1000 * max(float(np.linalg.norm(std[3:6])), folds.position_m[number]),
        time_offset_ns=round(solve.offset_s[number] * 1e9),
        time_offset_std_ns=round(1e9 * max(float(std[OFFSET]), folds.offset_s[number])) if timed else None,
        row_time_ns=float(solve.state.row_s[number] * 1e9) if free[ROW] else None,
        row_time_std_ns=float(std[ROW] * 1e9) if free[ROW] else None,
    )


def _region_rmse(pixels: np.ndarray, length: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """RMSE in 3 x 3 regions of the image, NaN where there are too few corners to tell."""
    region = cells_of(pixels, size, (3, 3))
    number = np.bincount(region, minlength=9)
    squared = np.bincount(region, length**2, minlength=9)
    rmse = np.where(number >= _LEAST_IN_REGION, np.sqrt(squared / np.maximum(number, 1)), np.nan)
    return rmse.reshape(3, 3)
