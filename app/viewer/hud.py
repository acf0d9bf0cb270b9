"""The text line over the scene and the list of keys."""

import cv2
import numpy as np

from app.viewer import palette
from app.viewer.font import draw_text, text_width
from app.viewer.palette import bgr
from app.viewer.stats import Figures
from app.viewer.uncertainty import SCALE_MM, std_rgb

LINE_HEIGHT = 38
KEYS = (
    ("h", "this list"),
    ("space", "pause the view (the worker goes on)"),
    ("r", "reset the view, or begin and end a take"),
    ("k", "mark the take"),
    ("1 to 8", "look through that camera"),
    ("0", "back to the free view"),
    ("m", "hand mesh"),
    ("s", "skeleton"),
    ("u", "mesh by uncertainty, not skin"),
    ("c", "cloud of uncertainty"),
    ("f", "camera frusta"),
    ("i", "images"),
    ("q", "quit everything"),
)
_LIVE_ROW = 26


def text_line(
    width: int, title: str, figures: Figures, badges: list[tuple[str, np.ndarray]], estimator: str = ""
) -> np.ndarray:
    """The bar at the top (LINE_HEIGHT, width, 3), BGR: title, badges, rate, latency, cameras alive, dropped frames."""
    bar = np.empty((LINE_HEIGHT, width, 3), np.uint8)
    bar[:] = bgr(palette.BAR)
    middle = LINE_HEIGHT // 2
    x = 14
    x += draw_text(bar, title, x, middle, 17, palette.TEXT) + 14
    if estimator:
        x += draw_text(bar, estimator, x, middle + 1, 14, palette.QUIET) + 16
    for text, colour in badges:
        x += _badge(bar, text, x, colour) + 10
    right = width - 14
    right -= draw_text(bar, "h  help", right, middle + 1, 14, palette.QUIET, align=1.0) + 26
    all_alive = figures.cameras > 0 and figures.cameras_alive == figures.cameras
    groups = [
        [("dropped", None), (str(figures.dropped), palette.TEXT if figures.dropped == 0 else palette.WARNING)],
        [("cameras", None), (f"{figures.cameras_alive}/{figures.cameras}", palette.GOOD if all_alive else palette.BAD)],
        [
            ("latency p50", None),
            (_number(figures.latency_p50_ms), palette.TEXT),
            ("p99", None),
            (_number(figures.latency_p99_ms), palette.TEXT),
            ("ms", None),
        ],
        [(_number(figures.rate_hz, 1), palette.TEXT), ("poses/s", None)],
    ]
    for group in groups:
        sizes = [14 if colour is None else 16 for _, colour in group]
        if right - sum(text_width(text, size) + 6 for (text, _), size in zip(group, sizes, strict=True)) < x:
            break
        for (text, colour), size in reversed(list(zip(group, sizes, strict=True))):
            shade = palette.QUIET if colour is None else colour
            right -= draw_text(bar, text, right, middle + (size < 16), size, shade, align=1.0) + 6
        right -= 20
    return bar


def _number(value: float | None, decimals: int = 0) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"


def _badge(bar: np.ndarray, text: str, x: int, colour: np.ndarray) -> int:
    width = text_width(text, 14) + 20
    top, bottom = 8, LINE_HEIGHT - 9
    radius = (bottom - top) // 2
    for centre in (x + radius, x + width - radius):
        cv2.circle(bar, (centre, top + radius), radius, bgr(colour), cv2.FILLED, cv2.LINE_AA)
    cv2.rectangle(bar, (x + radius, top), (x + width - radius, top + 2 * radius), bgr(colour), cv2.FILLED)
    draw_text(bar, text, x + 10, LINE_HEIGHT // 2, 14, palette.BACKGROUND)
    return width


def help_card(states: dict[str, bool]) -> np.ndarray:
    """The list of keys, (height, width, 3) BGR. `states` says of a toggle's key whether it is on."""
    width = 396
    card = np.empty((_LIVE_ROW * len(KEYS) + 64, width, 3), np.uint8)
    card[:] = bgr(palette.BAR)
    cv2.rectangle(card, (0, 0), (width - 1, card.shape[0] - 1), bgr(palette.GRID), 1)
    draw_text(card, "Keys", 22, 26, 18, palette.TEXT)
    draw_text(card, "drag: turn · wheel: zoom · ctrl + drag: move", width - 22, 27, 12, palette.QUIET, align=1.0)
    for row, (key, meaning) in enumerate(KEYS):
        y = 62 + row * _LIVE_ROW
        draw_text(card, key, 22, y, 15, palette.WARNING)
        draw_text(card, meaning, 96, y, 15, palette.TEXT)
        if key in states:
            on = states[key]
            draw_text(card, "on" if on else "off", width - 22, y, 14, palette.GOOD if on else palette.QUIET, align=1.0)
    return card


def std_scale() -> np.ndarray:
    """What the colours of uncertainty mean, (height, width, 3) BGR."""
    card = np.empty((30, 308, 3), np.uint8)
    card[:] = bgr(palette.BAR)
    stds_m = np.geomspace(*SCALE_MM, 120) / 1e3
    card[10:20, 118:238] = (std_rgb(stds_m)[None, :, ::-1] * 255).astype(np.uint8)
    for text, x, align in (("joint std", 12, 0), (f"{SCALE_MM[0]:.0f} mm", 110, 1), (f"{SCALE_MM[1]:.0f} mm", 246, 0)):
        draw_text(card, text, x, 15, 13, palette.QUIET if x == 12 else palette.TEXT, align=align)
    return card
