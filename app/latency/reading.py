"""The panel's code in a camera's images."""

from dataclasses import dataclass

import cv2
import numpy as np

from app.latency.panel import (
    CHECK_BITS,
    CODES,
    DATA_BITS,
    DICTIONARY,
    cell_places,
    check_of,
    from_gray,
    marker_corners,
)

_SAMPLES = np.stack(np.meshgrid(np.linspace(-0.8, 0.8, 5), np.linspace(-0.45, 0.45, 3)), axis=-1).reshape(-1, 2)
"""Modules from a cell's middle: its inner half, which a little blur does not reach."""


@dataclass(frozen=True, kw_only=True)
class ReadingSettings:
    """`least_contrast`: grey levels between white and black. `unsure_share`: a pair of cells that differ by less of the
    contrast was exposed over a change: a quarter to three quarters of either code. `markers`: as many of the four must
    be found; three leave a corner to be extrapolated by a quarter of the panel. `search_every`: the markers are looked
    for in one of so many pictures while the code is read, as neither screen nor camera moves, and looking is slow."""

    least_contrast: float = 20.0
    unsure_share: float = 0.4
    markers: int = 3
    search_every: int = 15


@dataclass(frozen=True)
class CodeSeen:
    """A picture shows the code `number`, or, where `changing`, was exposed half over it and half over the next one."""

    number: int
    changing: bool = False


class PanelReader:
    """Reads one camera's pictures. `visible` says whether the panel's markers were found when last looked for."""

    def __init__(self, settings: ReadingSettings | None = None) -> None:
        self._settings = settings or ReadingSettings()
        self._detector = cv2.aruco.ArucoDetector(DICTIONARY)
        self._places_px: np.ndarray | None = None
        self._good = 0

    @property
    def visible(self) -> bool:
        return self._places_px is not None

    def read(self, image: np.ndarray) -> CodeSeen | None:
        """The code in a picture, BGR or grey; None where there is none, or no sure one."""
        grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        if self._places_px is None or self._good % self._settings.search_every == 0:
            self._places_px = self._find(grey)
        if self._places_px is None:
            return None
        seen = self._decode(self._levels(grey, self._places_px))
        # Look for the markers again at once where the code cannot be read.
        self._good = self._good + 1 if seen is not None else 0
        return seen

    def _find(self, grey: np.ndarray) -> np.ndarray | None:
        """Where the cells' samples lie in the picture (16, 2, S, 2), float32."""
        corners, ids, _ = self._detector.detectMarkers(grey)
        if ids is None:
            return None
        known = {int(number): place[0] for number, place in zip(ids.ravel(), corners, strict=True) if number < 4}
        if len(known) < self._settings.markers:
            return None
        numbers = sorted(known)
        panel = marker_corners()[numbers].reshape(-1, 2)
        pixels = np.concatenate([known[number] for number in numbers]).astype(np.float64)
        to_pixels, _ = cv2.findHomography(panel, pixels)
        if to_pixels is None:
            return None
        places = cell_places()[:, :, None] + _SAMPLES
        return cv2.perspectiveTransform(places.reshape(-1, 1, 2), to_pixels).reshape(places.shape).astype(np.float32)

    def _levels(self, grey: np.ndarray, places_px: np.ndarray) -> np.ndarray:
        """Mean grey level (16, 2) of each cell."""
        flat = places_px.reshape(-1, _SAMPLES.shape[0], 2)
        sampled = cv2.remap(grey, flat[..., 0], flat[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        return sampled.mean(axis=1, dtype=np.float64).reshape(-1, 2)

    def _decode(self, levels: np.ndarray) -> CodeSeen | None:
        difference = levels[:, 0] - levels[:, 1]
        contrast = np.abs(difference).max()
        if contrast < self._settings.least_contrast:
            return None
        unsure = np.flatnonzero(np.abs(difference) < self._settings.unsure_share * contrast)
        word = sum(1 << bit for bit, level in enumerate(difference) if level > 0)
        if len(unsure) == 0:
            return CodeSeen(number) if (number := _number(word)) is not None else None
        if len(unsure) > 1:
            return None
        first, second = _number(word), _number(word ^ (1 << int(unsure[0])))
        if first is None or second is None or (first - second) % CODES not in (1, CODES - 1):
            return None
        return CodeSeen(first if (second - first) % CODES == 1 else second, changing=True)


def _number(word: int) -> int | None:
    """The number of a code with its check bits; None where they contradict each other."""
    code, check = word & (CODES - 1), word >> DATA_BITS & ((1 << CHECK_BITS) - 1)
    return from_gray(code) if check_of(code) == check else None
