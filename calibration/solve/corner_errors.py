"""How good a calibration is, judged by triangulated corners: no board pose is fitted, so nothing hides an error."""

from dataclasses import dataclass

import numpy as np

from calibration.solve.corner_tracks import at_set_times
from calibration.solve.lens_derivatives import camera_from_vector, project_views, project_with_derivatives
from calibration.solve.rig_state import RigState
from calibration.solve.view_table import BoardTable
from calibration.triangulation import Linearised, nearest_to_lines, refine

_TRIM = 0.025
_ITERATIONS = 5
_MAX_STEP_M = 0.3
_HOLD = 1e-3  # px² / m²; a corner in view gives about a million
_TRUST = 1e-9


@dataclass(frozen=True)
class CornerErrors:
    """Corners of S sets, M per board, in C cameras.

    `points_m` (S, M, 3) triangulated, NaN where fewer than two cameras saw a corner; `residuals_px` (S, M, C, 2);
    `loo_px` (S, M, C): distance in a camera from the point that the others give, where at least two others saw it.
    """

    points_m: np.ndarray
    residuals_px: np.ndarray
    loo_px: np.ndarray

    @property
    def trimmed_rmse_px(self) -> float:
        return rmse_trim_median(self.residuals_px)[1]

    def filled(self, other: "CornerErrors") -> "CornerErrors":
        """These errors, and the other's where these are not known."""
        pairs = [(getattr(self, name), getattr(other, name)) for name in ("points_m", "residuals_px", "loo_px")]
        return CornerErrors(*(np.where(np.isnan(mine), others, mine) for mine, others in pairs))


@dataclass(frozen=True)
class HeldOut:
    """Errors on frames that were not used, and the rigs of the two folds, whose difference says how sure a rig is."""

    errors: CornerErrors
    fold_states: tuple[RigState, RigState]


def corner_errors(table: BoardTable, rig: RigState, use: np.ndarray | None = None) -> CornerErrors:
    """Triangulate every corner at every set's time, from all cameras and from all but each.

    `table` holds the views as they were seen; sets that are not in `use` (S,) stay NaN.
    """
    moved = at_set_times(table, rig.offset_s)
    if use is not None:
        moved = moved.select(use[moved.set])
    sets, cameras, corners = table.set_count, len(rig.lens), len(table.corners_m)
    pixels = np.full((sets, corners, cameras, 2), np.nan)
    pixels[moved.set, :, moved.camera] = np.where(moved.seen[..., None], moved.pixels, np.nan)
    pixels = pixels.reshape(-1, cameras, 2)
    seen = np.all(np.isfinite(pixels), axis=-1)
    wanted = seen.sum(1) >= 2
    observed, kept = np.where(seen[..., None], pixels, 0.0)[wanted], seen[wanted]
    residual = np.full((len(pixels), cameras, 2), np.nan)
    points, loo = np.full((len(pixels), 3), np.nan), np.full((len(pixels), cameras), np.nan)
    triangulated, errors = triangulate_pixels(observed, kept, rig)
    points[wanted] = triangulated
    residual[wanted] = np.where(kept[..., None], errors, np.nan)
    rest = np.flatnonzero(wanted)
    for camera in range(cameras):
        others = kept.copy()
        others[:, camera] = False
        testable = kept[:, camera] & (others.sum(1) >= 2)
        if testable.any():
            _, errors = triangulate_pixels(observed[testable], others[testable], rig)
            loo[rest[testable], camera] = np.linalg.norm(errors[:, camera], axis=-1)
    shape = (sets, corners)
    return CornerErrors(points.reshape(*shape, 3), residual.reshape(*shape, cameras, 2), loo.reshape(*shape, cameras))


def triangulate_pixels(pixels: np.ndarray, seen: np.ndarray, rig: RigState) -> tuple[np.ndarray, np.ndarray]:
    """Points (K, 3) that fit pixels (K, C, 2) of the cameras that saw them (K, C) best, and their errors (K, C, 2).

    Gauss-Newton on the distorted pixels from a start on the cameras' viewing rays.
    """
    R, t = rig.R, rig.t
    counts = seen.T.astype(float)

    def linearise(points: np.ndarray) -> Linearised:
        in_camera = np.swapaxes(R @ points, 1, 2) + t[:, None]
        projected, by_point, _ = project_with_derivatives(in_camera, rig.lens, rig.fisheye)
        residual = (projected - np.swapaxes(pixels, 0, 1)).transpose(2, 0, 1)
        return Linearised(residual, (by_point @ R[:, None]).transpose(3, 2, 0, 1), counts)

    rays = np.stack([_viewing_rays(pixels[:, camera], rig, camera) for camera in range(len(R))], 1)
    start = nearest_to_lines(np.broadcast_to(rig.centres_world_m, rays.shape), rays, counts.T, np.zeros(3), _TRUST)
    points = refine(start.T, linearise, _ITERATIONS, _HOLD, _MAX_STEP_M)
    return points.T, -linearise(points).residual.transpose(2, 1, 0)


def _viewing_rays(pixels: np.ndarray, rig: RigState, camera: int) -> np.ndarray:
    """Unit vectors (K, 3), in world axes, of the rays that pixels (K, 2) of a camera lie on."""
    lens, fisheye = rig.lens[camera], bool(rig.fisheye[camera])
    model = camera_from_vector(lens, "fisheye4" if fisheye else "pinhole8", (1, 1))
    flat = np.nan_to_num(model.undistort(pixels), posinf=0.0, neginf=0.0)
    # Far outside its calibrated field a lens model may have no inverse: any ray near does to start from.
    back = project_views(_ahead(flat)[None], lens[None], np.array([fisheye]))[0]
    lost = ~(np.linalg.norm(back - pixels, axis=-1) < 2.0)
    flat[lost] = ((pixels - lens[2:4]) / lens[:2])[lost]
    ray = _ahead(flat) @ rig.R[camera]
    return ray / np.linalg.norm(ray, axis=1, keepdims=True)


def _ahead(flat: np.ndarray) -> np.ndarray:
    """Normalised image coordinates (K, 2) as points (K, 3) at depth 1."""
    return np.concatenate([flat, np.ones((len(flat), 1))], 1)


def rmse_trim_median(residuals_px: np.ndarray) -> tuple[float, float, float]:
    """RMSE, RMSE without the worst 2.5 % of each camera, and median length of residuals (..., C, 2)."""
    length = np.linalg.norm(residuals_px, axis=-1)
    kept = []
    for camera in range(length.shape[-1]):
        own = np.sort(length[..., camera][np.isfinite(length[..., camera])])
        kept.append(own[: len(own) - int(_TRIM * len(own))])
    everything, trimmed = length[np.isfinite(length)], np.concatenate(kept)
    if not len(everything):
        return np.nan, np.nan, np.nan
    rms = float(np.sqrt(np.mean(everything**2)))
    return rms, float(np.sqrt(np.mean(trimmed**2))), float(np.median(everything))


def rigidity(points_m: np.ndarray, board_m: np.ndarray) -> tuple[float, float]:
    """RMS error in mm of distances between neighbouring corners (S, M, 3) of one moment; signed bias in percent."""
    true = np.linalg.norm(board_m[:, None] - board_m, axis=-1)
    first, second = np.nonzero(np.triu(true < 1.1 * true[true > 0].min(), 1))
    true = true[first, second]
    got = np.linalg.norm(points_m[:, first] - points_m[:, second], axis=-1)
    known = np.isfinite(got)
    if not known.any():
        return np.nan, np.nan
    error = np.where(known, got - true, 0.0)
    rms = float(np.sqrt((error**2).sum() / known.sum()))
    ratio = (np.where(known, got, 0.0) * true).sum() / (known * true**2).sum()
    return 1000 * rms, 100 * (ratio - 1)
