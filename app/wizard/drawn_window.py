"""Opens a window that the X server draws, which it is asked about on a connection of its own."""

import contextlib
import ctypes
import time

import numpy as np

from app.wizard.window import WizardWindow

_TRIES, _TRY_S = 8, 0.4
_Z_PIXMAP = 2
_WHITE = 0xFFFFFF
_WINDOW_MANAGER = b"_NET_SUPPORTING_WM_CHECK"


class DrawnCheck:
    """Without X11, nothing is asked."""

    def __init__(self) -> None:
        self._display = None
        with contextlib.suppress(OSError):
            self._x11 = ctypes.CDLL("libX11.so.6")
            for name in ("XOpenDisplay", "XGetImage"):
                getattr(self._x11, name).restype = ctypes.c_void_p
            for name in ("XGetPixel", "XInternAtom", "XDefaultRootWindow"):
                getattr(self._x11, name).restype = ctypes.c_ulong
            display = self._x11.XOpenDisplay(None)
            self._display = ctypes.c_void_p(display) if display else None

    def wait(self) -> None:
        """Until the server has drawn what other connections sent before: it serves them in turn, so that after two
        answers here what was waiting on another one is done."""
        if self._display is not None:
            for _ in range(2):
                self._x11.XSync(self._display, 0)

    @property
    def trusts_window(self) -> bool:
        """Whether a window manager is there, with which a window is always drawn; or nobody can be asked."""
        if self._display is None:
            return True
        atom = ctypes.c_ulong(self._x11.XInternAtom(self._display, _WINDOW_MANAGER, 0))
        kind, size, count, after = ctypes.c_ulong(), ctypes.c_int(), ctypes.c_ulong(), ctypes.c_ulong()
        value = ctypes.c_void_p()
        root = ctypes.c_ulong(self._x11.XDefaultRootWindow(self._display))
        told = (ctypes.byref(each) for each in (kind, size, count, after, value))
        one, anything = ctypes.c_long(1), ctypes.c_ulong(0)
        self._x11.XGetWindowProperty(self._display, root, atom, ctypes.c_long(0), one, 0, anything, *told)
        if value:
            self._x11.XFree(value)
        return kind.value != 0

    def is_white(self, x: int, y: int) -> bool:
        """Whether this pixel of the screen is."""
        root = ctypes.c_ulong(self._x11.XDefaultRootWindow(self._display))
        image = self._x11.XGetImage(self._display, root, x, y, 1, 1, ctypes.c_ulong(_WHITE), _Z_PIXMAP)
        if not image:
            return False
        pixel = self._x11.XGetPixel(ctypes.c_void_p(image), 0, 0)
        self._x11.XDestroyImage(ctypes.c_void_p(image))
        return pixel & _WHITE == _WHITE

    def close(self) -> None:
        if self._display is not None:
            self._x11.XCloseDisplay(self._display)
            self._display = None


def open_drawn_window(title: str) -> WizardWindow:
    """A window that is on the screen. Without a window manager, Qt's stays black in one of six: it is opened again."""
    drawn = DrawnCheck()
    try:
        return _open_until_drawn(title, drawn)
    finally:
        drawn.close()


def _open_until_drawn(title: str, drawn: DrawnCheck) -> WizardWindow:
    for left in reversed(range(_TRIES)):
        window = WizardWindow(title)
        if drawn.trusts_window:
            break
        width, height = window.size
        white = np.full((height, width, 3), 255, np.uint8)
        end = time.monotonic() + _TRY_S
        while time.monotonic() < end:
            window.show(white)
            window.pressed()
            if drawn.is_white(width // 2, height // 2):
                return window
        if left:
            window.close()
    return window
