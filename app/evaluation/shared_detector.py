"""One detector for many estimators over the same frame sets: what it says of a frame is worked out once."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from app.estimators.detection import Detection, Detector, Region, hand_size_px, merge_duplicates
from calibration.frames import Frame, FrameSet

_SAME_PLACE = 0.25
"""Regions whose keypoints are nearer than this share of the hand's size on average get one answer: a detector that
crops around a region and crops again around what it finds, as MediaPipe's does, answers both with the same keypoints
to a fraction of its own error."""


class SharedDetector:
    """Passes calls on to `detector`, but answers from memory where it has looked there already in this set.

    `look` comes first for each set. It searches every image alone: the whole image, and where the hands of this same
    camera's image before were, as a detector does that follows hands in one video. Its answers are the independent
    ones, which no other camera and no estimator had a part in.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.name = detector.name
        self._alone: dict[str, list[Detection]] = {}
        self._in_regions: dict[str, list[tuple[np.ndarray, list[Detection]]]] = {}
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, "detect")

    def look(self, frame_set: FrameSet) -> Mapping[str, list[Detection]]:
        """Each camera's hands in this set, each image for itself."""
        before, frames = self._alone, frame_set.frames
        self._in_regions = {camera_id: [] for camera_id in frames}

        def alone(camera_id: str) -> list[Detection]:
            regions = [Region(each.keypoints_px) for each in before.get(camera_id, [])]
            return self._detector.detect(frames[camera_id], regions, True)

        self._alone = dict(zip(frames, self._pool.map(alone, frames), strict=True))
        return self._alone

    def detect(self, frame: Frame, regions: Sequence[Region], search: bool) -> list[Detection]:
        """As `Detector.detect`, for a frame of the set that was looked at last."""
        found = list(self._alone[frame.camera_id]) if search else []
        for region in regions:
            found += self._in_region(frame, region)
        return merge_duplicates(found)

    def _in_region(self, frame: Frame, region: Region) -> list[Detection]:
        size_px = hand_size_px(region.keypoints_px)
        known = [(each.keypoints_px, [each]) for each in self._alone[frame.camera_id]]
        known += self._in_regions[frame.camera_id]
        for keypoints_px, answer in known:
            if np.linalg.norm(keypoints_px - region.keypoints_px, axis=1).mean() < _SAME_PLACE * size_px:
                return answer
        answer = self._detector.detect(frame, [region], False)
        self._in_regions[frame.camera_id].append((region.keypoints_px, answer))
        return answer

    def close(self) -> None:
        """Does nothing: the estimators that share it each close their own. See `stop`."""

    def stop(self) -> None:
        """End its threads; the detector itself stays open."""
        self._pool.shutdown()
