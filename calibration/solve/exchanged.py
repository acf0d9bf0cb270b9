"""Videos under wrong names: one used for two cameras, or those of two cameras exchanged."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations

import numpy as np

from calibration.board.board import Board
from calibration.board.views import BoardView, Detections
from calibration.camera import Camera
from calibration.errors import UserError
from calibration.rig import Rig
from calibration.solve.intrinsics import Intrinsics, view_errors_px
from calibration.solve.lens_derivatives import lens_vector
from calibration.solve.pair_graph import board_poses
from calibration.solve.view_poses import view_poses
from calibration.solve.view_table import BoardTable, make_table

# Views of a camera that are looked for in another's; of which so many must be there, to so many pixels.
_SAMPLES, _LEAST_SAME, _SAME_SHARE, _SAME_PX = 40, 5, 0.8, 1.0
# Moments that are looked at, and the error in pixels up to which a rig fits as it is.
_SETS, _FITS_PX = 60, 3.0
# Exchanged, two cameras must miss by less than this share of what they miss by as they are.
_GAIN = 0.5
# By lenses alone less is to be had: a pose takes up most of what a wrong focal length does.
_LENS_GAIN = 0.8


def check_same_video(detections: Detections, board: Board, camera_ids: tuple[str, ...]) -> None:
    """Raises UserError where two cameras show the same pictures."""
    corners = {
        camera_id: _packed(detections.views.get(camera_id, []), len(board.corners_board_m)) for camera_id in camera_ids
    }
    for a, b in combinations(camera_ids, 2):
        if tuple(detections.image_size[a]) != tuple(detections.image_size[b]):
            continue
        # In a copy that is compressed harder fewer images show the board.
        fewer, more = sorted((corners[a], corners[b]), key=len)
        some = fewer[np.unique(np.linspace(0, len(fewer) - 1, min(len(fewer), _SAMPLES)).astype(int))]
        same = sum(_is_among(view, more) for view in some)
        if same >= max(_LEAST_SAME, _SAME_SHARE * len(some)):
            raise UserError(
                f"cameras `{a}` and `{b}` show the same pictures: in {same} of {len(some)} images the board lies at "
                "the same pixels. One video was used twice: give each camera its own in session.yaml, or import again."
            )


def _packed(views: list[BoardView], corners: int) -> np.ndarray:
    """Pixels (V, M, 2), NaN where a corner was not seen."""
    out = np.full((len(views), corners, 2), np.nan)
    for number, view in enumerate(views):
        out[number, view.corner_ids] = view.corners_px
    return out


def _is_among(view: np.ndarray, others: np.ndarray) -> bool:
    """Whether one of the views (V, M, 2) has nearly all corners of `view` (M, 2) where that has them."""
    there = np.linalg.norm(others - view, axis=-1) < _SAME_PX
    return bool((there.sum(1) >= _SAME_SHARE * np.isfinite(view[:, 0]).sum()).any())


def exchanged_lenses(table: BoardTable, given: Mapping[str, Camera]) -> list[str]:
    """A warning for each two cameras of which the other's given lens fits either better, by far."""
    ids = [camera_id for camera_id in table.camera_ids if camera_id in given]
    number = {camera_id: table.camera_ids.index(camera_id) for camera_id in ids}

    def error_px(camera_id: str, lens_of: str) -> float:
        own = table.select(table.camera == number[camera_id])
        lens = np.tile(lens_vector(given[lens_of]), (len(table.camera_ids), 1))
        fisheye = np.full(len(lens), given[lens_of].lens == "fisheye4")
        return float(np.median(view_errors_px(own, lens, fisheye))) if len(own.views) else np.nan

    warnings = []
    for a, b in combinations(ids, 2):
        if (given[a].width, given[a].height) != (given[b].width, given[b].height):
            continue
        as_is, other = (error_px(a, a), error_px(b, b)), (error_px(a, b), error_px(b, a))
        if all(new < _LENS_GAIN * old for new, old in zip(other, as_is, strict=True)):
            warnings.append(
                f"the videos of {a} and {b} look exchanged: with each other's given lens they miss by {other[0]:.1f} "
                f"and {other[1]:.1f} pixels, with their own by {as_is[0]:.1f} and {as_is[1]:.1f}"
            )
    return warnings


def exchanged_cameras(rig: Rig, detections: Detections, board: Board) -> tuple[str, str] | None:
    """Two cameras of a calibrated rig whose views fit it only if they are exchanged; None where none do so by far."""
    if any(tuple(detections.image_size[c.camera_id]) != (c.camera.width, c.camera.height) for c in rig.cameras):
        return None
    offsets_s = {camera.camera_id: camera.time_offset_ns * 1e-9 for camera in rig.cameras}
    table = make_table(detections, board, rig.camera_ids, offsets_s)
    table = table.select(np.isin(table.set, np.linspace(0, table.set_count - 1, _SETS).astype(int)))
    as_is = _error_px(rig, table)
    if as_is < _FITS_PX:
        return None
    errors = {(a, b): _error_px(_exchange(rig, a, b), table) for a, b in combinations(rig.camera_ids, 2)}
    best = min(errors, key=lambda pair: errors[pair])
    return best if errors[best] < _GAIN * as_is else None


def _exchange(rig: Rig, a: str, b: str) -> Rig:
    other = {a: b, b: a}
    cameras = tuple(
        replace(rig[other.get(camera.camera_id, camera.camera_id)], camera_id=camera.camera_id)
        for camera in rig.cameras
    )
    return replace(rig, cameras=cameras)


def _error_px(rig: Rig, table: BoardTable) -> float:
    """The median error of boards that two cameras or more saw, posed in the rig as it is."""
    lenses = Intrinsics.of_rig(rig)
    poses = view_poses(table, lenses.lens, lenses.fisheye)
    errors = board_poses(poses, np.stack([camera.T_cam_world for camera in rig.cameras])).error_px
    shared = np.bincount(table.set, minlength=table.set_count) > 1
    return float(np.median(np.minimum(errors[shared], 1e3))) if shared.any() else np.inf
