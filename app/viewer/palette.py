"""The colours of the viewer: red, green, blue in [0, 1], as displayed."""

import numpy as np


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

FINGERS = np.array([_rgb("ff6b5e"), _rgb("ffb545"), _rgb("5fdc84"), _rgb("46b4ff"), _rgb("c083ff")])
"""Thumb, index, middle, ring, little finger."""
HANDS = {"left": _rgb("45d0d8"), "right": _rgb("f4ead8")}
"""Wrist and palm."""
SKIN, PALM, NAIL = _rgb("d69a78"), _rgb("e8b59b"), _rgb("eec3b2")
AXES = np.array([_rgb("f2545b"), _rgb("58c96b"), _rgb("4a8cff")])
SURE, UNSURE = _rgb("d8ecff"), _rgb("ff3b30")
"""Ends of the scale of confidence."""


def bgr(colour: np.ndarray) -> tuple[float, float, float]:
    """A colour as OpenCV takes it: blue, green, red in 0 to 255."""
    red, green, blue = (float(value) * 255 for value in colour)
    return blue, green, red
