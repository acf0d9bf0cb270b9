"""Asks the X server, on a connection of its own, when it has drawn what it was sent."""

import contextlib
import ctypes


class DrawnCheck:
    """Without X11, nothing is asked."""

    def __init__(self) -> None:
        self._display = None
        with contextlib.suppress(OSError):
            self._x11 = ctypes.CDLL("libX11.so.6")
            self._x11.XOpenDisplay.restype = ctypes.c_void_p
            display = self._x11.XOpenDisplay(None)
            self._display = ctypes.c_void_p(display) if display else None

    def wait(self) -> None:
        """Until the server has drawn what other connections sent before: it serves them in turn, so that after two
        answers here what was waiting on another one is done."""
        if self._display is not None:
            for _ in range(2):
                self._x11.XSync(self._display, 0)

    def close(self) -> None:
        if self._display is not None:
            self._x11.XCloseDisplay(self._display)
            self._display = None
