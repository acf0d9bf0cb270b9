"""Hands found in one image, and what finds them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from calibration.frames import Frame


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


@dataclass(frozen=True)
class Region:
    """Where a tracked hand is expected in an image: its predicted keypoints (21, 2), distorted pixels."""

    keypoints_px: np.ndarray


class Detector(Protocol):
    """Finds hands in images. `detect` is called from several threads, for one camera from one thread at a time."""

    name: str

    def detect(self, frame: Frame, regions: Sequence[Region], search: bool) -> list[Detection]:
        """Hands in the frame: one looked for in each region, and with `search` in the whole image as well.

        Returns nothing where the frame's pixels were overwritten meanwhile.
        """
        ...

    def close(self) -> None: ...
