"""What is known while one frame set is being estimated."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from app.estimators.detection import Region
from app.estimators.estimator import Hand
from app.estimators.multiview.detection_batch import DetectionBatch, gather, in_cameras
from app.estimators.multiview.hand_fit import HandFit
from app.estimators.tracks import HandTrack, HandTracks, Motion
from calibration.frames import Frame
from calibration.rig import RigCamera


@dataclass(kw_only=True)
class Step:
    """One frame set: the cameras that are present (V), their frames, the tracks (T), and what the stds of each camera's
    detections are multiplied with (V,). `left_out` (V,): cameras whose detections are in `all_detections` alone."""

    cameras: list[RigCamera]
    frames: list[Frame]
    now_ns: int
    tracks: HandTracks[HandTrack]
    std_scale: np.ndarray
    left_out: np.ndarray
    all_detections: DetectionBatch = field(default_factory=lambda: gather([], [], np.ones(0)))
    detections: DetectionBatch = field(default_factory=lambda: gather([], [], np.ones(0)))

    @cached_property
    def predictions(self) -> list[Motion]:
        """The tracks' motions at `now_ns`."""
        return [track.motion.predict(self.now_ns) for track in self.tracks]

    @cached_property
    def T_cam_world(self) -> np.ndarray:
        """(V, 4, 4)"""
        return np.stack([camera.T_cam_world for camera in self.cameras])

    @cached_property
    def lag_s(self) -> np.ndarray:
        """Each view's capture time minus the reference time (V,), seconds."""
        return np.array([frame.capture_time_ns - self.now_ns for frame in self.frames]) * 1e-9

    @cached_property
    def predicted_in_view_m(self) -> np.ndarray:
        """The tracks' predicted joints at each view's capture time (T, V, 21, 3)."""
        if not self.predictions:
            return np.zeros((0, len(self.cameras), 21, 3))
        position = np.stack([motion.position_m for motion in self.predictions])
        velocity = np.stack([motion.velocity_m_s for motion in self.predictions])
        return position[:, None] + self.lag_s[:, None, None] * velocity[:, None]

    def regions(self, in_view_m: np.ndarray, wanted: np.ndarray) -> list[list[Region]]:
        """Where hands (H, V, 21, 3) are to be looked for in each view, where `wanted` (H, V) says that they are.

        Those whose middle is outside the image are left out.
        """
        regions: list[list[Region]] = []
        in_camera = in_cameras(self.T_cam_world, in_view_m)
        for view, rig_camera in enumerate(self.cameras):
            camera, hands = rig_camera.camera, np.flatnonzero(wanted[:, view])
            keypoints_px = camera.project(in_camera[hands, view])
            # NaN, behind the camera, compares as outside.
            middle = keypoints_px.sum(1) / keypoints_px.shape[1]
            inside = ((middle >= 0) & (middle < (camera.width, camera.height))).all(1)
            regions.append([Region(keypoints_px[hand]) for hand in np.flatnonzero(inside)])
        return regions


@dataclass(kw_only=True)
class Match:
    """A hand found among the detections.

    `link` is its track's index, -1 for a new hand; `rows` (V,) its detection in each view, -1 for none; `gain` (21, V)
    and `shift_m` (21, V, 3) place its joints at each view's time; `in_view_m` (V, 21, 3) is a first estimate of those.
    """

    link: int
    rows: np.ndarray
    gain: np.ndarray
    shift_m: np.ndarray
    in_view_m: np.ndarray

    @property
    def views(self) -> np.ndarray:
        """Indices of the views that have a detection of this hand."""
        return np.flatnonzero(self.rows >= 0)


def to_hand(
    step: Step, match: Match, track: HandTrack, right: bool, fit: HandFit, certain: np.ndarray, index: int
) -> Hand:
    """The hand as the rest of the application gets it; `index` is its place in `fit`."""
    ids = {int(view): step.cameras[view].camera_id for view in match.views}
    measured, blind = fit.reprojection_px[index], fit.leave_one_out_px[index]
    return Hand(
        side="right" if right else "left",
        track_id=track.track_id,
        capture_time_ns=step.now_ns,
        joints_world_m=fit.joints_m[index],
        covariance_m2=fit.covariance_m2[index],
        confidence=certain[index],
        detections_px={name: step.detections.keypoints_px[match.rows[view]] for view, name in ids.items()},
        inliers={name: fit.inliers[index, :, view] for view, name in ids.items()},
        reprojection_px=measured[np.isfinite(measured)],
        leave_one_out_px=blind[np.isfinite(blind)],
        right_log_odds=track.right_log_odds,
        bones=track.bones,
    )
