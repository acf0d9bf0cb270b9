"""Reads a live `cv2.VideoCapture` in a thread and keeps its newest frame.

A thread, for two reasons: `grab` of OpenCV blocks for as long as the driver pleases (10 s on V4L2), and a network
stream that is not read continuously queues up, so that every later frame would be old. The thread owns the capture
from opening to release: where the driver blocks while it is closed, the thread ends and releases by itself later.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from app.sources.source import FrameCorrupt, Mode, SourceError, SourceLost, SourceTimeout, Stamp

log = logging.getLogger(__name__)

_JOIN_S = 1.0
# An older time is of another clock.
_OLDEST_NS = 1_000_000_000


@dataclass
class _Grabbed:
    stamp: Stamp
    pixels: np.ndarray
    decoded: bool


class LatestFrame:
    """The newest frame of a capture that `open_capture` opens, in the reader's thread.

    `name` is how errors call the device. Sequences count its grabs from `first_sequence`, so that a frame which was
    replaced before anyone took it shows as a gap. Three buffers go round: one being written, the newest, the one taken.
    """

    def __init__(
        self, name: str, open_capture: Callable[[], tuple[cv2.VideoCapture, Mode]], first_sequence: int
    ) -> None:
        self._name = name
        self._open_capture = open_capture
        self.next_sequence = first_sequence
        self._changed = threading.Condition()
        self._stopping = False
        self._mode: Mode | None = None
        self._failure: BaseException | None = None
        self._ended = False
        self._free: list[np.ndarray] = []
        self._newest: _Grabbed | None = None
        self._taken: _Grabbed | None = None
        self._thread = threading.Thread(target=self._run, name=f"read {name}", daemon=True)

    def start(self) -> Mode:
        """Open the capture and start to read. Raises SourceError."""
        self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._mode is not None or self._ended)
        if self._mode is None:
            self._thread.join()
            if isinstance(self._failure, SourceError):
                raise self._failure
            raise SourceError(f"{self._name} could not be opened: {self._failure}. Check the device and try again.")
        return self._mode

    def take(self, timeout_s: float) -> Stamp:
        """Wait for a frame newer than the one taken last. Raises SourceTimeout and SourceLost."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._ended, timeout_s)
            if self._newest is None:
                if self._ended:
                    raise SourceLost(str(self._failure or f"{self._name} stopped delivering"))
                raise SourceTimeout(f"{self._name}: no frame in {timeout_s:.3g} s")
            if self._taken is not None:
                self._free.append(self._taken.pixels)
            self._taken, self._newest = self._newest, None
            return self._taken.stamp

    def copy_taken(self, out: np.ndarray) -> None:
        """Copy the frame taken last (H, W, 3) into `out`. Raises FrameCorrupt."""
        if self._taken is None:
            raise FrameCorrupt(f"{self._name}: no frame was grabbed")
        if not self._taken.decoded:
            raise FrameCorrupt(f"{self._name}: frame {self._taken.stamp.sequence} could not be decoded")
        np.copyto(out, self._taken.pixels)

    def close(self) -> None:
        with self._changed:
            self._stopping = True
        self._thread.join(_JOIN_S)
        if self._thread.is_alive():
            log.warning("%s: the driver still blocks; its thread releases the device when it returns", self._name)

    def _run(self) -> None:
        capture = None
        try:
            capture, mode = self._open_capture()
            self._free = [np.empty((mode.height, mode.width, 3), np.uint8) for _ in range(3)]
            with self._changed:
                self._mode = mode
                self._changed.notify_all()
            while not self._stopping:
                self._read(capture)
        except Exception as error:  # handed to the caller's thread
            self._failure = error
        finally:
            if capture is not None:
                capture.release()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _read(self, capture: cv2.VideoCapture) -> None:
        if not capture.grab():
            raise SourceLost(f"{self._name} stopped delivering: unplugged, or the stream ended")
        now_ns = time.monotonic_ns()
        with self._changed:
            pixels = self._free.pop()
        decoded, image = capture.retrieve(pixels)
        if decoded and image is not pixels:
            # OpenCV writes in place where size and type fit, else it makes an array of its own.
            if image.shape != pixels.shape:
                raise SourceLost(f"{self._name}: its images changed from {pixels.shape[1::-1]} to {image.shape[1::-1]}")
            np.copyto(pixels, image)
        with self._changed:
            if self._newest is not None:
                self._free.append(self._newest.pixels)
            stamp = Stamp(
                sequence=self.next_sequence, capture_time_ns=_taken_at_ns(capture, now_ns), grab_time_ns=now_ns
            )
            self._newest = _Grabbed(stamp, pixels, decoded)
            self.next_sequence += 1
            self._changed.notify_all()


def _taken_at_ns(capture: cv2.VideoCapture, now_ns: int) -> int:
    """The driver's own time of the frame that was grabbed, where it has one on the monotonic clock; else now."""
    driver_ns = round(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
    return driver_ns if 0 <= now_ns - driver_ns < _OLDEST_NS else now_ns
