"""A run as Rerun's log: the rig once, then every set that comes."""

import cv2
import numpy as np
import rerun as rr

from app.rerun_view.hands import log_arm, log_hand, log_mesh
from app.transport.messages import HandPose, PoseSet
from app.viewer.feed import Feed
from app.viewer.hand_surface import HandSurface
from app.viewer.panels import Undistorter, greyed
from app.viewer.stage import frustum_depth_m, stage_of
from app.viewer.state import Shown
from app.viewer.stats import is_heartbeat
from calibration.rig import Rig

APPLICATION = "usthand"
TIMELINE = "capture_time"
_PICTURE_WIDTH = 480
_JPEG = 75


class RerunLog:
    """Writes to a recording that goes to a viewer or a file."""

    def __init__(self, recording: rr.RecordingStream, rig: Rig, feed: Feed) -> None:
        self._recording, self._feed = recording, feed
        self._surface = HandSurface()
        self._undistort = {camera.camera_id: Undistorter(camera.camera) for camera in rig.cameras}
        self._pictures: dict[str, np.ndarray] = {}
        """The last of each camera that streams."""
        self._names: set[str] = set()
        self._arms: set[str] = set()
        recording.log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        stage = stage_of(rig)
        for camera in rig.cameras:
            lens = camera.camera
            scale = _PICTURE_WIDTH / lens.width
            size = (_PICTURE_WIDTH, round(lens.height * scale))
            matrix = np.diag([scale, scale, 1.0]) @ lens.matrix
            recording.log(
                f"world/{camera.camera_id}",
                rr.Transform3D(translation=camera.centre_world_m, mat3x3=camera.T_cam_world[:3, :3].T),
                rr.Pinhole(
                    image_from_camera=matrix,
                    resolution=size,
                    camera_xyz=rr.ViewCoordinates.RDF,
                    image_plane_distance=frustum_depth_m(stage, camera),
                ),
                static=True,
            )

    def add(self, pose_set: PoseSet, shown: Shown, now_ns: int) -> None:
        """One set: its hands, figures and pictures, at its time; of a heartbeat the pictures, at the last set's."""
        if not is_heartbeat(pose_set):
            self._add_set(pose_set, shown, now_ns)
        self._add_pictures(pose_set)

    def _add_set(self, pose_set: PoseSet, shown: Shown, now_ns: int) -> None:
        recording = self._recording
        recording.set_time(TIMELINE, duration=np.timedelta64(pose_set.reference_time_ns, "ns"))
        self._add_hands(shown)
        figures = shown.figures(now_ns)
        hops = pose_set.hops_ns
        recording.log("figures/latency_ms", rr.Scalars((hops["published"] - hops["grab"]) / 1e6))
        if "light" in hops:
            recording.log("figures/photon_to_pose_ms", rr.Scalars((hops["published"] - hops["light"]) / 1e6))
        if figures.rate_hz is not None:
            recording.log("figures/rate_hz", rr.Scalars(figures.rate_hz))

    def _add_pictures(self, pose_set: PoseSet) -> None:
        for camera_id, report in pose_set.cameras.items():
            if camera_id not in self._undistort:
                continue
            image = None if report.slot is None else self._feed.image(report.slot, _PICTURE_WIDTH)
            if image is not None:
                self._pictures[camera_id] = self._undistort[camera_id](image)
                self._add_picture(camera_id, self._pictures[camera_id])
            elif report.state != "streaming" and camera_id in self._pictures:
                self._add_picture(camera_id, greyed(self._pictures.pop(camera_id)))

    def _add_hands(self, shown: Shown) -> None:
        names = set()
        for pose in shown.drawn_hands():
            joints_m = np.array(pose.joints_world_m)
            if not np.isfinite(joints_m).all():
                continue
            name, seen = f"world/{pose.hand}_{pose.track_id}", pose.state == "seen"
            names.add(name)
            log_hand(self._recording, name, pose.hand, joints_m, np.array(pose.covariance_m2), seen=seen)
            self._add_arm(name, pose)
            vertices_m = self._surface.vertices_of(pose)
            if vertices_m is None:
                self._recording.log(f"{name}/mesh", rr.Clear(recursive=False))
            else:
                log_mesh(self._recording, name, pose.hand, vertices_m, self._surface.triangles, seen=seen)
        for name in self._names - names:
            self._recording.log(name, rr.Clear(recursive=True))
        self._names = names
        self._arms &= names

    def _add_arm(self, name: str, pose: HandPose) -> None:
        """The arm of a hand; cleared once where it had one and has none."""
        arm, points = pose.arm, []
        if arm is not None and np.isfinite(arm.elbow_world_m).all():
            points.append((arm.elbow_world_m, arm.elbow_covariance_m2))
            if arm.shoulder_world_m is not None:
                points.append((arm.shoulder_world_m, arm.shoulder_covariance_m2))
        if not points and name not in self._arms:
            return
        arm_m = np.array([place_m for place_m, _ in points]).reshape(-1, 3)
        covariance_m2 = np.array([covariance_m2 for _, covariance_m2 in points]).reshape(-1, 3, 3)
        log_arm(self._recording, name, pose.hand, np.array(pose.joints_world_m[0]), arm_m, covariance_m2)
        self._arms = self._arms | {name} if points else self._arms - {name}

    def _add_picture(self, camera_id: str, image: np.ndarray) -> None:
        good, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG])
        if good:
            image_bytes = rr.EncodedImage(contents=data.tobytes(), media_type="image/jpeg")
            self._recording.log(f"world/{camera_id}", image_bytes)
