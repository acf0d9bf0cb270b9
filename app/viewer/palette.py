"""The colours of the viewer: red, green, blue in [0, 1], as displayed."""

from typing import Literal, get_args

import numpy as np

Theme = Literal["dark", "light"]
THEMES: tuple[Theme, ...] = get_args(Theme)


def _rgb(code: str) -> np.ndarray:
    return np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)]) / 255


BACKGROUND = _rgb("10141b")
BAR = _rgb("171d27")
SHADOW = _rgb("090c11")
GRID = _rgb("364355")
FRUSTUM = _rgb("8fa3bd")
TEXT = _rgb("e9eef5")
QUIET = _rgb("8d9bb0")
GOOD = _rgb("4cd38a")
WARNING = _rgb("ffb545")
BAD = _rgb("ff5d5d")
STALE = _rgb("6b7482")
ON_IMAGE = _rgb("e9eef5")
"""Text on cameras' images, in any theme."""

FINGERS = np.array([_rgb("ff6b5e"), _rgb("ffb545"), _rgb("5fdc84"), _rgb("46b4ff"), _rgb("c083ff")])
"""Thumb, index, middle, ring, little finger."""
HANDS = {"left": _rgb("45d0d8"), "right": _rgb("f4ead8")}
"""Wrist and palm."""
HANDS_ON_IMAGE = {side: colour.copy() for side, colour in HANDS.items()}
"""Letters on cameras' images, in any theme."""
SKIN, PALM, NAIL = _rgb("d69a78"), _rgb("e8b59b"), _rgb("eec3b2")
AXES = np.array([_rgb("f2545b"), _rgb("58c96b"), _rgb("4a8cff")])
SURE, UNSURE = _rgb("d8ecff"), _rgb("ff3b30")
"""Ends of the scale of confidence."""

_THEMED = {
    "BACKGROUND": (BACKGROUND, "eef1f5"),
    "BAR": (BAR, "dde3eb"),
    "SHADOW": (SHADOW, "c6ced9"),
    "GRID": (GRID, "a9b6c6"),
    "FRUSTUM": (FRUSTUM, "52667f"),
    "TEXT": (TEXT, "151c26"),
    "QUIET": (QUIET, "4f5d70"),
    "GOOD": (GOOD, "12824a"),
    "WARNING": (WARNING, "a85f00"),
    "BAD": (BAD, "c62828"),
    "STALE": (STALE, "8f99a6"),
    "left": (HANDS["left"], "0a8189"),
    "right": (HANDS["right"], "8a5a12"),
    "SURE": (SURE, "1f5fa8"),
}
_COLOURS = {"dark": {name: colour.copy() for name, (colour, _) in _THEMED.items()}}
_COLOURS["light"] = {name: _rgb(code) for name, (_, code) in _THEMED.items()}


def use(theme: Theme) -> None:
    """Give this process's window that theme: the colours above change in place."""
    for name, (colour, _) in _THEMED.items():
        colour[:] = _COLOURS[theme][name]


def bgr(colour: np.ndarray) -> tuple[float, float, float]:
    """A colour as OpenCV takes it: blue, green, red in 0 to 255."""
    red, green, blue = (float(value) * 255 for value in colour)
    return blue, green, red
