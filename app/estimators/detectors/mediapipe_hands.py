"""MediaPipe's hand models as a Detector: palms searched in whole images, landmarks read from a crop per hand.

Both run on this project's engines, over all views and hands of a set at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from app.estimators.detection import Detection, Region, merge_duplicates
from app.estimators.detectors.hand_crop import HandCrop, crop_of_keypoints
from app.estimators.detectors.palms import SIDE_PX, PalmSearch
from app.estimators.detectors.sharpness import blur_px
from calibration.frames import Frame
from calibration.hand import hand_size_px
from deploy.image_engines import load_image_network
from models.hand.crop_light import well_lit
from models.weights import mediapipe_model

CROP_PX = 224


@dataclass(frozen=True, kw_only=True)
class HandDetectorSettings:
    """When a crop shows a hand, and how exact its keypoints are."""

    least_presence: float = 0.3
    """Of the landmark network: below, a crop's keypoints are not used. Whether there is a hand is said by all views,
    over time: on real footage the hands are the same with 0.05 and with MediaPipe's own limit, 0.5."""
    std_of_size: float = 0.036
    """A keypoint's error as a share of the hand's size in the image: disagreement of views on real footage."""
    least_std_px: float = 1.0
    std_of_blur: float = 4.0
    """A keypoint's error besides, for each pixel by which the picture is blurred: on rendered hands keypoints err by
    1.5 pixels more for each, but views of one hand mostly alike, of which triangulation knows nothing."""
    usual_blur_px: float = 1.0
    """Of a crop that is sharp, of which nothing is added: of rendered hands 0.7."""
    usual_blur_image_px: float = 1.0
    """Of a picture that is sharp: what a lens and its pixels make of an edge, which a crop of a small hand enlarges."""


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
        images = [frame.pixels for frame in frames]
        tracked = [
            _Candidate(view, crop_of_keypoints(region.keypoints_px))
            for view, of_view in enumerate(regions)
            for region in of_view
        ]
        views = [view for view, search in enumerate(searched) if search]
        palms = self._palms.find([images[view] for view in views])
        candidates = tracked + [
            _Candidate(view, crop) for view, found in zip(views, palms, strict=True) for crop in found
        ]
        detections = self._read(images, candidates)
        self._look_again(images, candidates, detections)
        in_view: list[list[Detection]] = [[] for _ in frames]
        for candidate, detection in zip(candidates, detections, strict=True):
            if detection is not None:
                in_view[candidate.view].append(detection)
        # Asked last: a frame that was overwritten meanwhile says nothing.
        return [merge_duplicates(found) if frame.intact() else [] for frame, found in zip(frames, in_view, strict=True)]

    def close(self) -> None:
        self._landmarks.close()
        self._palm_network.close()

    def _look_again(
        self, images: Sequence[np.ndarray], candidates: Sequence[_Candidate], detections: list[Detection | None]
    ) -> None:
        """Read hands again whose crop was not around them."""
        better = {}
        for index, (candidate, detection) in enumerate(zip(candidates, detections, strict=True)):
            if detection is not None:
                crop = crop_of_keypoints(detection.keypoints_px)
                if not candidate.crop.is_near(crop):
                    better[index] = _Candidate(candidate.view, crop)
        for index, detection in zip(better, self._read(images, list(better.values())), strict=True):
            detections[index] = detection or detections[index]

    def _read(self, images: Sequence[np.ndarray], candidates: Sequence[_Candidate]) -> list[Detection | None]:
        """The hand in each candidate's crop, None where there is none."""
        if not candidates:
            return []
        crops_bgr = [candidate.crop.cut(images[candidate.view], CROP_PX) for candidate in candidates]
        crops_rgb = (cv2.cvtColor(well_lit(crop), cv2.COLOR_BGR2RGB) for crop in crops_bgr)
        landmarks, presence, handedness = self._landmarks(crops_rgb)[:3]
        return [
            detection_of(
                self.settings,
                candidate.crop.image_from_crop(CROP_PX),
                crop_px,
                float(here),
                float(right),
                blur_px(crop_bgr) if float(here) >= self.settings.least_presence else 0.0,
            )
            for candidate, crop_bgr, crop_px, here, right in zip(
                candidates, crops_bgr, landmarks[..., :2], presence, handedness, strict=True
            )
        ]


def detection_of(
    settings: HandDetectorSettings,
    image_from_crop: np.ndarray,
    crop_px: np.ndarray,
    presence: float,
    right_probability: float,
    crop_blur_px: float = 0.0,
) -> Detection | None:
    """What a landmark network found in a crop, which is blurred by so much, in the image's pixels; None where it found
    no hand.

    The model is trained on mirrored images: its score for a left hand is ours for the person's right hand.
    """
    # NaN compares as no hand.
    if not presence >= settings.least_presence or not np.isfinite(crop_px).all():
        return None
    keypoints_px = crop_px @ image_from_crop[:, :2].T + image_from_crop[:, 2]
    std_px = max(settings.std_of_size * hand_size_px(keypoints_px), settings.least_std_px) * (2 - min(presence, 1.0))
    image_px = np.sqrt(abs(np.linalg.det(image_from_crop[:, :2])))
    usual_px = np.hypot(settings.usual_blur_px * image_px, settings.usual_blur_image_px)
    blurred_px = np.sqrt(max(0.0, (crop_blur_px * image_px) ** 2 - usual_px**2))
    return Detection(
        keypoints_px,
        np.full(21, np.hypot(std_px, settings.std_of_blur * blurred_px)),
        right_probability=right_probability,
        presence=presence,
    )
