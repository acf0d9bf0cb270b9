"""The panel on the screen whose code says when it was shown.

A number in Gray code, so that a picture that was exposed over a change has one bit between black and white, and either
reading is right. Each bit is a pair of cells, one the opposite of the other, so that neither exposure nor light
matters; four check bits vouch for the bits that change seldom. Four ArUco markers say where the panel lies.
F. Gray, "Pulse code communication", US patent 2,632,058, 1953.
"""

import cv2
import numpy as np

DATA_BITS, CHECK_BITS = 12, 4
CODES = 1 << DATA_BITS
_FAST_BITS = 4
"""The lowest, which no check bit covers: a check bit that changed with each code would be blurred with it."""
WIDTH, HEIGHT = 30, 18
"""Of the panel, in modules: the side of a marker's own cell."""
MARKER_MODULES = 6
MARKERS_AT = ((1, 1), (23, 1), (1, 11), (23, 11))
"""Left top corner of markers 0 to 3, modules."""
_COLUMNS, _ROWS = 4, 8
_LEFT, _TOP, _CELL_WIDTH, _CELL_HEIGHT = 8.0, 1.0, 3.5, 2.0
WHITE, BLACK = 220, 10
"""As bright as most cameras bear without blooming."""
DICTIONARY = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)


def gray(number: int) -> int:
    return number ^ (number >> 1)


def from_gray(code: int) -> int:
    number = 0
    while code:
        number ^= code
        code >>= 1
    return number


def check_of(code: int) -> int:
    """Four check bits of a Gray code's slow bits: a CRC with x^4 + x + 1, which starts at ones."""
    remainder = 0b1111
    for bit in range(DATA_BITS - 1, _FAST_BITS - 1, -1):
        high = (remainder >> 3) ^ ((code >> bit) & 1)
        remainder = ((remainder << 1) & 0b1111) ^ (0b0011 if high else 0)
    return remainder


def bits_of(number: int) -> np.ndarray:
    """(16,) bool: the code's bits, the fastest first, then its check bits."""
    code = gray(number % CODES)
    word = code | check_of(code) << DATA_BITS
    return np.array([(word >> bit) & 1 for bit in range(DATA_BITS + CHECK_BITS)], dtype=bool)


def cell_places() -> np.ndarray:
    """Middles (16, 2, 2) in modules of the pairs of cells: those that are white for a one, and for a zero."""
    column, row = np.meshgrid(np.arange(_COLUMNS), np.arange(_ROWS))
    x = _LEFT + (column.ravel() + 0.5) * _CELL_WIDTH
    y = _TOP + (row.ravel() + 0.5) * _CELL_HEIGHT
    return np.stack([x, y], axis=1).reshape(-1, 2, 2)


def marker_corners() -> np.ndarray:
    """Corners (4, 4, 2) of the markers in modules, in the order in which OpenCV finds them."""
    square = MARKER_MODULES * np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float64)
    return np.array(MARKERS_AT, dtype=np.float64)[:, None] + square


class Panel:
    """Draws the panel, `module_px` pixels for each module."""

    def __init__(self, module_px: int) -> None:
        self._module_px = module_px
        self._blank = np.full((HEIGHT * module_px, WIDTH * module_px), WHITE, np.uint8)
        side = MARKER_MODULES * module_px
        for number, (x, y) in enumerate(MARKERS_AT):
            marker = cv2.aruco.generateImageMarker(DICTIONARY, number, side)
            place = self._blank[y * module_px : y * module_px + side, x * module_px : x * module_px + side]
            place[:] = np.where(marker > 127, WHITE, BLACK)

    def draw(self, number: int) -> np.ndarray:
        """The panel (HEIGHT * module_px, WIDTH * module_px) uint8 with the code of a number."""
        picture = self._blank.copy()
        half = np.array([_CELL_WIDTH, _CELL_HEIGHT]) / 2
        for bit, pair in zip(bits_of(number), cell_places(), strict=True):
            for place, white in zip(pair, (bit, not bit), strict=True):
                left, top = np.round((place - half) * self._module_px).astype(int)
                right, bottom = np.round((place + half) * self._module_px).astype(int)
                picture[top:bottom, left:right] = WHITE if white else BLACK
        return picture
