"""Has a camera moved since the rig was calibrated? How far, how sure, and its new pose, solved alone."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from calibration.board.board import Board
from calibration.board.views import Detections
from calibration.rig import Rig
from calibration.rotations import inverse_transform, rotation_angle
from calibration.solve.corner_errors import corner_errors, rigidity
from calibration.solve.exchanged import exchanged_cameras
from calibration.solve.input_checks import check_detections, check_linked, check_rig_sizes
from calibration.solve.intrinsics import Intrinsics
from calibration.solve.mirrored_cameras import check_mirrored
from calibration.solve.pair_graph import PairGraph
from calibration.solve.rig_comparison import (
    aligned,
    displacement_m,
    pair_effects_px,
    scale_change_percent,
    still_cameras,
)
from calibration.solve.rig_solve import RigSolve
from calibration.solve.view_poses import view_poses
from calibration.solve.view_table import make_table


@dataclass(frozen=True, kw_only=True)
class DriftSettings:
    most_sets: int = 200
    """Moments that each fit uses."""
    moved_px: float = 1.5
    """A camera moved where a point at the board's distance is displaced by more."""
    significant: float = 4.0
    """And where it did by more than this many standard deviations."""
    floor_deg: float = 0.02
    """What the turns of two good calibrations of one rig may differ by: none is exact to its noise."""
    floor_share: float = 0.0005
    """The same of places, as a share of the board's distance."""
    scale_percent: float = 0.7
    """A board that comes out smaller or larger by more has another square size than its file says."""
    fits_px: float = 0.2
    """The old rig still fits where its error is at most this much above that of a new one, or"""
    fits_share: float = 0.3
    """by this share of it."""
    misfit_px: float = 0.8
    """In an image 1280 wide: a rig without time offsets that fits worse than this cannot be judged."""


_SETTINGS = DriftSettings()
_REFERENCE_WIDTH = 1280


@dataclass(frozen=True, kw_only=True)
class CameraDrift:
    """How far a camera is from where the rig has it, with standard deviations; NaN where it was not judged.

    `effect_px`: how far a point at the board's distance is displaced in its image. `significance`: in standard
    deviations, of the larger of move and turn.
    """

    camera_id: str
    moved: bool = False
    distance_mm: float = math.nan
    distance_std_mm: float = math.nan
    angle_deg: float = math.nan
    angle_std_deg: float = math.nan
    effect_px: float = math.nan
    significance: float = math.nan


@dataclass(frozen=True, kw_only=True)
class DriftReport:
    """`moved` names the cameras that moved; `rig` is the rig with those solved again, None where none moved or where it
    cannot be told which did. `verdict` "cannot tell" is of a rig that fits too badly to be checked.

    `before_px`, `after_px`: RMSE of triangulated corners under the old and the new rig. `scale_percent`: by how much
    the board makes all distances longer than the rig has them. `note` sums up.
    """

    cameras: dict[str, CameraDrift]
    moved: tuple[str, ...] = ()
    rig: Rig | None = None
    before_px: float
    after_px: float
    scale_percent: float
    note: str = "no camera has moved"
    verdict: Literal["in place", "moved", "unclear", "cannot tell"] = "in place"


def check_drift(rig: Rig, detections: Detections, board: Board) -> DriftReport:
    """Compare a session's board views with the rig, and solve the cameras that moved again.

    Lenses and time offsets are taken from the rig. Raises UserError where the board was not seen by all cameras or does
    not link them, or where the images are of another size than the rig's.
    """
    check_detections(detections, board, rig.camera_ids)
    check_rig_sizes(rig, detections.image_size)
    offsets_s = {camera.camera_id: camera.time_offset_ns * 1e-9 for camera in rig.cameras}
    table = make_table(detections, board, rig.camera_ids, offsets_s)
    intrinsics = Intrinsics.of_rig(rig)
    check_mirrored(table, intrinsics, board)
    poses = view_poses(table, intrinsics.lens, intrinsics.fisheye)
    graph = PairGraph.of(poses)
    check_linked(table, graph.groups())

    def solve(T_cam_world: np.ndarray, fixed: np.ndarray | None = None) -> RigSolve:
        start = RigSolve.from_cameras(poses, intrinsics, T_cam_world, _SETTINGS.most_sets, fixed)
        return start.adjust(afresh=True).settle()

    new, T_old = solve(graph.starts()[0]), _poses(rig)
    T_new = new.state.T_cam_world
    before_px, scale = _error_px(new, T_old)
    own_px, _ = _error_px(new, T_new)
    report = DriftReport(
        cameras={camera_id: CameraDrift(camera_id=camera_id) for camera_id in rig.camera_ids},
        before_px=before_px,
        after_px=before_px,
        scale_percent=scale,
    )
    width = float(np.median([camera.camera.width for camera in rig.cameras]))
    if not rig.time_offsets_known and own_px > _SETTINGS.misfit_px * width / _REFERENCE_WIDTH:
        note = f"this rig has no time offsets and fits only to {own_px:.1f} px; calibrate it here first"
        return replace(report, note=note, verdict="cannot tell")
    # Footage that does not determine a pose well lets it wander; where the old rig fits as well, nothing has moved.
    fits = before_px <= own_px + max(_SETTINGS.fits_px, _SETTINGS.fits_share * own_px)
    if fits and abs(scale) > _SETTINGS.scale_percent:
        return replace(report, note=_wrong_square_note(scale, board), verdict="unclear")
    depth_m = float(np.median(np.linalg.norm(new.state.boards_in_cameras_m(new.problem.table), axis=1)))
    still = np.ones(len(rig.cameras), dtype=bool)
    if not fits:
        report = replace(report, scale_percent=scale_change_percent(T_old, T_new))
        still = still_cameras(pair_effects_px(T_old, T_new, poses.focal, depth_m), _SETTINGS.moved_px)
        exchanged = exchanged_cameras(rig, detections, board)
        if exchanged is not None:
            note = f"the videos of {' and '.join(exchanged)} look exchanged: the rig fits once they change places"
            return replace(report, note=note, verdict="cannot tell")
        if still is None:
            return replace(report, note=_unclear_note(rig, report.scale_percent, board), verdict="unclear")
    anchor = np.arange(len(still)) == np.flatnonzero(still)[0]
    judged = solve(aligned(T_new, T_old, still), anchor)
    report = replace(report, cameras=_judge(rig, judged, T_old, depth_m, fits))
    moved = any(drift.moved for drift in report.cameras.values())
    return _with_moved_solved(rig, report, solve, judged) if moved else report


def _with_moved_solved(
    rig: Rig, report: DriftReport, solve: Callable[[np.ndarray, np.ndarray], RigSolve], judged: RigSolve
) -> DriftReport:
    """The report with the moved cameras solved again from where they were judged, all others held where they were."""
    held = np.array([not report.cameras[camera_id].moved for camera_id in rig.camera_ids])
    solved = solve(np.where(held[:, None, None], _poses(rig), judged.state.T_cam_world), held)
    T = solved.state.T_cam_world
    cameras = tuple(
        camera if held[number] else replace(camera, T_cam_world=T[number]) for number, camera in enumerate(rig.cameras)
    )
    drifts = [drift for drift in report.cameras.values() if drift.moved]
    note = "; ".join(
        f"camera {one.camera_id} moved by {one.distance_mm:.1f} mm and turned by {one.angle_deg:.2f} degrees"
        for one in drifts
    )
    moved, after_px = tuple(one.camera_id for one in drifts), _error_px(solved, T)[0]
    return replace(
        report, moved=moved, rig=replace(rig, cameras=cameras), after_px=after_px, note=note, verdict="moved"
    )


def _poses(rig: Rig) -> np.ndarray:
    return np.stack([camera.T_cam_world for camera in rig.cameras])


def _error_px(solve: RigSolve, T_cam_world: np.ndarray) -> tuple[float, float]:
    """Trimmed RMSE of triangulated corners under the poses, and the percentage by which they are too near."""
    errors = corner_errors(solve.table, solve.state.with_cameras(T_cam_world))
    bias = rigidity(errors.points_m, solve.table.corners_m)[1]
    return errors.trimmed_rmse_px, 100 * (1 / (1 + bias / 100) - 1)


def _wrong_square_note(scale: float, board: Board) -> str:
    return (
        f"no camera has moved, but the board comes out {abs(scale):.1f} % {'smaller' if scale > 0 else 'larger'} "
        f"than its square size in board.yaml ({board.squares_text_mm} mm): here, or when the rig was made, "
        "the size was wrong. Measure a square"
    )


def _unclear_note(rig: Rig, scale: float, board: Board) -> str:
    if len(rig.cameras) == 2:
        return "the two cameras moved against each other; with two it cannot be told which. Calibrate the rig again"
    if abs(scale) > _SETTINGS.scale_percent:
        return (
            f"all distances come out {abs(scale):.1f} % {'longer' if scale > 0 else 'shorter'} than in the rig: either "
            f"the square size in board.yaml ({board.squares_text_mm} mm) is wrong, or several cameras moved. "
            "Measure a square"
        )
    return "no two cameras kept their places: more than one moved. Calibrate the rig again"


def _judge(rig: Rig, solve: RigSolve, T_old: np.ndarray, depth_m: float, fits: bool) -> dict[str, CameraDrift]:
    """By camera, all in place where the old rig `fits`."""
    change = solve.state.T_cam_world @ inverse_transform(T_old)
    drifts = {}
    for number, camera_id in enumerate(rig.camera_ids):
        own = solve.covariance[number, :6, number, :6]
        drift = _drift(camera_id, change[number], own, float(solve.poses.focal[number]), depth_m)
        drifts[camera_id] = replace(drift, moved=drift.moved and not fits)
    return drifts


def _drift(camera_id: str, change: np.ndarray, own: np.ndarray, focal: float, depth_m: float) -> CameraDrift:
    """From the change of its axes (4, 4) and the covariance (6, 6) of its pose."""
    angle = float(np.degrees(rotation_angle(change[:3, :3])))
    distance = float(np.linalg.norm(change[:3, 3]))
    angle_std = float(np.degrees(np.sqrt(np.trace(own[:3, :3]) / 3)))
    distance_std = float(np.sqrt(np.trace(own[3:6, 3:6]) / 3))
    sure = max(
        angle / np.hypot(angle_std, _SETTINGS.floor_deg),
        distance / np.hypot(distance_std, _SETTINGS.floor_share * depth_m),
    )
    effect = max(focal * float(displacement_m(change, depth_m)) / depth_m, 0.5 * focal * np.radians(angle))
    return CameraDrift(
        camera_id=camera_id,
        moved=sure > _SETTINGS.significant and effect > _SETTINGS.moved_px,
        distance_mm=1000 * distance,
        distance_std_mm=1000 * distance_std,
        angle_deg=angle,
        angle_std_deg=angle_std,
        effect_px=effect,
        significance=sure,
    )
