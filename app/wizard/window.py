"""The wizard's window, through OpenCV. The one place that opens it."""

import ctypes
import ctypes.util
import os
import sys

# Read by Qt, which OpenCV brings, when it starts: windows are opened on X, and its missing fonts, which are not used
# here, are no news.
os.environ.setdefault("QT_QPA_PLATFORM", "xcb")
os.environ.setdefault("QT_LOGGING_RULES", "*.warning=false;*.info=false")

import cv2
import numpy as np

from app.wizard.canvas import LEAST_SIZE
from calibration.errors import UserError

NO_SCREEN = "{} needs a screen, but {}. Set DISPLAY to one that you may use, or {}."
_CALIBRATE = "record the board and calibrate with `usthand calibrate --session DIR --board BOARD`"
_SIZE = (1280, 720)
_MORE_THAN_A_WINDOW = (4096, 2304)


def check_screen(what: str = "the wizard", instead: str = _CALIBRATE) -> None:
    """Raise UserError where no window can be opened, which Qt ends the process for: `what` needs it, and what can be
    done `instead`."""
    if not sys.platform.startswith("linux"):
        return
    display = os.environ.get("DISPLAY")
    if not display:
        raise UserError(NO_SCREEN.format(what, "DISPLAY is not set", instead))
    library = ctypes.util.find_library("X11")
    if library is None:
        return
    x11 = ctypes.CDLL(library)
    x11.XOpenDisplay.restype = ctypes.c_void_p
    handle = x11.XOpenDisplay(None)
    if not handle:
        raise UserError(NO_SCREEN.format(what, f"the display `{display}` does not answer", instead))
    x11.XCloseDisplay(ctypes.c_void_p(handle))


class WizardWindow:
    """A window that shows pictures of its own size and gives the keys pressed in it."""

    def __init__(self, title: str) -> None:
        self._title = title
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL)
        cv2.resizeWindow(title, *_SIZE)
        self._shown = False
        self._place: tuple[int, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height that a picture should have."""
        if not self._shown:
            return _SIZE
        _, _, width, height = cv2.getWindowImageRect(self._title)
        return max(width, LEAST_SIZE[0]), max(height, LEAST_SIZE[1])

    def show(self, picture: np.ndarray) -> None:
        if self._shown:
            place = tuple(cv2.getWindowImageRect(self._title)[:2])
            if self._place not in ((), place):
                # Qt puts a picture amid a window that grew, as large as before: a larger one shows how large that is.
                picture = cv2.resize(picture, _MORE_THAN_A_WINDOW)
            self._place = place
        cv2.imshow(self._title, picture)
        self._shown = True

    def pressed(self) -> list[str]:
        """The keys pressed since the last call; `q` too where the window was closed."""
        pressed = []
        while (code := cv2.waitKeyEx(1)) != -1:
            # A key that is no letter has X's code, whose last byte may be one: 0xff51, arrow left, ends in a Q.
            if (key := code & 0xFFFF) < 0x80:
                pressed.append(chr(key).lower())
        if self._shown and cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            pressed.append("q")
        return pressed

    def close(self) -> None:
        cv2.destroyAllWindows()
        cv2.waitKey(1)
