"""Writes rendered pictures as H.264."""

import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import cast

import av
import numpy as np
from av.video.stream import VideoStream

from calibration.errors import UserError, WriteError, write_error

_CRF = "20"


class Mp4Writer:
    """An mp4 that appears under its name when it is whole: at the end, or when the block is left by an exception.

    Raises UserError where the file cannot be written.
    """

    def __init__(self, path: Path, width: int, height: int, rate_hz: float) -> None:
        self.path = Path(path)
        self._partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        if self.path.suffix.lower() != ".mp4":
            raise UserError(f"{self.path}: the viewer writes mp4 video. Give a name that ends in .mp4.")
        if not self.path.parent.is_dir():
            raise UserError(f"{self.path}: there is no directory {self.path.parent}. Make it, or give another name.")
        rate = Fraction(rate_hz).limit_denominator(1001)
        try:
            self._container = av.open(str(self._partial), "w", format="mp4", options={"movflags": "+faststart"})
        except OSError as error:
            raise write_error(
                f"{self.path}: cannot be written ({error.strerror}). Give another place.", error
            ) from None
        self._stream = cast(VideoStream, self._container.add_stream("libx264", rate=rate))
        self._stream.width, self._stream.height = width - width % 2, height - height % 2
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"preset": "veryfast", "crf": _CRF}
        self._stream.codec_context.time_base = 1 / rate
        self._stream.codec_context.thread_count = 2
        self.frames = 0
        self._last = -1
        self._closed = False

    def write(self, rgb: np.ndarray, number: int) -> None:
        """Add a picture (H, W, 3) uint8, shown at `number` times the frame time; numbers rise."""
        frame = av.VideoFrame.from_ndarray(rgb[: self._stream.height, : self._stream.width], format="rgb24")
        self._last = max(number, self._last + 1)
        frame.pts = self._last
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except OSError as error:
            self._closed = True
            self._partial.unlink(missing_ok=True)
            raise self._failed(error) from None
        self.frames += 1

    def close(self) -> None:
        """Finish the file and give it its name; without a single picture no file is left."""
        if self._closed:
            return
        self._closed = True
        try:
            if self.frames:
                for packet in self._stream.encode(None):
                    self._container.mux(packet)
            self._container.close()
            if self.frames:
                self._partial.replace(self.path)
        except OSError as error:
            raise self._failed(error) from None
        finally:
            self._partial.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> WriteError:
        return WriteError(f"{self.path}: the video could not be written ({error.strerror}).")

    def __enter__(self) -> "Mp4Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
