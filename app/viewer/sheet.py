"""A flat picture to draw text and shapes on, in units that grow with the window."""

import cv2
import numpy as np

from app.viewer import palette
from app.viewer.font import draw_text, text_width
from app.viewer.palette import bgr

_BADGE_TEXT = 14


class Sheet:
    """`pixels` (H, W, 3) BGR of so many units, each `scale` pixels; filled with the bars' colour."""

    def __init__(self, width: float, height: float, scale: float) -> None:
        self.scale = scale
        self.pixels = np.empty((max(1, round(height * scale)), max(1, round(width * scale)), 3), np.uint8)
        self.pixels[:] = bgr(palette.BAR)

    def text(self, text: str, x: float, middle_y: float, size: float, colour: np.ndarray, align: float = 0.0) -> float:
        """Draw a line of text; returns its width in units. `align` 0 puts its left end at `x`, 1 its right end."""
        place = round(x * self.scale), round(middle_y * self.scale)
        return draw_text(self.pixels, text, *place, size * self.scale, colour, align) / self.scale

    def text_width(self, text: str, size: float) -> float:
        return text_width(text, size * self.scale) / self.scale

    def box(self, left: float, top: float, right: float, bottom: float, colour: np.ndarray) -> None:
        (x0, y0), (x1, y1) = self._pixel(left, top), self._pixel(right, bottom)
        self.pixels[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = bgr(colour)

    def disc(self, x: float, y: float, radius: float, colour: np.ndarray) -> None:
        cv2.circle(self.pixels, self._pixel(x, y), round(radius * self.scale), bgr(colour), cv2.FILLED, cv2.LINE_AA)

    def triangle(self, left: float, right: float, middle_y: float, half: float, colour: np.ndarray) -> None:
        """One that points to the right."""
        corners = [self._pixel(left, middle_y - half), self._pixel(right, middle_y), self._pixel(left, middle_y + half)]
        cv2.fillConvexPoly(self.pixels, np.array(corners), bgr(colour), cv2.LINE_AA)

    def frame(self, colour: np.ndarray) -> None:
        """A thin line along the edge."""
        thick = max(1, round(self.scale))
        height, width = self.pixels.shape[:2]
        for part in (np.s_[:thick], np.s_[height - thick :], np.s_[:, :thick], np.s_[:, width - thick :]):
            self.pixels[part] = bgr(colour)

    def badge(self, text: str, x: float, middle_y: float, colour: np.ndarray, size: float = _BADGE_TEXT) -> float:
        """A pill with a text; returns its width."""
        width, radius = self.text_width(text, size) + 1.4 * size, 0.75 * size
        for centre in (x + radius, x + width - radius):
            self.disc(centre, middle_y, radius, colour)
        self.box(x + radius, middle_y - radius, x + width - radius, middle_y + radius, colour)
        self.text(text, x + 0.7 * size, middle_y, size, palette.BACKGROUND)
        return width

    def _pixel(self, x: float, y: float) -> tuple[int, int]:
        return round(x * self.scale), round(y * self.scale)


def scale_of(width: int, height: int) -> float:
    """How many pixels a unit has in a window of that size: 1 up to 1280x720, in quarters, so that letters stay readable
    on a screen with more pixels."""
    return max(1.0, round(4 * min(width / 1280, height / 720)) / 4)
