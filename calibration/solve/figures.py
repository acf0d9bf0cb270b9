"""The figures of a solved rig, gathered into a CalibrationResult."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from calibration.board.board import Board
from calibration.board.views import Detections
from calibration.errors import UserError
from calibration.result.result import (
    CalibrationOptions,
    CalibrationResult,
    CameraFigures,
    ImageFigures,
    ViewResiduals,
)
from calibration.result.verdict import Evidence, judge
from calibration.rig import CalibrationRecord, Rig, RigCamera, SyncSettings
from calibration.rotations import inverse_transform, make_transform
from calibration.solve.bundle_adjustment import LENS, OFFSET, ROW
from calibration.solve.corner_errors import CornerErrors, rigidity, rmse_trim_median
from calibration.solve.intrinsics import Intrinsics
from calibration.solve.lens_derivatives import camera_from_vector, lens_count
from calibration.solve.pair_graph import shared_views
from calibration.solve.rig_fit import HeldOut, RigFit, all_residuals
from calibration.solve.view_poses import tilt_degrees
from calibration.solve.view_table import BoardTable
from calibration.solve.world_frame import fit_world, move_world, world_on_board

_FIELDS = (6, 8)
_LEAST_IN_REGION = 12
_REFERENCE_WIDTH = 1280


@dataclass(frozen=True, kw_only=True)
class Solved:
    """All that the solver found. `covariance` (C, 20, C, 20); `given`, `held` and `focal_std` per camera."""

    board: Board
    detections: Detections
    table: BoardTable
    fit: RigFit
    use: np.ndarray
    heldout: HeldOut | None
    covariance: np.ndarray
    intrinsics: Intrinsics
    given: tuple[bool, ...]
    held: np.ndarray
    focal_std: np.ndarray
    offsets_kept: bool
    offset_note: str
    warnings: list[str]


def make_result(
    solved: Solved, given_rig: Rig | None, options: CalibrationOptions, seconds: float
) -> CalibrationResult:
    """All figures, the verdict and the rig in its world frame."""
    table, state = solved.table, solved.fit.state
    ids = table.camera_ids
    moved, residual = all_residuals(table, solved.board.corners_board_m, solved.fit)
    used = solved.use[moved.set]
    heldout = image_figures(solved.heldout, solved.board) if solved.heldout is not None else None
    offset_s = state.offset_s - state.offset_s.mean() if solved.offsets_kept else np.zeros(len(ids))
    cameras = {
        camera_id: _camera_figures(solved, moved, residual, used, number, offset_s)
        for number, camera_id in enumerate(ids)
    }
    rig = _rig(solved, cameras, given_rig, offset_s)
    T_world_board = _board_transforms(solved)
    T_new_world = _world(solved, T_world_board, options)
    rig = move_world(rig, T_new_world)
    T_world_board = T_new_world @ T_world_board
    distances, distance_std = _distances(rig, solved)
    bias = _scale_bias(distances, options.known_distances_m)
    kept = np.linalg.norm(residual, axis=-1)[used][moved.seen[used]]
    rmse = float(np.sqrt(np.mean(kept**2)))
    evidence = _evidence(solved, cameras, heldout, bias)
    verdict, reasons, remedies = judge(evidence)
    nothing = ImageFigures(
        rmse_px=np.nan,
        trim_rmse_px=np.nan,
        median_px=np.nan,
        rigidity_mm_rms=np.nan,
        loo_px=np.nan,
        scale_bias_percent=np.nan,
        corners=0,
    )
    return CalibrationResult(
        rig=rig,
        board=solved.board,
        cameras=cameras,
        rmse_px=rmse,
        heldout=heldout or nothing,
        scale_bias_percent=bias,
        distances_m=distances,
        distance_std_m=distance_std,
        covariance={camera_id: _camera_covariance(solved, number) for number, camera_id in enumerate(ids)},
        views=_view_residuals(solved, moved, residual, used),
        board_poses={
            table.start_ns + round(table.set_times_s[number] * 1e9): T_world_board[number]
            for number in np.flatnonzero(solved.use)
        },
        verdict=verdict,
        reasons=reasons,
        remedies=remedies,
        warnings=solved.warnings + _scale_note(solved.board, bias),
        time_offset_note=solved.offset_note,
        shared_views={(ids[a], ids[b]): len(views) for (a, b), views in shared_views(table).items()},
        noise_px=float(solved.fit.problem.sigma * np.median(table.std_px)),
        seconds=seconds,
    )


def image_figures(errors: CornerErrors, board: Board) -> ImageFigures:
    """Summarise the errors of triangulated corners."""
    rmse, trimmed, median = rmse_trim_median(errors.residuals_px)
    rigid_mm, bias = rigidity(errors.points_m, board.corners_board_m)
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


def _camera_figures(
    solved: Solved, moved: BoardTable, residual: np.ndarray, used: np.ndarray, number: int, offset_s: np.ndarray
) -> CameraFigures:
    own = moved.camera == number
    length = np.linalg.norm(residual, axis=-1)
    fitted = length[own & used][moved.seen[own & used]]
    size = moved.image_size[number]
    fitted_corners = moved.seen & (own & used)[:, None]
    counts = _field_counts(moved.pixels[fitted_corners], size)
    several = np.bincount(moved.set, minlength=moved.set_count) >= 2
    joint_corners = fitted_corners & several[moved.set][:, None]
    regions = _region_rmse(moved.pixels[joint_corners], length[joint_corners], size)
    heldout_px = loo_px = np.nan
    if solved.heldout is not None:
        away = np.linalg.norm(solved.heldout.residuals_px[:, :, number], axis=-1)
        loo = solved.heldout.loo_px[..., number]
        heldout_px = float(np.sqrt(np.nanmean(away**2))) if np.isfinite(away).any() else np.nan
        loo_px = float(np.nanmedian(loo)) if np.isfinite(loo).any() else np.nan
    free = solved.fit.problem.free[number]
    std = np.sqrt(np.maximum(np.diag(solved.covariance[number, :, number]), 0))
    count = lens_count(solved.intrinsics.models[number])
    kept = solved.offsets_kept and bool(free[OFFSET])
    folds = _fold_differences(solved)
    note = "given" if solved.given[number] else "focal length held" if solved.held[number] else ""
    return CameraFigures(
        camera_id=moved.camera_ids[number],
        frames=int((own & used).sum()),
        intrinsic_rmse_px=float(solved.intrinsics.rmse_px[number]),
        rmse_px=float(np.sqrt(np.mean(fitted**2))) if len(fitted) else np.nan,
        heldout_rmse_px=heldout_px,
        loo_px=loo_px,
        coverage=float((counts > 0).mean()),
        region_rmse_px=regions,
        lens_note=note,
        intrinsics_std=std[LENS][:count],
        rotation_std_deg=float(np.degrees(np.linalg.norm(std[0:3]))),
        position_std_mm=1000 * max(float(np.linalg.norm(std[3:6])), folds.position_m[number]),
        time_offset_ns=round(offset_s[number] * 1e9),
        time_offset_std_ns=round(1e9 * max(float(std[OFFSET]), folds.offset_s[number])) if kept else None,
        row_time_ns=float(solved.fit.state.row_s[number] * 1e9) if free[ROW] else None,
        row_time_std_ns=float(std[ROW] * 1e9) if free[ROW] else None,
    )


@dataclass(frozen=True)
class _FoldDifferences:
    """Half of what the rigs of two halves of the footage differ by: `position_m`, `offset_s` (C,), `distance_m` (C, C).

    The covariance supposes independent errors of corners; what a whole stretch of footage shares (a bent board, an
    uneven clock) shows only here. Zero where the footage was not halved.
    """

    position_m: np.ndarray
    offset_s: np.ndarray
    distance_m: np.ndarray


def _fold_differences(solved: Solved) -> _FoldDifferences:
    states = solved.heldout.fold_states if solved.heldout is not None else (solved.fit.state, solved.fit.state)
    # Both have the first camera at the world's origin.
    centres = [inverse_transform(make_transform(state.R, state.t))[:, :3, 3] for state in states]
    lengths = [np.linalg.norm(own[:, None] - own, axis=-1) for own in centres]
    offsets = [state.offset_s - state.offset_s.mean() for state in states]
    return _FoldDifferences(
        np.linalg.norm(centres[0] - centres[1], axis=1) / 2,
        np.abs(offsets[0] - offsets[1]) / 2,
        np.abs(lengths[0] - lengths[1]) / 2,
    )


def _field_counts(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Corners in each of 6 x 8 fields of the image."""
    place = np.clip((pixels + 0.5) / np.array(size), 0, 1 - 1e-9)
    counts = np.zeros(_FIELDS, dtype=int)
    np.add.at(counts, (np.int64(place[:, 1] * _FIELDS[0]), np.int64(place[:, 0] * _FIELDS[1])), 1)
    return counts


def _region_rmse(pixels: np.ndarray, length: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """RMSE in 3 x 3 regions of the image, NaN where there are too few corners to tell."""
    place = np.clip((pixels + 0.5) / np.array(size), 0, 1 - 1e-9)
    region = np.int64(place[:, 1] * 3) * 3 + np.int64(place[:, 0] * 3)
    number = np.bincount(region, minlength=9)
    squared = np.bincount(region, length**2, minlength=9)
    rmse = np.where(number >= _LEAST_IN_REGION, np.sqrt(squared / np.maximum(number, 1)), np.nan)
    return rmse.reshape(3, 3)


def _rig(solved: Solved, figures: Mapping[str, CameraFigures], given_rig: Rig | None, offset_s: np.ndarray) -> Rig:
    state, table = solved.fit.state, solved.table
    T = make_transform(state.R, state.t)
    cameras = []
    for number, camera_id in enumerate(table.camera_ids):
        lens = camera_from_vector(state.lens[number], solved.intrinsics.models[number], table.image_size[number])
        known = given_rig[camera_id] if given_rig is not None else None
        cameras.append(
            RigCamera(
                camera_id=camera_id,
                camera=lens,
                T_cam_world=T[number],
                time_offset_ns=round(offset_s[number] * 1e9),
                source=known.source if known else None,
                rmse_px=figures[camera_id].rmse_px,
                remote=known.remote if known else False,
            )
        )
    board = solved.board
    record = CalibrationRecord(
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        tool="usthand calibrate",
        board=f"{board.type} {board.columns}x{board.rows}, squares of {1000 * board.square_m:g} mm",
        rmse_px=float(np.sqrt(np.mean([camera.rmse_px**2 for camera in figures.values()]))),
    )
    sync = given_rig.sync if given_rig is not None else SyncSettings()
    return Rig(tuple(cameras), sync, record, solved.offsets_kept)


def _board_transforms(solved: Solved) -> np.ndarray:
    """`T_world_board` (S, 4, 4) with the board's own origin."""
    state = solved.fit.state
    return make_transform(state.board_R, state.board_t - state.board_R @ solved.table.centre_m)


def _world(solved: Solved, T_world_board: np.ndarray, options: CalibrationOptions) -> np.ndarray:
    table = solved.table
    if options.world_time_ns is None:
        if not options.fit_world:
            return np.eye(4)
        centres = inverse_transform(make_transform(solved.fit.state.R, solved.fit.state.t))[:, :3, 3]
        return fit_world(T_world_board[solved.use], centres)
    wanted = (options.world_time_ns - table.start_ns) * 1e-9
    sets = np.flatnonzero(solved.use)
    nearest = sets[np.argmin(np.abs(table.set_times_s[sets] - wanted))]
    away = abs(table.set_times_s[nearest] - wanted)
    if away > 0.5:
        raise UserError(
            f"the nearest moment with the board is {away:.1f} s away from the one asked for as the world frame. "
            "Choose a frame where the board lies flat in view of a camera."
        )
    return world_on_board(T_world_board[nearest])


def _camera_covariance(solved: Solved, number: int) -> np.ndarray:
    size = 6 + lens_count(solved.intrinsics.models[number])
    full = solved.covariance[number, :size, number, :size].copy()
    # The centre moves by minus the translation's change, seen in the camera's axes.
    full[3:6] *= -1
    full[:, 3:6] *= -1
    return full


def _distances(rig: Rig, solved: Solved) -> tuple[dict[tuple[str, str], float], dict[tuple[str, str], float]]:
    """Distances between camera centres, and their standard deviations, in metres."""
    distances, stds, folds = {}, {}, _fold_differences(solved).distance_m
    R = solved.fit.state.R
    centres = inverse_transform(make_transform(R, solved.fit.state.t))[:, :3, 3]
    ids = rig.camera_ids
    for a in range(len(ids)):
        for b in range(a + 1, len(ids)):
            between = centres[b] - centres[a]
            length = float(np.linalg.norm(between))
            along = between / length
            blocks = solved.covariance[:, 3:6, :, 3:6]
            u, v = R[a] @ along, R[b] @ along
            variance = u @ blocks[a, :, a] @ u + v @ blocks[b, :, b] @ v - 2 * (u @ blocks[a, :, b] @ v)
            distances[ids[a], ids[b]] = length
            stds[ids[a], ids[b]] = max(float(np.sqrt(max(variance, 0.0))), float(folds[a, b]))
    return distances, stds


def _scale_bias(distances: Mapping[tuple[str, str], float], known: Mapping[tuple[str, str], float]) -> float | None:
    """Signed percentage by which the rig's distances exceed the known ones; None where none is known."""
    if not known:
        return None
    got, true = [], []
    for pair, distance in known.items():
        found = distances.get(pair, distances.get((pair[1], pair[0])))
        if found is None:
            raise UserError(f"a known distance names cameras {pair[0]} and {pair[1]}; the rig has no such pair.")
        if not distance > 0:
            raise UserError(f"the known distance of {pair[0]} and {pair[1]} is {distance} m; it must be above zero.")
        got.append(found)
        true.append(distance)
    return float(100 * (np.dot(got, true) / np.dot(true, true) - 1))


def _scale_note(board: Board, bias: float | None) -> list[str]:
    """What all lengths rest on, where no distance was measured otherwise."""
    if bias is not None:
        return []
    return [f"scale rests on squares of {1000 * board.square_m:.2f} mm: measure a row of them, or give `--distance`"]


def _evidence(
    solved: Solved, cameras: Mapping[str, CameraFigures], heldout: ImageFigures | None, bias: float | None
) -> Evidence:
    table, state = solved.table, solved.fit.state
    ids = table.camera_ids
    several = np.bincount(table.set, minlength=table.set_count) >= 2
    turned = state.R[table.camera] @ state.board_R[table.set]
    depth = np.linalg.norm(
        (state.R[table.camera] @ state.board_t[table.set][..., None])[..., 0] + state.t[table.camera], axis=1
    )
    used = solved.use[table.set]
    tilts = {}
    for number, camera_id in enumerate(ids):
        own = used & (table.camera == number)
        normals = turned[own][:, :, 2]
        if solved.given[number] or not len(normals):
            tilts[camera_id] = 90.0
            continue
        mean = normals.mean(0) / np.linalg.norm(normals.mean(0))
        spread = np.degrees(np.arccos(np.clip(normals @ mean, -1, 1)))
        tilts[camera_id] = max(float(np.percentile(spread, 90)), float(np.percentile(tilt_degrees(turned[own]), 75)))
    return Evidence(
        heldout=heldout,
        pixel_scale=_REFERENCE_WIDTH / float(np.median([size[0] for size in table.image_size])),
        square_m=solved.board.square_m,
        working_distance_m=float(np.median(depth[used])),
        cameras=cameras,
        focal_std={camera_id: float(solved.focal_std[number]) for number, camera_id in enumerate(ids)},
        tilt_deg=tilts,
        held=tuple(ids[number] for number in np.flatnonzero(solved.held)),
        shared_moments={
            camera_id: int((several[table.set] & used & (table.camera == number)).sum())
            for number, camera_id in enumerate(ids)
        },
        scale_bias_percent=bias,
        median_rmse_px=float(np.nanmedian([camera.rmse_px for camera in cameras.values()])),
    )


def _view_residuals(solved: Solved, moved: BoardTable, residual: np.ndarray, used: np.ndarray) -> list[ViewResiduals]:
    state = solved.fit.state
    T_world_board = _board_transforms(solved)
    T_cam_world = make_transform(state.R, state.t)
    out = []
    # A board pose that was not fitted says nothing about the cameras.
    for number in np.flatnonzero(used):
        view, seen = moved.views[number], moved.seen[number]
        out.append(
            ViewResiduals(
                camera_id=view.camera_id,
                frame=view.frame,
                time_ns=view.time_ns,
                corner_ids=np.flatnonzero(seen),
                corners_px=moved.pixels[number, seen],
                residuals_px=residual[number, seen],
                T_cam_board=T_cam_world[moved.camera[number]] @ T_world_board[moved.set[number]],
            )
        )
    return out
