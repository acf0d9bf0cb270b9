"""A user's 21-keypoint network as a Detector: MediaPipe finds hands in whole images, the network reads their crops."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from app.estimators.detection import Detection, Detector, Region, merge_duplicates
from app.estimators.detectors.hand_crop import HandCrop, crop_of_keypoints
from app.estimators.detectors.keypoint_decoding import decode
from app.estimators.detectors.user_settings import UserDetectorSettings, read_user_settings
from calibration.errors import UserError
from calibration.frames import Frame
from calibration.hand import JOINT_NAMES, hand_size_px
from deploy.image_engines import load_image_network

_LEAST_STD_PX = 1.0


class Reading(NamedTuple):
    """What a network read from N crops: `keypoints_px` (N, 21, 2) in pixels of the crop, `confidence` (N, 21),
    `presence` (N,), and `right_probability` (N,), NaN where the network does not say."""

    keypoints_px: np.ndarray
    confidence: np.ndarray
    presence: np.ndarray
    right_probability: np.ndarray


class Candidate(NamedTuple):
    """A crop of the image of one view in which a hand may be, and what the finder `found` there, if it did."""

    view: int
    crop: HandCrop
    found: Detection | None


class UserNetwork:
    """The network of an ONNX file as its settings describe it.

    Raises UserError where it takes or gives something else than they say, or answers with what is no number.
    """

    def __init__(self, path: Path, settings: UserDetectorSettings, engine: str = "auto") -> None:
        self._settings = settings
        size = settings.input.height, settings.input.width
        shape = (3, *size) if settings.input.layout == "nchw" else (*size, 3)
        # In float32 unless asked for: how exact a network is in bfloat16 is not known here.
        self._network = load_image_network(path, shape, engine, bfloat16=False)
        self.name = self._network.name
        outputs, named = self._network.outputs, settings.output
        extra = [name for name in (named.presence, named.handedness) if name]
        keypoints = named.names or tuple(name for name in outputs if name not in extra)
        unknown = [name for name in (*keypoints, *extra) if name not in outputs]
        if unknown:
            raise UserError(f"{path}: no output is called `{unknown[0]}`; it has {', '.join(outputs)}.")
        self._keypoints = [outputs.index(name) for name in keypoints]
        self._presence, self._handedness = (
            None if name is None else outputs.index(name) for name in (named.presence, named.handedness)
        )
        self._order = [settings.keypoints.index(name) for name in JOINT_NAMES]
        self._probe(path, size)

    def read(self, crops_bgr: Sequence[np.ndarray]) -> Reading:
        """Keypoints in the order of calibration.hand from crops (height, width, 3) uint8."""
        given = self._settings.input
        crops = np.stack(crops_bgr)[..., :: -1 if given.colour == "rgb" else 1]
        images = (crops - np.array(given.mean, np.float32)) / np.array(given.std, np.float32)
        if given.layout == "nchw":
            images = images.transpose(0, 3, 1, 2)
        answers = self._network(np.ascontiguousarray(images))
        keypoints_px, confidence = decode([answers[index] for index in self._keypoints], self._settings)
        presence, right = (
            None if index is None else answers[index].reshape(len(crops)).astype(np.float64)
            for index in (self._presence, self._handedness)
        )
        return Reading(
            keypoints_px[:, self._order],
            confidence[:, self._order],
            confidence.mean(1) if presence is None else np.clip(presence, 0, 1),
            np.full(len(crops), np.nan) if right is None else np.clip(right, 0, 1),
        )

    def close(self) -> None:
        self._network.close()

    def _probe(self, path: Path, size: tuple[int, int]) -> None:
        """Look once at an image of noise."""
        noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        try:
            found = self.read([cv2.GaussianBlur(noise, (0, 0), 3)])
        except ValueError as error:
            raise UserError(f"{path}: {error}. Correct {path.with_suffix('.yaml').name}.") from None
        if not np.isfinite(found.keypoints_px).all() or not np.isfinite(found.presence).all():
            raise UserError(f"{path}: answers with what is no number (NaN). Export the network again.")


class UserDetector:
    """Hands by the network of `path`, with settings in the YAML file beside it; `finder` finds them in whole images.

    Raises UserError as `read_user_settings` and UserNetwork.
    """

    def __init__(self, path: Path, finder: Detector, engine: str = "auto") -> None:
        self._settings = read_user_settings(path)
        self._network = UserNetwork(path, self._settings, engine)
        self._finder = finder
        self.name = path.stem

    def detect(
        self, frames: Sequence[Frame], regions: Sequence[Sequence[Region]], searched: Sequence[bool]
    ) -> list[list[Detection]]:
        """See Detector. The side of a hand that is followed is left open where the network does not say it."""
        # Crops are cut first, from the live frames.
        candidates = [
            Candidate(view, self._crop(region.keypoints_px), None)
            for view, of_view in enumerate(regions)
            for region in of_view
        ]
        images = self._cut(frames, candidates)
        for view, found in enumerate(self._finder.detect(frames, [[] for _ in frames], searched)):
            new = [Candidate(view, self._crop(each.keypoints_px), each) for each in found]
            images += self._cut(frames, new)
            candidates += new
        intact = [frame.intact() for frame in frames]
        in_view: list[list[Detection]] = [[] for _ in frames]
        for candidate, detection in zip(candidates, self._read(candidates, images), strict=True):
            if detection is not None and intact[candidate.view]:
                in_view[candidate.view].append(detection)
        return [merge_duplicates(found) for found in in_view]

    def close(self) -> None:
        self._network.close()
        self._finder.close()

    def _crop(self, keypoints_px: np.ndarray) -> HandCrop:
        crop = crop_of_keypoints(keypoints_px)
        return HandCrop(crop.centre_px, crop.side_px * self._settings.crop_scale, crop.angle)

    def _cut(self, frames: Sequence[Frame], candidates: Sequence[Candidate]) -> list[np.ndarray]:
        width, height = self._settings.input.width, self._settings.input.height
        return [each.crop.cut(frames[each.view].pixels, width, height) for each in candidates]

    def _read(self, candidates: Sequence[Candidate], images: Sequence[np.ndarray]) -> list[Detection | None]:
        if not candidates:
            return []
        reading = self._network.read(images)
        return [self._detection(*each) for each in zip(candidates, *reading, strict=True)]

    def _detection(
        self,
        candidate: Candidate,
        crop_px: np.ndarray,
        confidence: np.ndarray,
        presence: float,
        right: float,
    ) -> Detection | None:
        settings = self._settings
        # NaN compares as no hand.
        if not presence >= settings.least_presence or not np.isfinite(crop_px).all():
            return None
        affine = candidate.crop.image_from_crop(settings.input.width, settings.input.height)
        keypoints_px = crop_px @ affine[:, :2].T + affine[:, 2]
        std_px = max(settings.std_of_size * hand_size_px(keypoints_px), _LEAST_STD_PX)
        if np.isnan(right):
            right = candidate.found.right_probability if candidate.found else 0.5
        return Detection(
            keypoints_px, std_px * (2 - confidence), right_probability=float(right), presence=float(presence)
        )
