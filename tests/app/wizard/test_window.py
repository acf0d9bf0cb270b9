"""The window of wizard, touch test and latency: what it shows is on the screen whole, from its first picture on."""

import os
import subprocess
import sys

import numpy as np
import pytest

from app.viewer.font import text_width, wrapped
from app.wizard.tile import CameraPanel, draw_tile
from tests.conftest import ROOT

_STARTS = 12
_SHOW_WHITE = """
import ctypes
import time
import numpy as np
from app.wizard.drawn_window import open_drawn_window

x11 = ctypes.CDLL("libX11.so.6")
x11.XOpenDisplay.restype = x11.XGetImage.restype = ctypes.c_void_p
x11.XGetPixel.restype = x11.XDefaultRootWindow.restype = ctypes.c_ulong
display = ctypes.c_void_p(x11.XOpenDisplay(None))
root = ctypes.c_ulong(x11.XDefaultRootWindow(display))

def pixel():
    image = ctypes.c_void_p(x11.XGetImage(display, root, 640, 360, 1, 1, ctypes.c_ulong(0xFFFFFF), 2))
    return x11.XGetPixel(image, 0, 0) & 0xFFFFFF

while pixel() != 0:  # until the window of the start before is gone
    time.sleep(0.05)
window = open_drawn_window("white")
white = np.full((720, 1280, 3), 255, np.uint8)
spent = time.process_time()
while pixel() != 0xFFFFFF and time.process_time() < spent + 2.0:
    window.show(white)
    window.pressed()
print(hex(pixel()))
"""


@pytest.mark.slow
def test_no_start_leaves_the_window_black(x_display: str) -> None:
    """Without a window manager, one in six did."""
    environment = {**os.environ, "DISPLAY": x_display}
    for start in range(_STARTS):
        done = subprocess.run(
            [sys.executable, "-c", _SHOW_WHITE], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.stdout == "0xffffff\n", f"start {start}: {done.stdout}{done.stderr}"


_TELL_KEYS = """
import subprocess
import numpy as np
from app.wizard.drawn_window import open_drawn_window

window, told = open_drawn_window("keys"), []
find = ["xdotool", "search", "--sync", "--onlyvisible", "--name", "^keys$"]
keys = ["Left", "Right", "Up", "Prior", "Insert", "Home", "c", "Q", "space"]
pressing = subprocess.Popen([*find, "windowfocus", "--sync", "key", *keys])
while " " not in told:
    window.show(np.zeros((720, 1280, 3), np.uint8))
    told += window.pressed()
pressing.wait()
print(told)
"""


def test_arrows_and_their_neighbours_are_not_taken_for_letters(x_display: str) -> None:
    """Arrow left ended the wizard, Insert calibrated, page up took a capture back."""
    done = subprocess.run(
        [sys.executable, "-c", _TELL_KEYS], cwd=ROOT, env={**os.environ, "DISPLAY": x_display}, capture_output=True,
        text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout == "['c', 'q', ' ']\n", done.stderr


_TELL_SIZES = """
import subprocess
import time
import numpy as np
from app.wizard.drawn_window import open_drawn_window

window = open_drawn_window("sizes")
for size in ((1180, 680), (1000, 600), (700, 420), (1280, 720)):
    find = ["xdotool", "search", "--sync", "--onlyvisible", "--name", "^sizes$"]
    subprocess.run([*find, "windowsize", *map(str, size)], check=True)
    spent = time.process_time()
    while window.size != (max(size[0], 960), max(size[1], 540)) and time.process_time() < spent + 4.0:
        window.show(np.zeros((*window.size[::-1], 3), np.uint8))
        window.pressed()
    print(*window.size)
"""


def test_a_window_that_was_made_larger_again_is_filled(x_display: str) -> None:
    """Its picture stayed as small as it had been once, amid white."""
    done = subprocess.run(
        [sys.executable, "-c", _TELL_SIZES], cwd=ROOT, env={**os.environ, "DISPLAY": x_display}, capture_output=True,
        text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["1180 680", "1000 600", "960 540", "1280 720"], done.stderr


def test_a_camera_that_does_not_come_says_all_of_it_in_its_tile() -> None:
    why = "camera `cam_1`: there is no /dev/video97. Plug the camera in, or give one that `usthand cameras` lists."
    for width in (200, 320, 640):
        lines = wrapped(f"{why} rtsp://{'x' * 200}", 12, width)
        assert "".join(lines).replace(" ", "") == f"{why} rtsp://{'x' * 200}".replace(" ", "")
        assert max(text_width(line, 12) for line in lines) <= width
    whole, cut = np.zeros((2, 214, 320, 3), np.uint8)
    for out, detail in ((whole, why), (cut, why.partition("or give")[0])):
        draw_tile(out, CameraPanel(camera_id="cam_1", state="failed", detail=detail), np.zeros(3), 0.0, (3, 4))
    assert not np.array_equal(whole, cut)
