"""Frames of a video file by number, also where the file is damaged."""

from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from app.sources.lossless_frame import LosslessFrames
from app.sources.source import SourceError

# How many reads in a row may fail before the file counts as over; a damaged packet fails one.
_PATIENCE = 32
# No packet is smaller, in bytes: a header that claims more frames than so many is wrong.
_LEAST_PACKET = 8
# A frame that lies no further on is read to, as quickly as it is jumped to.
_READ_ON = 16
_FFV1 = (cv2.VideoWriter.fourcc(*"FFV1"), cv2.VideoWriter.fourcc(*"ffv1"))


class VideoFrames:
    """Reads a video in order and tells each frame's number, so that damage does not shift what follows.

    `frames` is how many it should have, where that is known: by it, and by the time stamps in the file, a frame that
    cannot be decoded is told from a camera that paused. Raises SourceError where it is missing or no video.
    """

    def __init__(self, path: Path, frames: int | None = None) -> None:
        self._path = path
        self._frames = frames
        if not path.is_file():
            raise SourceError(f"{path}: no such video. Give the path of an existing file.")
        self._capture = _open(path)
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceError(f"{path}: cannot be read as a video. Check that the file is whole, or record it again.")
        self.width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        self.fps = self._capture.get(cv2.CAP_PROP_FPS)
        self._most = path.stat().st_size // _LEAST_PACKET
        self._number = -1
        self._pts = -1
        self._first_pts: int | None = None
        self._checked = False
        self._lossless: LosslessFrames | None = None

    def grab(self) -> int | None:
        """Go to the next frame that can be decoded and give its number, from 0; None at the end."""
        remaining = min(self._capture.get(cv2.CAP_PROP_FRAME_COUNT), self._most) - self._number
        failures = 0
        # After a damaged packet OpenCV's `grab` says False, as at the end, but the next one may succeed.
        while not self._capture.grab():
            failures += 1
            if failures > max(remaining, 0) + _PATIENCE:
                return None
        pts = round(self._capture.get(cv2.CAP_PROP_PTS))
        if (failures or pts != self._pts + 1) and not self._checked:
            self._checked = True
            self._first_pts = self._scanned_first_pts
        self._number += 1
        if self._first_pts is not None:
            self._number = max(self._number, pts - self._first_pts)
        self._pts = pts
        return self._number

    def seek(self, number: int) -> bool:
        """Go to a frame by its number: the very one that reading on or from the start gives, found by way of the key
        frame before it. False where it cannot be decoded."""
        if not 0 <= number - self._number <= _READ_ON and not self._jump(number):
            self._begin_again()
        while self._number < number:
            if self.grab() is None:
                return False
        return self._number == number

    def picture_at(self, number: int) -> np.ndarray | None:
        """The frame of a number (H, W, 3) BGR; None of one that cannot be decoded."""
        if self._capture.get(cv2.CAP_PROP_FOURCC) in _FFV1 and self._even_first == 0:
            if self._lossless is None:
                self._lossless = LosslessFrames(self._path)
            if (picture := self._lossless.picture(number)) is not None:
                return picture
        picture = np.empty((self.height, self.width, 3), np.uint8)
        return picture if self.seek(number) and self.retrieve(picture) else None

    def _jump(self, number: int) -> bool:
        """Before or onto a frame, where frames lie evenly in the file; whether that was possible."""
        if self._even_first is None:
            return number > self._number
        self._first_pts = self._even_first
        self._checked = True
        self._capture.set(cv2.CAP_PROP_POS_FRAMES, number)
        self._number = -1
        return self.grab() is not None and self._number <= number

    @cached_property
    def _scanned_first_pts(self) -> int | None:
        return _first_of_even_pts(self._path, self._frames)

    @cached_property
    def _even_first(self) -> int | None:
        """The first presentation time, where a frame's number follows from its own; else None."""
        if self._path.suffix != ".mkv" or round(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)) != self._frames:
            return self._scanned_first_pts
        # There OpenCV counts by the duration and the rate, so that no gap hides between.
        probe = _open(self._path)
        try:
            return round(probe.get(cv2.CAP_PROP_PTS)) if probe.grab() else None
        finally:
            probe.release()

    def _begin_again(self) -> None:
        self._capture.release()
        self._capture = _open(self._path)
        self._number = self._pts = -1

    def retrieve(self, out: np.ndarray) -> bool:
        """Decode the frame into `out` (H, W, 3) BGR uint8; False where that fails."""
        decoded, image = self._capture.retrieve(out)
        if decoded and image is not out:
            if image.shape != out.shape:
                return False
            np.copyto(out, image)
        return decoded

    def close(self) -> None:
        self._capture.release()


def _open(path: Path) -> cv2.VideoCapture:
    return cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])


def _first_of_even_pts(path: Path, frames: int | None) -> int | None:
    """The first presentation time in frame periods, where `frames` frames lie evenly from it to the last; else None.

    Reads the packets without decoding them.
    """
    if frames is None:
        return None
    capture = _open(path)
    try:
        capture.set(cv2.CAP_PROP_FORMAT, -1)
        times, failures = [], 0
        while failures <= _PATIENCE:
            if capture.grab():
                times.append(round(capture.get(cv2.CAP_PROP_PTS)))
            else:
                failures += 1
    finally:
        capture.release()
    if not times or max(times) - min(times) + 1 != frames:
        return None
    return min(times)
