"""A quick calibration in the background from what was captured so far, and how well it fits the live views."""

import logging
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from calibration.board.board import Board
from calibration.board.views import BoardView, Detections
from calibration.errors import UserError
from calibration.result.result import CalibrationOptions
from calibration.rig import Rig
from calibration.solve.calibrate import calibrate

log = logging.getLogger(__name__)

# A quick look: the calibration at the end takes all sets and all starts.
_OPTIONS = CalibrationOptions(lens="pinhole5", max_sets=40)


@dataclass(frozen=True)
class RigEstimate:
    """The rig as far as it is known; None with `why` it is not. `rmse_px` per camera of the captured views."""

    rig: Rig | None = None
    rmse_px: Mapping[str, float] = field(default_factory=dict)
    all_rmse_px: float | None = None
    why: str = ""


class BackgroundEstimate:
    """Calibrates in a thread of its own; a newer request replaces one that waits."""

    def __init__(self, board: Board, rig: Rig) -> None:
        self._board, self._rig = board, rig
        self._wanted: tuple[Detections, Collection[str]] | None = None
        self._changed = threading.Condition()
        self._ended = False
        self._latest: RigEstimate | None = None
        self._thread = threading.Thread(target=self._run, name="estimate", daemon=True)
        self._thread.start()

    @property
    def latest(self) -> RigEstimate | None:
        with self._changed:
            return self._latest

    def request(self, detections: Detections, camera_ids: Collection[str]) -> None:
        """Ask for a calibration of these cameras."""
        with self._changed:
            self._wanted = detections, camera_ids
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted is not None or self._ended)
                if self._ended:
                    return
                assert self._wanted is not None
                detections, camera_ids = self._wanted
                self._wanted = None
            estimate = self._solve(detections, camera_ids)
            with self._changed:
                self._latest = estimate

    def _solve(self, detections: Detections, camera_ids: Collection[str]) -> RigEstimate:
        if len(camera_ids) < 2:
            return RigEstimate(why="no two cameras are linked yet")
        part = replace(
            detections,
            views={name: detections.views[name] for name in camera_ids},
            image_size={name: detections.image_size[name] for name in camera_ids},
        )
        rig = replace(self._rig, cameras=tuple(self._rig[name] for name in camera_ids))
        try:
            result = calibrate(part, self._board, given_rig=rig, options=_OPTIONS)
        except UserError as error:
            return RigEstimate(why=str(error).split(". ")[0])
        except Exception as error:
            # A preview of a few views: whatever the numbers do there must not end the capture.
            log.warning("the quick calibration failed: %r", error)
            return RigEstimate(why="it does not converge yet")
        rmse = {camera_id: figures.rmse_px for camera_id, figures in result.cameras.items()}
        return RigEstimate(result.rig, rmse, result.rmse_px)

    def close(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join(5)


def live_errors_px(rig: Rig, board: Board, views: Mapping[str, BoardView]) -> dict[str, float]:
    """RMS reprojection error (px) of one board pose for all views of a moment, per camera.

    The pose is the one that a view proposes and that fits all views best: an error larger in one camera than in the
    others says that this camera's calibration does not fit. Cameras that the rig does not have are left out.
    """
    views = {camera_id: view for camera_id, view in views.items() if camera_id in rig.camera_ids}
    corners = board.corners_board_m
    best: dict[str, float] = {}
    best_cost = np.inf
    for view in views.values():
        camera = rig[view.camera_id]
        flat = camera.camera.undistort(view.corners_px)
        try:
            _, turns, shifts, _ = cv2.solvePnPGeneric(
                corners[view.corner_ids], flat, np.eye(3), np.zeros(5), flags=cv2.SOLVEPNP_IPPE
            )
        except cv2.error:
            continue
        for turn, shift in zip(turns, shifts, strict=True):
            in_camera = corners @ cv2.Rodrigues(turn)[0].T + shift[:, 0]
            T = camera.T_cam_world
            in_world = (in_camera - T[:3, 3]) @ T[:3, :3]
            errors = {other.camera_id: _rms(other, rig, in_world) for other in views.values()}
            cost = sum(min(error, 100.0) for error in errors.values())
            if cost < best_cost:
                best, best_cost = errors, cost
    return best


def _rms(view: BoardView, rig: Rig, corners_world_m: np.ndarray) -> float:
    away = rig[view.camera_id].project(corners_world_m[view.corner_ids]) - view.corners_px
    squared = (away**2).sum(axis=1)
    return float(np.sqrt(squared.mean())) if np.isfinite(squared).all() else np.inf
