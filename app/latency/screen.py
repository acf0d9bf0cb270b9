"""The latency measurement's picture: the panel, and beside it what each camera sees of it."""

import contextlib
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from app.latency.panel import HEIGHT, WIDTH, Panel
from app.viewer import palette
from app.viewer.font import draw_text
from app.viewer.palette import bgr

_SIDE, _GAP, _HEAD = 300, 16, 60
_QUERY_S = 5.0
KEYS = "q  finish"


@dataclass(frozen=True, kw_only=True)
class CameraProgress:
    """`visible`: the panel's markers are found. `pictures` whose code was read; the delay so far, if one is known."""

    visible: bool
    pictures: int
    mean_ms: float | None


class LatencyScreen:
    """Draws pictures of one size, the still part once."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        width, height = size
        room = width - _SIDE - 2 * _GAP, height - _HEAD - _GAP
        self._panel = Panel(max(2, min(room[0] // WIDTH, room[1] // HEIGHT)))
        self._canvas = np.empty((height, width, 3), np.uint8)
        self._canvas[:] = bgr(palette.BACKGROUND)

    def write(self, cameras: Mapping[str, CameraProgress], left_s: float | None) -> None:
        """Bring the words to now, for the pictures to come."""
        canvas = self._canvas
        canvas[:] = bgr(palette.BACKGROUND)
        draw_text(canvas, "Point every camera at this panel, and hold all still", _GAP, 24, 20, palette.TEXT)
        told = "waiting for a camera to see it" if left_s is None else f"{max(0.0, left_s):.0f} s left"
        draw_text(canvas, f"{told}     {KEYS}", _GAP, 48, 13, palette.QUIET)
        left = canvas.shape[1] - _SIDE
        for number, (camera_id, progress) in enumerate(cameras.items()):
            y = _HEAD + 16 + 54 * number
            colour = palette.GOOD if progress.visible else palette.WARNING
            cv2.circle(canvas, (left + 8, y), 6, bgr(colour), cv2.FILLED, cv2.LINE_AA)
            draw_text(canvas, camera_id, left + 24, y, 16, palette.TEXT)
            mean = "" if progress.mean_ms is None else f", {progress.mean_ms:.1f} ms"
            seen = f"{progress.pictures} pictures{mean}" if progress.visible else "does not see the panel"
            draw_text(canvas, seen, left + 24, y + 22, 13, palette.QUIET)

    def picture(self, number: int) -> np.ndarray:
        """With the code of a number (height, width, 3) BGR; the next one takes its place."""
        panel = self._panel.draw(number)
        self._canvas[_HEAD : _HEAD + panel.shape[0], _GAP : _GAP + panel.shape[1]] = panel[..., None]
        return self._canvas


def display_period_ms() -> float | None:
    """Of the slowest display that is on, as xrandr tells, for the window may be on any; None where it does not."""
    program = shutil.which("xrandr")
    if program is None:
        return None
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        told = subprocess.run(
            [program, "--current"], capture_output=True, text=True, timeout=_QUERY_S, check=False
        ).stdout
        rates = [float(rate) for rate in re.findall(r"(\d+\.\d+)\*", told)]
        if rates and 10 < min(rates) < 1000:
            return 1e3 / min(rates)
    return None
