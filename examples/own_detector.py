"""A 2D detector of your own: the estimator matches, triangulates and follows what it finds in each image."""

import cv2
import numpy as np

from app.estimators.detection import Detection
from app.estimators.multiview.estimator import MultiViewEstimator
from calibration.frames import Frame, FrameSet
from models.simulation.hands import hands_at
from models.simulation.simulated_rig import ring_rig


class GloveDetector:  # finds the joints of a glove, painted in shades of blue
    name = "glove"

    def detect(self, frames, regions, searched):  # `regions` are where the hands that are followed are expected
        return [[self.hand(frame.pixels[..., 0])] for frame in frames]

    def hand(self, blue):
        painted = [np.argwhere(blue == 10 + 10 * joint) for joint in range(21)]
        keypoints_px = np.array([found.mean(0)[::-1] if len(found) else (0, 0) for found in painted])
        hidden = [len(found) == 0 for found in painted]  # such a joint could be anywhere
        return Detection(keypoints_px, np.where(hidden, 1e3, 1.0), right_probability=1.0, presence=1.0)

    def close(self): ...


estimator = MultiViewEstimator(ring_rig(4), GloveDetector())  # your rig: calibration.rig.read_rig(Path("rig.yaml"))
for index in range(30):
    time_ns, joints_m, frames = index * 33_333_333, hands_at(index * 0.033333333)["right"], {}
    times = dict.fromkeys(("capture_time_ns", "grab_time_ns", "publish_time_ns"), time_ns)
    for camera in estimator.rig.cameras:
        pixels = np.zeros((camera.camera.height, camera.camera.width, 3), np.uint8)
        for joint, pixel in enumerate(camera.project(joints_m).round().astype(int).tolist()):
            cv2.circle(pixels, pixel, 3, (10 + 10 * joint, 0, 0), cv2.FILLED)
        frames[camera.camera_id] = Frame(camera_id=camera.camera_id, sequence=index, pixels=pixels, **times)
    for hand in estimator.estimate(FrameSet(index, time_ns, frames, time_ns)).hands:
        off_m = np.linalg.norm(hand.joints_world_m - joints_m, axis=1)
        print(f"{index} {hand.side} hand {hand.track_id}: joints {1e3 * off_m.mean():.2f} mm from the truth")
