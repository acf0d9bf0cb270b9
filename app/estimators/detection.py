"""Hands found in one image, and what finds them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from calibration.frames import Frame
from calibration.hand import hand_size_px

# Shares of the hand's size in the image, by which keypoints of one hand differ from crop to crop.
_SAME_HAND, _SAME_MIDDLE = 0.3, 0.15
# A hand that was not found in a crop is not found in one that is moved by less of its size, but in 2 of 50.
_SAME_PLACE = 0.1


@dataclass(frozen=True)
class Detection:
    """One hand in one image.

    `keypoints_px` (21, 2) distorted pixels of the camera's image; `std_px` (21,) their expected error;
    `right_probability` in [0, 1] that it is the person's right hand; `presence` in [0, 1] that it is a hand at all.
    """

    keypoints_px: np.ndarray
    std_px: np.ndarray
    right_probability: float
    presence: float


def merge_duplicates(detections: Sequence[Detection]) -> list[Detection]:
    """One detection per hand: of those whose keypoints nearly coincide the likeliest hand stays."""
    kept: list[Detection] = []
    for detection in sorted(detections, key=lambda d: -d.presence):
        size = float(hand_size_px(detection.keypoints_px))
        if not any(_same_hand(detection.keypoints_px, other.keypoints_px, size) for other in kept):
            kept.append(detection)
    return kept


def _same_hand(keypoints_px: np.ndarray, other_px: np.ndarray, size_px: float) -> bool:
    """Whether two detections are of one hand; a hand that is read as the other hand in the same place is, too."""
    apart = np.linalg.norm(keypoints_px - other_px, axis=1).mean()
    middle = np.linalg.norm(keypoints_px.mean(0) - other_px.mean(0))
    return bool(apart < _SAME_HAND * size_px or (middle < _SAME_MIDDLE * size_px and apart < 2 * _SAME_HAND * size_px))


@dataclass(frozen=True)
class Region:
    """Where a tracked hand is expected in an image: its predicted keypoints (21, 2), distorted pixels."""

    keypoints_px: np.ndarray

    def is_near(self, other: "Region") -> bool:
        """Whether looking in the one is as good as looking in the other."""
        apart = np.linalg.norm(self.keypoints_px - other.keypoints_px, axis=1).mean()
        return bool(apart < _SAME_PLACE * hand_size_px(self.keypoints_px))


class Detector(Protocol):
    """Finds hands in the images of a set, called from one thread."""

    name: str

    def detect(
        self, frames: Sequence[Frame], regions: Sequence[Sequence[Region]], searched: Sequence[bool]
    ) -> list[list[Detection]]:
        """The hands in each frame: one looked for in each of its regions, and in the whole image where it is searched.

        A frame whose pixels were overwritten meanwhile has none.
        """
        ...

    def close(self) -> None: ...
