"""What the verdict rests on, gathered from a solved rig."""

from collections.abc import Mapping

import numpy as np

from calibration.board.board import Board
from calibration.result.result import BoardFigures, CameraFigures, ImageFigures
from calibration.result.verdict import APART, Evidence, farthest_apart
from calibration.solve.cause_figures import find_cause
from calibration.solve.rig_solve import RigSolve
from calibration.solve.view_poses import tilt_degrees

_REFERENCE_WIDTH = 1280


def gather_evidence(
    solve: RigSolve, board: Board, cameras: Mapping[str, CameraFigures], heldout: ImageFigures | None,
    bias: float | None, shape: BoardFigures,
) -> Evidence:  # fmt: skip
    table, ids = solve.table, solve.table.camera_ids
    used = solve.use[table.set]
    shared = used & (np.bincount(table.set, minlength=table.set_count) >= 2)[table.set]
    pixel_scale = _REFERENCE_WIDTH / float(np.median([width for width, _ in table.image_size]))
    alone_px, joint_px, _ = farthest_apart(cameras, pixel_scale)
    depth = np.linalg.norm(solve.state.boards_in_cameras_m(table), axis=1)
    return Evidence(
        converged=solve.converged,
        unfit=tuple(ids[camera] for camera in solve.intrinsics.unfit),
        heldout=heldout,
        pixel_scale=pixel_scale,
        board=board,
        working_distance_m=float(np.median(depth[used])),
        cameras=cameras,
        focal_std=dict(zip(ids, solve.focal_std.tolist(), strict=True)),
        tilt_deg={camera_id: _tilt_deg(solve, used & (table.camera == number)) for number, camera_id in enumerate(ids)},
        held=tuple(camera_id for camera_id, std in zip(ids, solve.held_focal_std, strict=True) if std),
        shared_moments={
            camera_id: int((shared & (table.camera == number)).sum()) for number, camera_id in enumerate(ids)
        },
        scale_bias_percent=bias,
        shape=shape,
        cause=find_cause(solve, joint_px > APART * alone_px),
        median_rmse_px=float(np.nanmedian([camera.rmse_px for camera in cameras.values()])),
    )


def _tilt_deg(solve: RigSolve, views: np.ndarray) -> float:
    """How far the board's tilts in a camera's `views` (V,) are spread; 90 where that does not matter."""
    table, state = solve.table, solve.state
    if not views.any() or solve.intrinsics.given[table.camera[views][0]]:
        return 90.0
    turned = state.R[table.camera[views]] @ state.board_R[table.set[views]]
    normals = turned[:, :, 2]
    mean = normals.mean(0) / np.linalg.norm(normals.mean(0))
    spread = np.degrees(np.arccos(np.clip(normals @ mean, -1, 1)))
    return max(float(np.percentile(spread, 90)), float(np.percentile(tilt_degrees(turned), 75)))
