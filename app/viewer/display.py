"""Prepares the process for an Open3D window, or for rendering without a screen.

Must run before the first window. Without a screen Open3D renders through EGL: on the graphics card where its driver
offers EGL, else in software with Mesa. Nothing is started and nothing is left behind.
"""

import ctypes
import os
import sys
import tempfile
import time
from pathlib import Path

from calibration.errors import UserError

_TRIES = 5
NO_WINDOW = (
    "the viewer's window could not be opened on the display `{}`. "
    "Check that it is running and that you may use it, or render to a file with --headless OUT.mp4."
)
NO_EGL = (
    "rendering without a screen failed: no EGL device gave an OpenGL context. "
    "Install Mesa's software renderer: apt-get install libegl1 libgl1-mesa-dri"
)


def check_screen() -> None:
    """Raise UserError where there is no X display to open windows on."""
    if not sys.platform.startswith("linux"):
        return
    if not os.environ.get("DISPLAY"):
        wayland = "; only Wayland is there, which needs XWayland" if os.environ.get("WAYLAND_DISPLAY") else ""
        raise UserError(
            f"there is no screen to open the viewer on (DISPLAY is not set{wayland}). "
            "Set DISPLAY, or render to a file with --headless OUT.mp4, or run with --no-viewer."
        )
    if not _display_answers():
        raise UserError(NO_WINDOW.format(os.environ["DISPLAY"]))


def prepare_screen() -> None:
    """Have windows opened on the X display. Raises UserError where there is none."""
    _quieten()
    check_screen()
    if not sys.platform.startswith("linux"):
        return
    if not any(os.access(node, os.R_OK | os.W_OK) for node in Path("/dev/dri").glob("renderD*")):
        # Open3D asks for four samples a pixel. Where Mesa draws in software they cost two thirds of each redraw.
        os.environ.setdefault("DRI_NO_MSAA", "1")
    # Open3D's windows need X11: on a Wayland desktop they go through XWayland.
    os.environ["XDG_SESSION_TYPE"] = "x11"
    os.environ.pop("WAYLAND_DISPLAY", None)


def _display_answers() -> bool:
    """Asked before Open3D is, which would silently draw into memory instead."""
    try:
        x11 = ctypes.CDLL("libX11.so.6")
    except OSError:
        return True
    x11.XOpenDisplay.restype = ctypes.c_void_p
    for _ in range(_TRIES):
        display = x11.XOpenDisplay(None)
        if display:
            x11.XCloseDisplay(ctypes.c_void_p(display))
            return True
        # A server that starts anew when its last client has left refuses for a moment.
        time.sleep(0.1)
    return False


def prepare_no_screen() -> None:
    """Have Open3D render through EGL, even where there is a screen."""
    _quieten()
    os.environ.pop("DISPLAY", None)
    os.environ.pop("WAYLAND_DISPLAY", None)


def _quieten() -> None:
    # Mesa complains on standard error where it is not set.
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
