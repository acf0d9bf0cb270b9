"""Where the LED is in a camera's pictures, by its blinking; how bright it is in each."""

import cv2
import numpy as np

from app.latency.blinking import Blinking

_WIDTH = 320
_COLLECTED = 90
_PLACES = 40


class LedSpot:
    """Of one camera. Pictures are made small, such that an LED of a few pixels still shows."""

    def __init__(self, blinking: Blinking) -> None:
        self._blinking = blinking
        self._small: list[np.ndarray] = []
        self._place: tuple[int, int] | None = None
        self._grabs_ns: list[int] = []
        self._levels: list[float] = []

    @property
    def found(self) -> bool:
        return self._place is not None

    @property
    def pictures(self) -> tuple[np.ndarray, np.ndarray]:
        """When they were grabbed (N,), and the LED's grey level (N,); empty until it is found."""
        return np.array(self._grabs_ns, np.int64), np.array(self._levels)

    @property
    def count(self) -> int:
        """Pictures with a grey level."""
        return len(self._levels)

    def take(self, pixels: np.ndarray, grab_ns: int) -> None:
        """The next picture (H, W, 3) BGR."""
        grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
        height, width = grey.shape
        if width > _WIDTH:
            grey = cv2.resize(grey, (_WIDTH, max(1, height * _WIDTH // width)), interpolation=cv2.INTER_AREA)
        self._grabs_ns.append(grab_ns)
        if self._place is not None:
            self._levels.append(float(grey[self._place]))
            return
        self._small.append(grey)
        if len(self._small) >= _COLLECTED:
            self._find()

    def _find(self) -> None:
        """The place that changes as the LED does; of several, the one that fits it best."""
        pictures = np.stack(self._small)
        settings = self._blinking.settings
        spread = np.std(pictures, axis=0, dtype=np.float32)
        places = np.argsort(spread, axis=None)[::-1][:_PLACES]
        levels = pictures.reshape(len(pictures), -1)[:, places].astype(np.float64)
        _, fit, place = self._blinking.best_fit(np.array(self._grabs_ns, np.int64), levels)
        if abs(fit) < settings.least_fit or np.ptp(levels[:, place]) < settings.least_contrast:
            half = _COLLECTED // 2
            self._small, self._grabs_ns = self._small[half:], self._grabs_ns[half:]
            return
        row, column = np.unravel_index(places[place], spread.shape)
        self._place = int(row), int(column)
        self._levels = levels[:, place].tolist()
        self._small = []
