"""Drawings of the report: matplotlib figures without a window, as SVG text to put into a page."""

import io
import logging
import re
import string
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

INK, MUTED, LINE, PAPER = "#1d2733", "#66717e", "#d8dee5", "#ffffff"
GOOD, USABLE, POOR = "#1a7f4b", "#b26a00", "#c0362c"
FONTS = ["Inter", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "DejaVu Sans", "sans-serif"]
# Told apart also by the colour-blind (after M. Okabe and K. Ito, "Color universal design", 2008).
CAMERA_COLOURS = ("#0b6fb8", "#d1600a", "#0f8f6b", "#b8579a", "#7a5cc7", "#a67c00", "#3a9bd1", "#8a3b12")

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": FONTS,
    "font.size": 12,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 11.5,
    "axes.linewidth": 1,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
}


class Drawing:
    """One figure of `width` x `height` pixels; `svg` is its text once the `drawing` block has ended."""

    def __init__(self, width: float, height: float) -> None:
        # A point of the figure is a pixel of the page.
        self.figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        self.svg = ""

    def axes(self, left: float = 0.0, bottom: float = 0.0, right: float = 0.0, top: float = 0.0) -> Axes:
        """Axes that leave these margins, in pixels."""
        width, height = self.figure.get_size_inches() * 72
        return self.figure.add_axes(
            (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height)
        )


@contextmanager
def drawing(name: str, width: float, height: float, description: str) -> Iterator[Drawing]:
    """Draw into the yielded figure. `name` keeps ids apart in one page, `description` is for those who cannot see."""
    # Fonts that are not installed here may be where the page is read.
    with mpl.rc_context(_STYLE), _quiet_fonts():
        one = Drawing(width, height)
        yield one
        text = io.StringIO()
        with mpl.rc_context({"svg.hashsalt": name}):
            FigureCanvasSVG(one.figure).print_svg(
                text, metadata={"Date": None, "Creator": None, "Type": None, "Format": None}
            )
    one.svg = _for_page(text.getvalue(), name, width, height, description)


@contextmanager
def _quiet_fonts() -> Iterator[None]:
    log = logging.getLogger("matplotlib.font_manager")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            yield
    finally:
        log.setLevel(level)


def _for_page(svg: str, name: str, width: float, height: float, description: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = svg[svg.index(">") + 1 :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r">\s+<", "><", svg)
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{description}">{svg}'


def camera_colour(index: int) -> str:
    return CAMERA_COLOURS[index % len(CAMERA_COLOURS)]


def safe_name(text: str) -> str:
    """`text` as part of an id, another for another text."""
    return "".join(char if char in string.ascii_letters + string.digits + "_-" else f".{ord(char):x}." for char in text)


def text_room(text: str) -> float:
    """Pixels that a camera's name takes at most, nearly; letters beyond English have more bytes, and more room."""
    return 8.0 * len(text.encode())


def lines(axes: Axes, starts: np.ndarray, ends: np.ndarray, **style) -> None:
    """Line segments from (n, 2) to (n, 2) as one shape, which keeps a page of thousands of them small."""
    if not len(starts):
        return
    vertices = np.stack([starts, ends], axis=1).reshape(-1, 2)
    codes = np.tile([Path.MOVETO, Path.LINETO], len(starts))
    axes.add_patch(PathPatch(Path(vertices, codes), fill=False, **style))


def dots(axes: Axes, points: np.ndarray, size: float, **style) -> None:
    """Round dots (n, 2) of `size` pixels, as one shape."""
    lines(axes, points, points + [1e-3, 0], linewidth=size, capstyle="round", **style)


def image_axes(drawn: Drawing, size: tuple[int, int], margin: float = 1.0) -> Axes:
    """Axes in pixels of an image (width, height), y down, with its frame."""
    axes = drawn.axes(margin, margin, margin, margin)
    axes.set_xlim(-0.5, size[0] - 0.5)
    axes.set_ylim(size[1] - 0.5, -0.5)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color("#b9c2cc")
    return axes
