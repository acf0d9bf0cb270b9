"""A simulated camera that films a virtual screen and delivers each picture a known time later.

For trying `usthand latency`, and for its tests: the delay that it finds is to be the one that was set.
"""

import mmap
import struct
import threading
import time
from collections import deque
from pathlib import Path

import cv2
import numpy as np

from app.sources.source import FrameCorrupt, Mode, SourceError, SourceLost, SourceTimeout, Stamp
from calibration.camera_source import SimulatedSource
from calibration.found_files import open_found
from calibration.rig import RigCamera

_HEADER = struct.Struct(">25I")
_HEADER_FIELDS = (
    "header_size", "version", "format", "depth", "width", "height", "x_offset", "byte_order", "unit", "bit_order",
    "pad", "bits_per_pixel", "bytes_per_line", "visual", "red", "green", "blue", "bits_per_rgb", "entries", "colours",
    "window_width", "window_height", "window_x", "window_y", "border",
)  # fmt: skip
_XWD_VERSION, _TALLEST = 7, 1 << 14
_WAITING = 64
_TRIES = 5
_QUICK_NS = 3_000_000
# Where the screen's corners lie in the picture, as parts of its size: seen a little from the side.
_CORNERS = np.array([[0.06, 0.10], [0.95, 0.05], [0.93, 0.92], [0.08, 0.95]], np.float32)


class VirtualScreen:
    """The picture that `Xvfb -fbdir` keeps in a file, in the format of xwd.

    https://gitlab.freedesktop.org/xorg/proto/xorgproto/-/blob/master/include/X11/XWDFile.h

    Raises SourceError where the file is none of 32 bits a pixel.
    """

    def __init__(self, path: str) -> None:
        try:
            with open_found(Path(path)) as file:
                self._map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        except (OSError, ValueError) as error:
            raise SourceError(f"{path}: no virtual screen ({error}). Start `Xvfb :9 -fbdir DIR`.") from None
        if len(self._map) < _HEADER.size:
            raise SourceError(f"{path}: too short for a virtual screen. Start `Xvfb :9 -fbdir DIR`.")
        header = dict(zip(_HEADER_FIELDS, _HEADER.unpack(self._map[: _HEADER.size]), strict=True))
        width, height, row = header["width"], header["height"], header["bytes_per_line"]
        offset = header["header_size"] + 12 * header["colours"]
        if header["version"] != _XWD_VERSION or header["bits_per_pixel"] != 32:
            raise SourceError(
                f"{path}: no virtual screen of 32 bits a pixel. Start `Xvfb :9 -fbdir DIR -screen 0 1280x720x24`."
            )
        if not (0 < width <= row // 4 and 0 < height <= _TALLEST and len(self._map) >= offset + row * height):
            raise SourceError(f"{path}: a virtual screen of {width}x{height} does not fit into this file.")
        pixels = np.frombuffer(self._map, np.uint8, row * height, offset)
        self._pixels = pixels.reshape(height, row // 4, 4)[:, :width, :3]

    def picture(self) -> tuple[np.ndarray, int]:
        """The screen (height, width, 3) BGR, and when: the middle of the shortest of some tries to copy it."""
        best: tuple[int, int, np.ndarray] | None = None
        for _ in range(_TRIES):
            before_ns = time.monotonic_ns()
            pixels = self._pixels.copy()
            after_ns = time.monotonic_ns()
            if best is None or after_ns - before_ns < best[0]:
                best = after_ns - before_ns, (before_ns + after_ns) // 2, pixels
            if best[0] < _QUICK_NS:
                break
        assert best is not None
        return best[2], best[1]


class ScreenCapture:
    """Films at the source's `fps`; a picture is stamped as grabbed `screen_delay_ms` after it was taken."""

    def __init__(self, camera: RigCamera) -> None:
        assert isinstance(camera.source, SimulatedSource) and camera.source.screen is not None
        self._label = f"camera `{camera.camera_id}`"
        self._size = camera.source_size
        self._fps = camera.source.fps
        self._delay_ns = round(camera.source.screen_delay_ms * 1e6)
        if not (0 < self._fps <= 1000 and 0 <= camera.source.screen_delay_ms <= 5000):
            raise SourceError(f"{self._label}: set fps from 1 to 1000 and screen_delay_ms from 0 to 5000.")
        self._path = camera.source.screen
        self._phase_ns = round(camera.source.phase_ms * 1e6)
        self._taken: deque[tuple[int, np.ndarray]] = deque(maxlen=_WAITING)
        self._came = threading.Condition()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._picture: np.ndarray | None = None
        self._sequence = -1

    def open(self) -> Mode:
        self.close()
        screen = VirtualScreen(self._path)
        self._stop.clear()
        self._thread = threading.Thread(target=self._film, args=(screen,), daemon=True)
        self._thread.start()
        width, height = self._size
        return Mode(width, height, self._fps, f"simulated: films the screen, {width}x{height} at {self._fps:g} fps")

    def _film(self, screen: VirtualScreen) -> None:
        period_ns = 1e9 / self._fps
        while not self._stop.is_set():
            due = np.floor((time.monotonic_ns() - self._phase_ns) / period_ns) + 1
            self._stop.wait(max(0.0, (due * period_ns + self._phase_ns - time.monotonic_ns()) / 1e9))
            pixels, taken_ns = screen.picture()
            with self._came:
                self._taken.append((taken_ns + self._delay_ns, pixels))
                self._came.notify()

    def grab(self, timeout_s: float) -> Stamp:
        if self._thread is None:
            raise SourceLost(f"{self._label} is not open")
        end = time.monotonic() + timeout_s
        with self._came:
            while not self._taken:
                if not self._came.wait(max(0.0, end - time.monotonic())):
                    raise SourceTimeout(f"{self._label}: no frame in {timeout_s:.3g} s")
            due_ns = self._taken[0][0]
            if due_ns / 1e9 <= end:
                due_ns, self._picture = self._taken.popleft()
                self._sequence += 1
        left_s = due_ns / 1e9 - time.monotonic()
        if due_ns / 1e9 > end:
            time.sleep(max(0.0, end - time.monotonic()))
            raise SourceTimeout(f"{self._label}: no frame in {timeout_s:.3g} s")
        time.sleep(max(0.0, left_s))
        return Stamp(sequence=self._sequence, capture_time_ns=due_ns, grab_time_ns=due_ns)

    def retrieve(self, out: np.ndarray) -> None:
        if self._picture is None:
            raise FrameCorrupt(f"{self._label}: there is no picture")
        height, width = self._picture.shape[:2]
        screen_px = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32) - 0.5
        seen_px = _CORNERS * np.array(self._size, np.float32)
        warp = cv2.getPerspectiveTransform(screen_px, seen_px)
        cv2.warpPerspective(self._picture, warp, self._size, out, cv2.INTER_AREA, cv2.BORDER_CONSTANT, (50, 50, 50))

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(2.0)
            self._thread = None
        self._taken.clear()
        self._picture = None
