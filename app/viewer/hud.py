"""The text line over the scene, and what the colours of uncertainty mean."""

import numpy as np

from app.viewer import palette
from app.viewer.sheet import Sheet
from app.viewer.stats import Figures
from app.viewer.uncertainty import SCALE_MM, std_rgb

LINE_HEIGHT = 38


def text_line(
    width: float, scale: float, title: str, figures: Figures, badges: list[tuple[str, np.ndarray]], estimator: str = ""
) -> Sheet:
    """The bar at the top, LINE_HEIGHT high: title, badges, rate, latency, cameras alive, dropped frames."""
    bar = Sheet(width, LINE_HEIGHT, scale)
    middle = LINE_HEIGHT / 2
    x = 14.0
    x += bar.text(title, x, middle, 17, palette.TEXT) + 14
    if estimator:
        x += bar.text(estimator, x, middle + 1, 14, palette.QUIET) + 16
    for text, colour in badges:
        x += bar.badge(text, x, middle, colour) + 10
    right = width - 14
    right -= bar.text("h  help", right, middle + 1, 14, palette.QUIET, align=1) + 26
    all_alive = figures.cameras > 0 and figures.cameras_alive == figures.cameras
    groups = [
        [("dropped", None), (str(figures.dropped), palette.TEXT if figures.dropped == 0 else palette.WARNING)],
        [("cameras", None), (f"{figures.cameras_alive}/{figures.cameras}", palette.GOOD if all_alive else palette.BAD)],
        [
            ("latency p50", None),
            (figure(figures.latency_p50_ms), palette.TEXT),
            ("p99", None),
            (figure(figures.latency_p99_ms), palette.TEXT),
            ("ms", None),
        ],
        [(figure(figures.rate_hz, 1), palette.TEXT), ("poses/s", None)],
    ]
    if figures.photon_p50_ms is not None:
        groups.insert(2, [("photon to pose", None), (figure(figures.photon_p50_ms), palette.TEXT), ("ms", None)])
    for group in groups:
        sizes = [14 if colour is None else 16 for _, colour in group]
        if right - sum(bar.text_width(text, size) + 6 for (text, _), size in zip(group, sizes, strict=True)) < x:
            break
        for (text, colour), size in reversed(list(zip(group, sizes, strict=True))):
            shade = palette.QUIET if colour is None else colour
            right -= bar.text(text, right, middle + (size < 16), size, shade, align=1) + 6
        right -= 20
    return bar


def figure(value: float | None, decimals: int = 0) -> str:
    """A number as it is shown, a dash where there is none."""
    return "-" if value is None else f"{value:.{decimals}f}"


def std_scale(scale: float) -> Sheet:
    """What the colours of uncertainty mean."""
    card = Sheet(308, 30, scale)
    stds_m = np.geomspace(*SCALE_MM, 120) / 1e3
    for place, colour in enumerate(std_rgb(stds_m)):
        card.box(118 + place, 10, 119 + place, 20, colour)
    for text, x, align in (("joint std", 12, 0), (f"{SCALE_MM[0]:.0f} mm", 110, 1), (f"{SCALE_MM[1]:.0f} mm", 246, 0)):
        card.text(text, x, 15, 13, palette.QUIET if x == 12 else palette.TEXT, align=align)
    return card
