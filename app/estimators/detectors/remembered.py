"""A detector whose answers are kept, so that what it said of a hand can be asked for later."""

import time
from collections import Counter
from collections.abc import Sequence

import numpy as np

from app.estimators.detection import Detection, Detector, Region
from calibration.frames import Frame


class RememberedDetector:
    """Passes calls on to a detector, which is left open, and remembers each detection by its keypoints.

    `found` counts the detections in each camera's images, `seconds` is the time that the detector took.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.name = detector.name
        self.found: Counter[str] = Counter()
        self.seconds = 0.0
        self._by_keypoints: dict[bytes, Detection] = {}

    def detect(
        self, frames: Sequence[Frame], regions: Sequence[Sequence[Region]], searched: Sequence[bool]
    ) -> list[list[Detection]]:
        """See Detector."""
        began = time.perf_counter()
        found = self._detector.detect(frames, regions, searched)
        self.seconds += time.perf_counter() - began
        for frame, of_view in zip(frames, found, strict=True):
            self.found[frame.camera_id] += len(of_view)
            self._by_keypoints |= {_key(each.keypoints_px): each for each in of_view}
        return found

    def detection_of(self, keypoints_px: np.ndarray) -> Detection | None:
        """The detection with these keypoints (21, 2); None where no answer since `forget` has them."""
        return self._by_keypoints.get(_key(keypoints_px))

    def forget(self) -> None:
        """Forget the detections, not the counts."""
        self._by_keypoints = {}

    def close(self) -> None:
        """Does nothing: who opened the detector closes it."""


def _key(keypoints_px: np.ndarray) -> bytes:
    return np.asarray(keypoints_px, dtype=np.float64).tobytes()
