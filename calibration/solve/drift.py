"""Has a camera moved since the rig was calibrated? How far, how sure, and its new pose, solved alone."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from calibration.board.board import Board
from calibration.board.views import Detections
from calibration.errors import UserError
from calibration.rig import Rig
from calibration.rotations import inverse_transform, rotation_angle
from calibration.solve.bundle_adjustment import RigState, covariance
from calibration.solve.corner_errors import corner_errors, rigidity, rmse_trim_median
from calibration.solve.input_checks import check_detections, check_linked, check_mirrored
from calibration.solve.lens_derivatives import LENS_PARAMETERS, lens_vector
from calibration.solve.pair_graph import board_poses, camera_poses, groups, pair_graph
from calibration.solve.rig_fit import FitOptions, RigFit, fit_rig
from calibration.solve.set_choice import choose_sets
from calibration.solve.view_poses import undistorted, view_poses
from calibration.solve.view_table import BoardTable, make_table

_MOST_SETS = 200
_MOVED_PX = 1.5
_SIGNIFICANT = 4.0
# A calibration is not exact to its noise: what two good ones of one rig may differ by.
_FLOOR_DEG, _FLOOR_SHARE = 0.02, 0.0005
_SCALE_PERCENT = 0.7
_FITS_PX, _FITS_SHARE = 0.2, 0.3
_MISFIT_PX, _REFERENCE_WIDTH = 0.8, 1280


@dataclass(frozen=True, kw_only=True)
class CameraDrift:
    """How far a camera is from where the rig has it, with standard deviations.

    `effect_px`: how far a point at the board's distance is displaced in its image. `significance`: in standard
    deviations, of the larger of move and turn.
    """

    camera_id: str
    moved: bool
    distance_mm: float
    distance_std_mm: float
    angle_deg: float
    angle_std_deg: float
    effect_px: float
    significance: float


@dataclass(frozen=True, kw_only=True)
class DriftReport:
    """`moved` names the cameras that moved; `rig` is the rig with those solved again, None where none moved or where it
    cannot be told which did. `verdict` "cannot tell" is of a rig that fits too badly to be checked.

    `before_px`, `after_px`: RMSE of triangulated corners under the old and the new rig. `scale_percent`: by how much
    the board makes all distances longer than the rig has them. `note` sums up.
    """

    cameras: dict[str, CameraDrift]
    moved: tuple[str, ...]
    rig: Rig | None
    before_px: float
    after_px: float
    scale_percent: float
    note: str
    verdict: Literal["in place", "moved", "unclear", "cannot tell"]


def check_drift(rig: Rig, detections: Detections, board: Board) -> DriftReport:
    """Compare a session's board views with the rig, and solve the cameras that moved again.

    Lenses and time offsets are taken from the rig. Raises UserError where the board was not seen by all cameras or does
    not link them, or where the images are of another size than the rig's.
    """
    check_detections(detections, board, rig.camera_ids)
    _check_sizes(rig, detections)
    offsets = {camera.camera_id: camera.time_offset_ns * 1e-9 for camera in rig.cameras}
    table = make_table(detections, board, rig.camera_ids, offsets)
    check_mirrored(table)
    lens = np.stack([lens_vector(camera.camera) for camera in rig.cameras])
    fisheye = np.array([camera.camera.lens == "fisheye4" for camera in rig.cameras])
    poses, flat, focal = view_poses(table, lens, fisheye), undistorted(table, lens, fisheye), lens[:, :2].mean(1)
    pairs = pair_graph(table, poses, flat, focal)
    check_linked(table, groups(pairs, len(lens)))
    T_start = camera_poses(pairs, len(lens))
    assert T_start is not None

    def solve(T_cam_world: np.ndarray, fixed: np.ndarray) -> RigFit:
        R, t, error = board_poses(table, poses, T_cam_world, flat, focal)
        zero = np.zeros(len(lens))
        state = RigState(
            lens=lens,
            fisheye=fisheye,
            R=T_cam_world[:, :3, :3],
            t=T_cam_world[:, :3, 3],
            offset_s=table.offset_s.copy(),
            row_s=zero,
            board_R=R,
            board_t=t,
        )
        none = np.zeros(len(lens), dtype=bool)
        nothing = np.zeros((len(lens), LENS_PARAMETERS), dtype=bool)
        options = FitOptions(
            lens_free=nothing,
            offset_free=none,
            row_free=none,
            fixed_pose=fixed,
            models=[camera.camera.lens for camera in rig.cameras],
            prior_lens=lens,
        )
        use = choose_sets(table, state, np.isfinite(error), _MOST_SETS)
        return fit_rig(table, board.corners_board_m, state, options, use)

    first_fixed = np.arange(len(lens)) == 0
    fit = solve(T_start, first_fixed)
    T_old = np.stack([camera.T_cam_world for camera in rig.cameras])
    T_new = fit.arrays.T_cam_world
    depth = _working_distance(fit)
    before, scale_before = _error_px(table, fit, T_old, board)
    effect = _pair_effects(T_old, T_new, focal, depth)
    own, _ = _error_px(table, fit, T_new, board)
    if not rig.time_offsets_known and own > _MISFIT_PX * _median_width(rig) / _REFERENCE_WIDTH:
        note = f"this rig has no time offsets and fits only to {own:.1f} px; calibrate it here first"
        return DriftReport(
            cameras=_not_judged(rig),
            moved=(),
            rig=None,
            before_px=before,
            after_px=before,
            scale_percent=scale_before,
            note=note,
            verdict="cannot tell",
        )
    # Footage that does not determine a pose well lets it wander; where the old rig fits as well, nothing has moved.
    fits = before <= own + max(_FITS_PX, _FITS_SHARE * own)
    scale = scale_before if fits else _scale_percent(T_old, T_new)
    wrong_scale = fits and abs(scale) > _SCALE_PERCENT
    still = None if wrong_scale else np.ones(len(lens), dtype=bool) if fits else _still_cameras(effect)
    if still is None:
        note = _unclear_note(rig, scale, board, wrong_scale)
        return DriftReport(
            cameras=_not_judged(rig),
            moved=(),
            rig=None,
            before_px=before,
            after_px=before,
            scale_percent=scale,
            note=note,
            verdict="unclear",
        )
    # The new poses in the old world: aligned on a camera that stood still, then solved with all still ones held.
    anchor = int(np.flatnonzero(still)[0])
    aligned = T_new @ inverse_transform(T_new[anchor]) @ T_old[anchor]
    aligned[still] = T_old[still]
    everyone_but_anchor = np.arange(len(lens)) == anchor
    judged = solve(np.where(still[:, None, None], T_old, aligned), everyone_but_anchor)
    cameras = _judge(rig, judged, T_old, depth, focal)
    if fits:
        cameras = {camera_id: replace(drift, moved=False) for camera_id, drift in cameras.items()}
    moved = tuple(camera_id for camera_id, drift in cameras.items() if drift.moved)
    if not moved:
        return DriftReport(
            cameras=cameras,
            moved=(),
            rig=None,
            before_px=before,
            after_px=before,
            scale_percent=scale,
            note="no camera has moved",
            verdict="in place",
        )
    held = np.array([camera_id not in moved for camera_id in rig.camera_ids])
    solved = solve(np.where(held[:, None, None], T_old, judged.arrays.T_cam_world), held)
    T_final = solved.arrays.T_cam_world
    after, _ = _error_px(table, solved, T_final, board)
    renewed = replace(
        rig,
        cameras=tuple(
            camera if held[number] else replace(camera, T_cam_world=T_final[number])
            for number, camera in enumerate(rig.cameras)
        ),
    )
    note = "; ".join(
        f"camera {name} moved by {cameras[name].distance_mm:.1f} mm and turned by {cameras[name].angle_deg:.2f} degrees"
        for name in moved
    )
    return DriftReport(
        cameras=cameras,
        moved=moved,
        rig=renewed,
        before_px=before,
        after_px=after,
        scale_percent=scale,
        note=note,
        verdict="moved",
    )


def _check_sizes(rig: Rig, detections: Detections) -> None:
    for camera in rig.cameras:
        size = tuple(detections.image_size[camera.camera_id])
        if size != (camera.camera.width, camera.camera.height):
            raise UserError(
                f"camera `{camera.camera_id}`: the session's images are {size[0]}x{size[1]}, the rig was calibrated at "
                f"{camera.camera.width}x{camera.camera.height}. Record at the rig's size, or calibrate again."
            )


def _median_width(rig: Rig) -> float:
    return float(np.median([camera.camera.width for camera in rig.cameras]))


def _not_judged(rig: Rig) -> dict[str, CameraDrift]:
    return {
        camera_id: CameraDrift(
            camera_id=camera_id,
            moved=False,
            distance_mm=np.nan,
            distance_std_mm=np.nan,
            angle_deg=np.nan,
            angle_std_deg=np.nan,
            effect_px=np.nan,
            significance=np.nan,
        )
        for camera_id in rig.camera_ids
    }


def _working_distance(fit: RigFit) -> float:
    table, state = fit.problem.table, fit.state
    position = (state.R[table.camera] @ state.board_t[table.set][..., None])[..., 0] + state.t[table.camera]
    return float(np.median(np.linalg.norm(position, axis=1)))


def _error_px(table: BoardTable, fit: RigFit, T_cam_world: np.ndarray, board: Board) -> tuple[float, float]:
    """Trimmed RMSE of triangulated corners under the poses, and the percentage by which they are too near."""
    arrays = replace(fit.arrays, T_cam_world=T_cam_world, offset_s=table.offset_s)
    errors = corner_errors(table, arrays, board.corners_board_m)
    bias = rigidity(errors.points_m, board.corners_board_m)[1]
    return rmse_trim_median(errors.residuals_px)[1], 100 * (1 / (1 + bias / 100) - 1)


def _relative(T: np.ndarray) -> np.ndarray:
    """`T_b_a` (C, C, 4, 4), indexed [a, b]."""
    return T[None] @ inverse_transform(T)[:, None]


def _pair_effects(T_old: np.ndarray, T_new: np.ndarray, focal: np.ndarray, depth: float) -> np.ndarray:
    """How far camera b seems displaced in pixels (C, C), indexed [a, b], if camera a stood still."""
    change = _relative(T_new) @ inverse_transform(_relative(T_old))
    # About the board, not about the camera: a turn and a move that cancel there do no harm.
    at_board = np.array([0, 0, depth, 1.0])
    moved = np.linalg.norm((change @ at_board - at_board)[..., :3], axis=-1)
    return focal[None] * (moved / depth + 0.5 * rotation_angle(change[..., :3, :3]))


def _still_cameras(effect: np.ndarray) -> np.ndarray | None:
    """The largest group (C,) that kept its shape; None where no two cameras did."""
    worst = np.maximum(effect, effect.T)
    groups_of = worst < 2 * _MOVED_PX
    score = groups_of.sum(1) - 1e-6 * np.median(worst, axis=1)
    best = int(np.argmax(score))
    return groups_of[best] if groups_of[best].sum() >= 2 else None


def _scale_percent(T_old: np.ndarray, T_new: np.ndarray) -> float:
    lengths = []
    for T in (T_old, T_new):
        centres = inverse_transform(T)[:, :3, 3]
        lengths.append(np.linalg.norm(centres[:, None] - centres, axis=-1)[np.triu_indices(len(T), 1)])
    return float(100 * (np.median(lengths[1] / lengths[0]) - 1))


def _unclear_note(rig: Rig, scale: float, board: Board, certain: bool) -> str:
    if certain:
        return (
            f"no camera has moved, but the board comes out {abs(scale):.1f} % {'smaller' if scale > 0 else 'larger'} "
            f"than its square size in board.yaml ({1000 * board.square_m:.2f} mm): here, or when the rig was made, "
            "the size was wrong. Measure a square"
        )
    if abs(scale) > _SCALE_PERCENT and len(rig.cameras) > 2:
        return (
            f"all distances come out {abs(scale):.1f} % {'longer' if scale > 0 else 'shorter'} than in the rig: either "
            f"the square size in board.yaml ({1000 * board.square_m:.2f} mm) is wrong, or several cameras moved. "
            "Measure a square"
        )
    if len(rig.cameras) == 2:
        return "the two cameras moved against each other; with two it cannot be told which. Calibrate the rig again"
    return "no two cameras kept their places: more than one moved. Calibrate the rig again"


def _judge(rig: Rig, fit: RigFit, T_old: np.ndarray, depth: float, focal: np.ndarray) -> dict[str, CameraDrift]:
    full = covariance(fit.problem, fit.state)
    change = fit.arrays.T_cam_world @ inverse_transform(T_old)
    return {
        camera_id: _drift(camera_id, change[number], full[number, :6, number, :6], float(focal[number]), depth)
        for number, camera_id in enumerate(rig.camera_ids)
    }


def _drift(camera_id: str, change: np.ndarray, own: np.ndarray, focal: float, depth: float) -> CameraDrift:
    angle = float(np.degrees(rotation_angle(change[:3, :3])))
    centre = -change[:3, :3].T @ change[:3, 3]
    distance = float(np.linalg.norm(centre))
    angle_std = float(np.degrees(np.sqrt(np.trace(own[:3, :3]) / 3)))
    distance_std = float(np.sqrt(np.trace(own[3:6, 3:6]) / 3))
    sure = max(angle / np.hypot(angle_std, _FLOOR_DEG), distance / np.hypot(distance_std, _FLOOR_SHARE * depth))
    at_board = np.array([0, 0, depth, 1.0])
    effect = focal * float(np.linalg.norm((change @ at_board - at_board)[:3])) / depth
    effect = max(effect, 0.5 * focal * np.radians(angle))
    moved = sure > _SIGNIFICANT and effect > _MOVED_PX
    return CameraDrift(
        camera_id=camera_id,
        moved=moved,
        distance_mm=1000 * distance,
        distance_std_mm=1000 * distance_std,
        angle_deg=angle,
        angle_std_deg=angle_std,
        effect_px=effect,
        significance=sure,
    )
