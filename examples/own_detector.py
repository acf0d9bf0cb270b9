"""A 2D detector of your own: the estimator matches, triangulates and follows what it finds in each image."""

import cv2
import numpy as np

from app.estimators.detection import Detection
from app.estimators.multiview.estimator import MultiViewEstimator
from calibration.frames import Frame, FrameSet
from models.simulation.hands import hands_at
from models.simulation.simulated_rig import ring_rig


class GloveDetector:  # finds the joints of a glove, painted in shades of blue
    name, simulated = "glove", False

    def detect(self, frame, regions, search):  # `regions` are where the hands that are followed are expected
        painted = [np.argwhere(frame.pixels[..., 0] == 10 + 10 * joint) for joint in range(21)]
        keypoints_px = np.array([found.mean(0)[::-1] if len(found) else (0, 0) for found in painted])
        std_px = np.array([1.0 if len(found) else 1e3 for found in painted])  # a hidden joint could be anywhere
        return [Detection(keypoints_px, std_px, right_probability=1.0, presence=1.0)]

    def close(self): ...


rig = ring_rig(4)  # yours: calibration.rig.read_rig(Path("rig.yaml"))
estimator = MultiViewEstimator(rig, GloveDetector())
for index in range(30):
    time_ns, frames = index * 33_333_333, {}
    joints_m = hands_at(time_ns / 1e9)["right"]
    for camera in rig.cameras:
        pixels = np.zeros((camera.camera.height, camera.camera.width, 3), np.uint8)
        for joint, pixel in enumerate(camera.project(joints_m).round().astype(int).tolist()):
            cv2.circle(pixels, pixel, 3, (10 + 10 * joint, 0, 0), cv2.FILLED)
        times = dict.fromkeys(("capture_time_ns", "grab_time_ns", "publish_time_ns"), time_ns)
        frames[camera.camera_id] = Frame(camera_id=camera.camera_id, sequence=index, pixels=pixels, **times)
    for hand in estimator.estimate(FrameSet(index, time_ns, frames, time_ns)).hands:
        error_mm = 1e3 * np.linalg.norm(hand.joints_world_m - joints_m, axis=1).mean()
        print(f"{index} {hand.side} hand {hand.track_id}: joints {error_mm:.2f} mm from the truth")
estimator.close()
