"""A solved rig, its figures and its verdict, gathered into a CalibrationResult."""

import datetime
import time
from collections.abc import Mapping

import numpy as np

from calibration.board.board import Board
from calibration.errors import UserError
from calibration.image_turn import ImageTurn
from calibration.result.result import (
    BoardFigures,
    CalibrationOptions,
    CalibrationResult,
    CameraFigures,
    ImageFigures,
    ViewResiduals,
)
from calibration.result.verdict import judge
from calibration.rig import CalibrationRecord, Rig, RigCamera, SyncSettings
from calibration.rotations import make_transform
from calibration.solve.board_figures import board_figures, corners_as_solved_m
from calibration.solve.camera_figures import FoldDifferences, camera_figures, image_figures
from calibration.solve.cause_figures import rolling_shutter
from calibration.solve.distances import camera_distances, scale_bias
from calibration.solve.evidence import gather_evidence
from calibration.solve.frame_shift import late_cameras
from calibration.solve.input_checks import short_recordings
from calibration.solve.lens_derivatives import camera_from_vector, lens_count
from calibration.solve.pair_graph import shared_views
from calibration.solve.rig_solve import RigSolve
from calibration.solve.world_frame import fit_world, move_world, world_on_board


def make_result(
    solve: RigSolve, board: Board, given_rig: Rig | None, options: CalibrationOptions, started: float
) -> CalibrationResult:
    """All figures, the verdict and the rig in its world frame. `started`, by `perf_counter`, tells how long it took."""
    table, state = solve.table, solve.state
    ids, folds = table.camera_ids, FoldDifferences.of(solve)
    heldout = image_figures(solve.heldout.errors, corners_as_solved_m(solve)) if solve.heldout is not None else None
    cameras = camera_figures(solve, folds)
    # With the board's own origin, which is not its centre.
    T_world_board = make_transform(state.board_R, state.board_t - state.board_R @ table.centre_m)
    T_new_world = _world(solve, T_world_board, options)
    distances, distance_std = camera_distances(solve, folds)
    bias = scale_bias(distances, options.known_distances_m)
    views = _view_residuals(solve, T_world_board)
    shape = board_figures(solve, board)
    evidence = gather_evidence(solve, board, cameras, heldout, bias, shape)
    verdict, reasons, remedies = judge(evidence)
    return CalibrationResult(
        rig=move_world(_rig(solve, board, cameras, given_rig), T_new_world),
        board=board,
        cameras=cameras,
        rmse_px=float(np.sqrt(np.mean(np.concatenate([(view.residuals_px**2).sum(1) for view in views])))),
        heldout=heldout or ImageFigures(),
        scale_bias_percent=bias,
        distances_m=distances,
        distance_std_m=distance_std,
        covariance={camera_id: _camera_covariance(solve, number) for number, camera_id in enumerate(ids)},
        shape=shape,
        cause=evidence.cause,
        views=views,
        board_poses={
            table.start_ns + round(table.set_times_s[number] * 1e9): T_new_world @ T_world_board[number]
            for number in np.flatnonzero(solve.use)
        },
        verdict=verdict,
        reasons=reasons,
        remedies=remedies,
        warnings=[
            *solve.intrinsics.notes,
            *late_cameras(solve),
            *short_recordings(table),
            *([] if evidence.cause else rolling_shutter(solve)),
            *_bend_note(shape),
            *_scale_note(board, bias),
            *_world_note(options),
        ],
        time_offset_note="; ".join(solve.notes),
        shared_views={(ids[a], ids[b]): len(views) for (a, b), views in shared_views(table).items()},
        noise_px=float(solve.problem.sigma * np.median(table.std_px)),
        seconds=time.perf_counter() - started,
    )


def _rig(solve: RigSolve, board: Board, figures: Mapping[str, CameraFigures], given_rig: Rig | None) -> Rig:
    cameras = []
    for number, camera_id in enumerate(solve.table.camera_ids):
        model, size = solve.intrinsics.models[number], solve.table.image_size[number]
        known = given_rig[camera_id] if given_rig is not None else None
        cameras.append(
            RigCamera(
                camera_id=camera_id,
                camera=camera_from_vector(solve.state.lens[number], model, size),
                T_cam_world=solve.state.T_cam_world[number],
                time_offset_ns=figures[camera_id].time_offset_ns,
                source=known.source if known else None,
                rmse_px=figures[camera_id].rmse_px,
                remote=known.remote if known else False,
                turn=known.turn if known else ImageTurn(),
                latency=known.latency if known else None,
            )
        )
    record = CalibrationRecord(
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        tool="usthand calibrate",
        board=f"{board.type} {board.columns}x{board.rows}, squares of {board.squares_text_mm} mm",
        rmse_px=float(np.sqrt(np.mean([camera.rmse_px**2 for camera in figures.values()]))),
    )
    sync = given_rig.sync if given_rig is not None else SyncSettings()
    return Rig(tuple(cameras), sync, record, solve.offsets_known)


def _world(solve: RigSolve, T_world_board: np.ndarray, options: CalibrationOptions) -> np.ndarray:
    """`T_new_world` as the options want it."""
    table = solve.table
    if options.world_time_ns is None:
        return fit_world(T_world_board[solve.use], solve.state.centres_world_m) if options.fit_world else np.eye(4)
    wanted = (options.world_time_ns - table.start_ns) * 1e-9
    sets = np.flatnonzero(solve.use)
    nearest = sets[np.argmin(np.abs(table.set_times_s[sets] - wanted))]
    away = abs(table.set_times_s[nearest] - wanted)
    if away > 0.5:
        raise UserError(
            f"the nearest moment with the board is {away:.1f} s away from the one asked for as the world frame. "
            "Choose a frame where the board lies flat in view of a camera."
        )
    return world_on_board(T_world_board[nearest])


def _camera_covariance(solve: RigSolve, number: int) -> np.ndarray:
    size = 6 + lens_count(solve.intrinsics.models[number])
    full = solve.stated_covariance[number, :size, number, :size].copy()
    # The centre moves by minus the translation's change, seen in the camera's axes.
    full[3:6] *= -1
    full[:, 3:6] *= -1
    return full


def _view_residuals(solve: RigSolve, T_world_board: np.ndarray) -> list[ViewResiduals]:
    moved, T_cam_world = solve.views.table, solve.state.T_cam_world
    out = []
    # A board pose that was not fitted says nothing about the cameras.
    for number in np.flatnonzero(solve.views.used):
        view, seen = moved.views[number], moved.seen[number]
        out.append(
            ViewResiduals(
                camera_id=view.camera_id,
                frame=view.frame,
                time_ns=view.time_ns,
                corner_ids=np.flatnonzero(seen),
                corners_px=moved.pixels[number, seen],
                residuals_px=solve.views.residuals_px[number, seen],
                T_cam_board=T_cam_world[moved.camera[number]] @ T_world_board[moved.set[number]],
            )
        )
    return out


def _bend_note(shape: BoardFigures) -> list[str]:
    """Where the board was solved for as bent: it may not stay so."""
    if not shape.solved or shape.bend_mm < 0.005 * shape.reach_mm:
        return []
    bend = f"the board is bent by {shape.bend_mm:.1f} mm (± {shape.bend_std_mm:.1f}), which was solved for"
    return [f"{bend}; on something flat and stiff it would stay as it is"]


def _scale_note(board: Board, bias: float | None) -> list[str]:
    """What all lengths rest on, where no distance was measured otherwise."""
    if bias is not None:
        return []
    squares = f"scale rests on squares of {board.squares_text_mm} mm"
    return [f"{squares}: measure a row and a column of them, or give `--distance`"]


def _world_note(options: CalibrationOptions) -> list[str]:
    """What is up, where nobody asked for a world: other programs show such hands on their side."""
    if options.fit_world or options.world_time_ns is not None:
        return []
    axes = "the world is that of the first camera, y down"
    return [f"{axes}: `--session DIR --world-frame FRAME` lays it on the board, `--world-frame fit` amid its places"]
