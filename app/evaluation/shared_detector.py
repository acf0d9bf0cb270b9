"""One detector for many estimators over the same frame sets: what it says of a frame is worked out once."""

from collections.abc import Mapping, Sequence

import numpy as np

from app.estimators.detection import Detection, Detector, Region, merge_duplicates
from calibration.frames import Frame, FrameSet
from calibration.hand import hand_size_px

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

    def look(self, frame_set: FrameSet) -> Mapping[str, list[Detection]]:
        """Each camera's hands in this set, each image for itself."""
        frames = frame_set.frames
        self._in_regions = {camera_id: [] for camera_id in frames}
        regions = [[Region(each.keypoints_px) for each in self._alone.get(camera_id, [])] for camera_id in frames]
        found = self._detector.detect(list(frames.values()), regions, [True] * len(frames))
        self._alone = dict(zip(frames, found, strict=True))
        return self._alone

    def detect(
        self, frames: Sequence[Frame], regions: Sequence[Sequence[Region]], searched: Sequence[bool]
    ) -> list[list[Detection]]:
        """As `Detector.detect`, for frames of the set that was looked at last."""
        unknown = [
            (frame, region)
            for frame, of_view in zip(frames, regions, strict=True)
            for region in of_view
            if self._known(frame, region) is None
        ]
        answers = self._detector.detect(
            [frame for frame, _ in unknown], [[region] for _, region in unknown], [False] * len(unknown)
        )
        for (frame, region), answer in zip(unknown, answers, strict=True):
            self._in_regions[frame.camera_id].append((region.keypoints_px, answer))
        merged = []
        for frame, of_view, search in zip(frames, regions, searched, strict=True):
            found = list(self._alone[frame.camera_id]) if search else []
            for region in of_view:
                found += self._known(frame, region) or []
            merged.append(merge_duplicates(found))
        return merged

    def _known(self, frame: Frame, region: Region) -> list[Detection] | None:
        """What was found in that place before; None where nobody has looked there."""
        size_px = hand_size_px(region.keypoints_px)
        known = [(each.keypoints_px, [each]) for each in self._alone[frame.camera_id]]
        known += self._in_regions[frame.camera_id]
        for keypoints_px, answer in known:
            if np.linalg.norm(keypoints_px - region.keypoints_px, axis=1).mean() < _SAME_PLACE * size_px:
                return answer
        return None

    def close(self) -> None:
        """Does nothing: the estimators that share it each close their own."""
