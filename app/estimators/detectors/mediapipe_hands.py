"""MediaPipe's hand models as a Detector: palms searched in whole images, landmarks read from a crop per hand.

Both run on this project's engines, over all views and hands of a set at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from app.estimators.detection import Detection, Region, hand_size_px, merge_duplicates
from app.estimators.detectors.hand_crop import HandCrop, crop_of_keypoints
from app.estimators.detectors.palms import SIDE_PX, PalmSearch
from calibration.frames import Frame
from deploy.image_engines import load_image_network
from models.weights import mediapipe_model

CROP_PX = 224


@dataclass(frozen=True)
class HandDetectorSettings:
    """When a crop shows a hand, and how exact its keypoints are."""

    least_presence: float = 0.3
    """Of the landmark network: below, there is no hand. MediaPipe's own limit is 0.5; other views judge here, too."""
    std_of_size: float = 0.036
    """A keypoint's error as a share of the hand's size in the image: disagreement of views on real footage."""
    least_std_px: float = 1.0


class _Candidate(NamedTuple):
    """A crop of the image of one view in which a hand may be."""

    view: int
    crop: HandCrop


class MediaPipeHands:
    """MediaPipe hands in the images of a set. `engine` is one of deploy.image_engines.

    Raises UserError where no engine is installed.
    """

    name = "mediapipe"

    def __init__(self, settings: HandDetectorSettings | None = None, engine: str = "auto") -> None:
        self.settings = settings or HandDetectorSettings()
        self._landmarks = load_image_network(mediapipe_model("hand_landmark"), (CROP_PX, CROP_PX, 3), engine)
        self._palm_network = load_image_network(mediapipe_model("palm_detection"), (SIDE_PX, SIDE_PX, 3), engine)
        self._palms = PalmSearch(self._palm_network)

    def detect(
        self, frames: Sequence[Frame], regions: Sequence[Sequence[Region]], searched: Sequence[bool]
    ) -> list[list[Detection]]:
        """See Detector."""
        # Crops are cut first, from the live frames; a search needs all pixels for longer and takes a copy.
        images = [
            frame.pixels.copy() if search else frame.pixels for frame, search in zip(frames, searched, strict=True)
        ]
        tracked = [
            _Candidate(view, crop_of_keypoints(region.keypoints_px))
            for view, of_view in enumerate(regions)
            for region in of_view
        ]
        crops = self._cut(images, tracked)
        intact = [frame.intact() for frame in frames]
        views = [view for view, search in enumerate(searched) if search and intact[view]]
        palms = self._palms.find([images[view] for view in views])
        new = [_Candidate(view, crop) for view, found in zip(views, palms, strict=True) for crop in found]
        candidates = tracked + new
        detections = self._read(candidates, crops + self._cut(images, new))
        self._look_again(frames, images, candidates, detections, intact)
        return [
            merge_duplicates(
                [d for c, d in zip(candidates, detections, strict=True) if c.view == view and d is not None]
            )
            if intact[view]
            else []
            for view in range(len(frames))
        ]

    def close(self) -> None:
        self._landmarks.close()
        self._palm_network.close()

    def _look_again(
        self,
        frames: Sequence[Frame],
        images: Sequence[np.ndarray],
        candidates: Sequence[_Candidate],
        detections: list[Detection | None],
        intact: list[bool],
    ) -> None:
        """Read hands again whose crop was not around them; tells `intact` of frames that were overwritten meanwhile."""
        better = {}
        for index, (candidate, detection) in enumerate(zip(candidates, detections, strict=True)):
            if detection is not None:
                crop = crop_of_keypoints(detection.keypoints_px)
                if not candidate.crop.is_near(crop):
                    better[index] = _Candidate(candidate.view, crop)
        again = list(better.values())
        crops = self._cut(images, again)
        for candidate in again:
            intact[candidate.view] = intact[candidate.view] and frames[candidate.view].intact()
        for index, detection in zip(better, self._read(again, crops), strict=True):
            detections[index] = detection or detections[index]

    @staticmethod
    def _cut(images: Sequence[np.ndarray], candidates: Sequence[_Candidate]) -> list[np.ndarray]:
        return [candidate.crop.cut(images[candidate.view], CROP_PX) for candidate in candidates]

    def _read(self, candidates: Sequence[_Candidate], crops_bgr: Sequence[np.ndarray]) -> list[Detection | None]:
        """The hand in each crop, None where there is none."""
        if not candidates:
            return []
        batch = np.stack([cv2.cvtColor(crop, cv2.COLOR_BGR2RGB) for crop in crops_bgr])
        landmarks, presence, handedness = self._landmarks(batch)[:3]
        return [
            detection_of(self.settings, candidate.crop.image_from_crop(CROP_PX), crop_px, float(here), float(right))
            for candidate, crop_px, here, right in zip(
                candidates, landmarks[..., :2], presence, handedness, strict=True
            )
        ]


def detection_of(
    settings: HandDetectorSettings,
    image_from_crop: np.ndarray,
    crop_px: np.ndarray,
    presence: float,
    right_probability: float,
) -> Detection | None:
    """What a landmark network found in a crop, in the image's pixels; None where it found no hand.

    The model is trained on mirrored images: its score for a left hand is ours for the person's right hand.
    """
    # NaN compares as no hand.
    if not presence >= settings.least_presence or not np.isfinite(crop_px).all():
        return None
    keypoints_px = crop_px @ image_from_crop[:, :2].T + image_from_crop[:, 2]
    std_px = max(settings.std_of_size * hand_size_px(keypoints_px), settings.least_std_px)
    return Detection(
        keypoints_px,
        np.full(21, std_px * (2 - min(presence, 1.0))),
        right_probability=right_probability,
        presence=presence,
    )
