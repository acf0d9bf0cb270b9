"""From what the cameras saw of a board to a calibrated rig with figures that say how good it is."""

import time
from collections.abc import Mapping
from dataclasses import replace

from calibration.board.board import Board
from calibration.board.views import Detections
from calibration.camera import Camera
from calibration.result.result import CalibrationOptions, CalibrationResult
from calibration.rig import Rig
from calibration.solve.exchanged import check_same_video, exchanged_lenses
from calibration.solve.frame_shift import find_frame_shift_s
from calibration.solve.input_checks import check_detections, check_given_sizes, two_boards
from calibration.solve.intrinsics import Intrinsics, choose_intrinsics
from calibration.solve.mirrored_cameras import check_mirrored
from calibration.solve.rig_result import make_result
from calibration.solve.rig_solve import RigSolve
from calibration.solve.start_times import find_starts_s
from calibration.solve.view_poses import view_poses
from calibration.solve.view_table import BoardTable, make_table


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
    options, given = options or CalibrationOptions(), given_intrinsics or {}
    camera_ids = given_rig.camera_ids if given_rig is not None else tuple(detections.image_size)
    check_detections(detections, board, camera_ids)
    check_given_sizes(given, {name: detections.image_size[name] for name in camera_ids})
    check_same_video(detections, board, camera_ids)
    table = make_table(detections, board, camera_ids)
    intrinsics = choose_intrinsics(table, options.lens, given)
    check_mirrored(table, intrinsics, board)
    starts_s: dict[str, float] = {}
    if options.time_offsets:
        starts_s = find_starts_s(view_poses(table, intrinsics.lens, intrinsics.fisheye))
    if starts_s:
        table = make_table(detections, board, camera_ids, starts_s)
    solve = _solve(table, intrinsics, options)
    late_s = find_frame_shift_s(solve) if options.time_offsets else {}
    if late_s:
        shift_s = {name: starts_s.get(name, 0.0) + late_s.get(name, 0.0) for name in camera_ids}
        solve = _solve(make_table(detections, board, camera_ids, shift_s), intrinsics, options)
    result = make_result(solve, board, given_rig, options, started)
    notes = [*two_boards(detections, camera_ids), *exchanged_lenses(table, given)]
    return replace(result, warnings=[*notes, *result.warnings])


def _solve(table: BoardTable, intrinsics: Intrinsics, options: CalibrationOptions) -> RigSolve:
    solve = RigSolve.bootstrap(table, intrinsics, options.max_sets).adjust().hold_undetermined()
    solve = solve.free_offsets() if options.time_offsets else solve.noting("time offsets were not asked for")
    solve = solve.free_shape()
    if options.rolling_shutter:
        solve = solve.free_row_times()
    return solve.add_sets(options.final_sets).settle()
