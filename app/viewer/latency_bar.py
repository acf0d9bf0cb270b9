"""Where the time goes from the first grab to the drawn picture, as one bar."""

from collections.abc import Mapping

import numpy as np

from app.viewer import palette
from app.viewer.sheet import Sheet

_WIDTH, _LEFT, _COLUMNS, _ROW = 408, 12, 3, 17
_NAMES = {"wait_for_slowest": "wait", "transport": "assembly", "stpt": "STPT", "stage1": "stage 1"}
_SMALLEST_MS = 0.05


def latency_bar(stages_ms: Mapping[str, float], scale: float) -> Sheet:
    """Medians of the stages, in the order of the way, as pieces of a bar with their names and milliseconds below.

    `wait` is that for the slowest camera, `assembly` transport and the closing of the set, `draw` from the published
    pose to the drawn picture.
    """
    shown = {name: ms for name, ms in stages_ms.items() if name != "own" and ms >= _SMALLEST_MS}
    rows = -(-len(shown) // _COLUMNS)
    sheet = Sheet(_WIDTH, 46 + _ROW * rows, scale)
    total_ms = sum(shown.values())
    sheet.text("latency by stage, medians", _LEFT, 14, 13, palette.QUIET)
    sheet.text(f"{total_ms:.0f} ms", _WIDTH - _LEFT, 14, 15, palette.TEXT, align=1)
    x, full = float(_LEFT), _WIDTH - 2 * _LEFT
    for number, (name, ms) in enumerate(shown.items()):
        colour = _colour(number)
        wide = full * ms / total_ms
        sheet.box(x, 27, x + max(wide - 1, 1), 37, colour)
        x += wide
        left, y = _LEFT + full / _COLUMNS * (number % _COLUMNS), 50 + _ROW * (number // _COLUMNS)
        sheet.box(left, y - 4, left + 8, y + 4, colour)
        width = sheet.text(_NAMES.get(name, name), left + 13, y, 13, palette.QUIET)
        sheet.text(f"{ms:.1f}", left + 19 + width, y, 13, palette.TEXT)
    return sheet


def _colour(number: int) -> np.ndarray:
    colours = [*palette.FINGERS, palette.HANDS["left"], palette.FRUSTUM]
    return colours[number % len(colours)]
