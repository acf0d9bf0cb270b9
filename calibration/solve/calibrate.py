"""From what the cameras saw of a board to a calibrated rig with figures that say how good it is."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from calibration.board.board import Board
from calibration.board.views import Detections
from calibration.camera import Camera
from calibration.errors import UserError
from calibration.result.result import (
    CalibrationOptions,
    CalibrationResult,
    CameraFigures,
    ImageFigures,
    Verdict,
    ViewResiduals,
)
from calibration.rig import Rig
from calibration.solve.bundle_adjustment import OFFSET, ROW, RigState, covariance
from calibration.solve.figures import Solved, make_result
from calibration.solve.frame_shift import find_frame_shift
from calibration.solve.input_checks import check_detections, check_linked, check_mirrored
from calibration.solve.intrinsics import Intrinsics, choose_intrinsics
from calibration.solve.latency import late_cameras, with_offsets, with_row_times
from calibration.solve.lens_derivatives import lens_vector
from calibration.solve.pair_graph import board_poses, camera_poses, groups, pair_graph, tree_pairs
from calibration.solve.rig_fit import FitOptions, HeldOut, RigFit, fit_rig, heldout_errors
from calibration.solve.set_choice import choose_sets
from calibration.solve.view_poses import ViewPoses, undistorted, view_poses
from calibration.solve.view_table import BoardTable, make_table

__all__ = [
    "CalibrationOptions",
    "CalibrationResult",
    "CameraFigures",
    "ImageFigures",
    "Verdict",
    "ViewResiduals",
    "calibrate",
]

_MAX_FOCAL_STD = 0.03
_SHIFT_SUSPECT_PX = 3.0


def calibrate(
    detections: Detections,
    board: Board,
    *,
    given_intrinsics: Mapping[str, Camera] | None = None,
    given_rig: Rig | None = None,
    options: CalibrationOptions | None = None,
) -> CalibrationResult:
    """Calibrate all cameras that `detections` names, from one moving board.

    `given_intrinsics` are taken as they are for the cameras they name. `given_rig` gives the order of the cameras,
    their sources and synchronisation; its geometry is not used.

    Raises UserError where nothing can be solved: no board seen, one camera only, cameras that are never linked,
    mirrored images, intrinsics of another image size.
    """
    started = time.perf_counter()
    options = options or CalibrationOptions()
    camera_ids = given_rig.camera_ids if given_rig is not None else tuple(detections.image_size)
    check_detections(detections, board, camera_ids)
    given = _given_lenses(given_intrinsics or {}, detections, camera_ids)
    table = make_table(detections, board, camera_ids)
    check_mirrored(table)
    intrinsics = choose_intrinsics(table, options.lens, given)
    corners_m = board.corners_board_m
    fitted = _fit_all(table, corners_m, intrinsics, given, options)
    shift = _frame_shifts(fitted, intrinsics)
    if shift:
        table = make_table(detections, board, camera_ids, {key: seconds for key, (_, seconds) in shift.items()})
        fitted = _fit_all(table, corners_m, intrinsics, given, options)
    warnings = late_cameras(fitted.fit) + _short_recordings(table)
    solved = Solved(
        board=board, detections=detections, table=fitted.table, fit=fitted.fit, use=fitted.use,
        heldout=fitted.heldout, covariance=covariance(fitted.fit.problem, fitted.fit.state), intrinsics=intrinsics,
        given=tuple(known is not None for known in given), held=fitted.held, focal_std=fitted.focal_std,
        offsets_kept=fitted.offsets_kept or bool(shift), offset_note=fitted.offset_note, warnings=warnings,
    )  # fmt: skip
    return make_result(solved, given_rig, options, time.perf_counter() - started)


@dataclass(frozen=True, kw_only=True)
class _Fitted:
    table: BoardTable
    poses: ViewPoses
    flat: np.ndarray
    fit: RigFit
    use: np.ndarray
    heldout: HeldOut | None
    held: np.ndarray
    focal_std: np.ndarray
    offsets_kept: bool
    offset_note: str


def _given_lenses(given: Mapping[str, Camera], detections: Detections, camera_ids: Sequence[str]) -> list[tuple | None]:
    lenses: list[tuple | None] = []
    for camera_id in camera_ids:
        camera = given.get(camera_id)
        if camera is None:
            lenses.append(None)
            continue
        size = detections.image_size[camera_id]
        if (camera.width, camera.height) != tuple(size):
            raise UserError(
                f"the given intrinsics of camera `{camera_id}` are for {camera.width}x{camera.height}, but its images "
                f"are {size[0]}x{size[1]}. Give intrinsics of this image size, or none."
            )
        lenses.append((camera.lens, lens_vector(camera)))
    return lenses


def _fit_all(
    table: BoardTable,
    corners_m: np.ndarray,
    intrinsics: Intrinsics,
    given: Sequence[tuple | None],
    options: CalibrationOptions,
) -> _Fitted:
    cameras = len(table.camera_ids)
    poses = view_poses(table, intrinsics.lens, intrinsics.fisheye)
    flat = undistorted(table, intrinsics.lens, intrinsics.fisheye)
    focal = intrinsics.lens[:, :2].mean(1)
    pairs = pair_graph(table, poses, flat, focal)
    check_linked(table, groups(pairs, cameras))
    none = np.zeros(cameras, dtype=bool)
    fixed = none.copy()
    fixed[0] = True
    fit_options = FitOptions(
        lens_free=intrinsics.free,
        offset_free=none,
        row_free=none,
        fixed_pose=fixed,
        models=intrinsics.models,
        prior_lens=intrinsics.lens,
    )
    starts = _starts(table, poses, flat, focal, pairs, intrinsics)
    use = choose_sets(table, starts[0][0], starts[0][1], options.max_sets)
    first = [fit_rig(table, corners_m, state, fit_options, use & known, rounds=1) for state, known in starts]
    number = min(range(len(first)), key=lambda index: first[index].cost)
    use = use & starts[number][1]
    fit = fit_rig(table, corners_m, first[number].state, fit_options, use, sigma=first[number].problem.sigma)

    lens_free, held, focal_std = _hold_undetermined(fit, intrinsics, given)
    if held.any():
        state = replace(fit.state, lens=np.where(held[:, None], intrinsics.lens, fit.state.lens))
        fit_options = replace(fit_options, lens_free=lens_free)
        fit = fit_rig(table, corners_m, state, fit_options, use)
    heldout = heldout_errors(table, corners_m, fit, fit_options, use)
    kept, note = False, "time offsets were not asked for"
    if options.time_offsets:
        fit, fit_options, heldout, kept, note = with_offsets(table, corners_m, fit, fit_options, use, heldout)
    if options.rolling_shutter:
        fit, heldout, note = with_row_times(table, corners_m, fit, fit_options, use, heldout, note)
    more = choose_sets(table, starts[number][0], starts[number][1], options.final_sets) & starts[number][1]
    if more.sum() > use.sum():
        free = fit.problem.free
        final_options = replace(fit_options, offset_free=free[:, OFFSET], row_free=free[:, ROW])
        fit = fit_rig(
            table,
            corners_m,
            _boards_refitted(fit, starts[number][0], use),
            final_options,
            more,
            sigma=fit.problem.sigma,
        )
        use = more
    focal_std = np.where(held, focal_std, _focal_std(fit))
    return _Fitted(
        table=table,
        poses=poses,
        flat=flat,
        fit=fit,
        use=use,
        heldout=heldout,
        held=held,
        focal_std=focal_std,
        offsets_kept=kept,
        offset_note=note,
    )


def _boards_refitted(fit: RigFit, start: RigState, use: np.ndarray) -> RigState:
    """The fitted rig with the starting poses of boards that were not in the fit."""
    return replace(
        fit.state,
        board_R=np.where(use[:, None, None], fit.state.board_R, start.board_R),
        board_t=np.where(use[:, None], fit.state.board_t, start.board_t),
    )


def _starts(table, poses, flat, focal, pairs, intrinsics: Intrinsics) -> list[tuple[RigState, np.ndarray]]:
    """Starting states with the sets whose board pose is known: along the best tree, and without its weakest pair."""
    cameras = len(table.camera_ids)
    weakest = max(tree_pairs(pairs, cameras), key=lambda key: pairs[key].error_px)
    out = []
    for skip in (None, weakest):
        T = camera_poses(pairs, cameras, skip=skip)
        if T is None:
            continue
        R, t, error = board_poses(table, poses, T, flat, focal)
        zero = np.zeros(cameras)
        state = RigState(
            lens=intrinsics.lens,
            fisheye=intrinsics.fisheye,
            R=T[:, :3, :3],
            t=T[:, :3, 3],
            offset_s=table.offset_s.copy(),
            row_s=zero,
            board_R=R,
            board_t=t,
        )
        out.append((state, np.isfinite(error)))
    return out


def _focal_std(fit: RigFit) -> np.ndarray:
    """Relative standard deviation (C,) of the focal length."""
    full = covariance(fit.problem, fit.state)
    cameras = len(full)
    own = full[np.arange(cameras), :, np.arange(cameras)][:, 6:8, 6:8]
    return np.sqrt(np.maximum(own.sum((1, 2)) / 4, 0)) / fit.state.lens[:, :2].mean(1)


def _hold_undetermined(
    fit: RigFit, intrinsics: Intrinsics, given: Sequence[tuple | None]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    std = _focal_std(fit)
    held = (std > _MAX_FOCAL_STD) & np.array([known is None for known in given])
    free = intrinsics.free.copy()
    free[held, :2] = False
    return free, held, std


def _short_recordings(table: BoardTable) -> list[str]:
    """A warning for each camera that stopped seeing the board long before the others."""
    last = np.array([table.time_s[table.camera == camera].max() for camera in range(len(table.camera_ids))])
    length = last.max() - table.time_s.min()
    return [
        f"camera {table.camera_ids[camera]} has no board view after {last[camera] - table.time_s.min():.1f} s of "
        f"{length:.1f} s: if its video was cut short, copy it again"
        for camera in np.flatnonzero(last.max() - last > 0.4 * length)
    ]


def _frame_shifts(fitted: _Fitted, intrinsics: Intrinsics) -> dict[str, tuple[int, float]]:
    """Cameras whose stamps are off by whole frames, where the joint fit left one camera or all far off."""
    table = fitted.table
    moved, residual = fitted.fit.problem.table, fitted.fit.residuals_px
    length = np.linalg.norm(residual, axis=-1)
    scale = np.array([size[0] for size in table.image_size]) / 1280
    focal = intrinsics.lens[:, :2].mean(1)
    median = np.array(
        [
            np.median(length[moved.camera == camera][moved.seen[moved.camera == camera]])
            if (moved.camera == camera).any()
            else 0.0
            for camera in range(len(scale))
        ]
    )
    if not (median > _SHIFT_SUSPECT_PX * scale).any():
        return {}
    found = {}
    for camera in range(len(scale)):
        frames, seconds = find_frame_shift(table, fitted.poses, fitted.flat, focal, camera)
        if frames:
            found[table.camera_ids[camera]] = (frames, seconds)
    # With one camera late, every other seems early against it where there are two; the first stays.
    if len(found) > 1:
        ranked = sorted(found.items(), key=lambda item: -median[table.camera_ids.index(item[0])])
        found = dict(ranked[:1])
    return found
