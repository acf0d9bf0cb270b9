"""A detector for simulated rigs: where the simulated hands' joints are in the image, with a detector's errors."""

import zlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from app.estimators.detection import Detection, Region
from calibration.frames import Frame
from calibration.hand import Side
from calibration.rig import Rig
from models.simulation.hands import hands_of_people_at
from models.simulation.simulated_rig import people_in

NOISE_PX = 2.0  # standard deviation in an image 640 pixels wide
MISS_RATE = 0.03
OUTLIER_RATE = 0.02
OUTLIER_PX = (25.0, 80.0)  # how far, in an image 640 pixels wide
WRONG_SIDE_RATE = 0.02


class SimulatedDetector:
    """Projects the hands of the frame's capture time into the frame's camera; the pixels are not looked at.

    They are the demo's, `hands_of_people_at`, or what `hands_at` gives for a time in seconds: sides and joints (21, 3).

    Each joint gets Gaussian noise of its own `std_px`, around 2 pixels in an image 640 wide, and 2 % of the joints are
    outliers that `std_px` does not tell of. 3 % of the hands are missed and 2 % are given the wrong side. All of it
    depends only on the seed, the camera and the frame's time. Regions are ignored: every hand that has at
    least half of its joints in the image is seen.
    """

    name = "simulated"

    def __init__(
        self,
        rig: Rig,
        seed: int = 0,
        hands_at: Callable[[float], Iterable[tuple[Side, np.ndarray]]] | None = None,
    ) -> None:
        self._rig, self._seed = rig, seed
        people = people_in(rig)
        self._hands_at = hands_at or (lambda time_s: hands_of_people_at(time_s, people))

    def detect(
        self, frames: Sequence[Frame], regions: Sequence[Sequence[Region]], searched: Sequence[bool]
    ) -> list[list[Detection]]:
        """Raises KeyError for a camera that the rig does not have."""
        return [self._detect_in(frame) for frame in frames]

    def _detect_in(self, frame: Frame) -> list[Detection]:
        if not frame.intact():
            return []
        camera = self._rig[frame.camera_id]
        scale = camera.camera.width / 640
        size_px = np.array([camera.camera.width, camera.camera.height])
        random = np.random.default_rng([self._seed, zlib.crc32(frame.camera_id.encode()), abs(frame.capture_time_ns)])
        detections = []
        for side, joints_world_m in self._hands_at(frame.capture_time_ns / 1e9):
            truth_px = camera.project(joints_world_m)
            missed = random.random() < MISS_RATE
            detection = _with_errors(truth_px, scale, side == "right", random)
            # NaN, behind the camera, compares as outside.
            inside = ((truth_px >= -0.5) & (truth_px < size_px - 0.5)).all(axis=1)
            if not missed and np.isfinite(truth_px).all() and inside.mean() >= 0.5:
                detections.append(detection)
        return detections

    def close(self) -> None:
        pass


def _with_errors(truth_px: np.ndarray, scale: float, is_right: bool, random: np.random.Generator) -> Detection:
    count = len(truth_px)
    std_px = NOISE_PX * scale * random.uniform(0.6, 1.4, count)
    keypoints_px = truth_px + random.normal(size=(count, 2)) * std_px[:, None]
    angle = random.uniform(0, 2 * np.pi, count)
    far_px = scale * random.uniform(*OUTLIER_PX, count) * (random.random(count) < OUTLIER_RATE)
    keypoints_px += far_px[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    wrong_side = random.random() < WRONG_SIDE_RATE
    right_probability = 0.9 if is_right != wrong_side else 0.1
    return Detection(keypoints_px, std_px, right_probability, presence=random.uniform(0.8, 1.0))
