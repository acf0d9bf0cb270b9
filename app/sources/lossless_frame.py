"""One frame of a lossless recording, decoded alone: OpenCV, which goes to a frame by those before it, takes 16 times as
long. There is one way only to read such pixels, so that they are those that OpenCV gives."""

from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

_PIXELS = "bgr0"


class LosslessFrames:
    """Of an FFV1 file whose frames lie evenly, as `usthand record --lossless` writes it. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self._container = av.open(str(path))
        self._stream = self._container.streams.video[0]
        self._fps = Fraction(self._stream.average_rate or self._stream.guessed_rate or 0)
        base = self._stream.time_base
        self._ticks = 1 / (self._fps * base) if self._fps and base else None
        self._is_usable = self._stream.codec.name == "ffv1" and self._stream.codec_context.pix_fmt == _PIXELS

    def picture(self, number: int) -> np.ndarray | None:
        """(H, W, 3) BGR; None where it must be read in another way: it is damaged, or the file is of another kind."""
        if not self._is_usable or self._ticks is None:
            return None
        try:
            packets = self._packets(max(0, number - 1), number)
            if not packets:
                return None
            # The decoder says nothing of a part that is damaged: it shows the frame before there, if it knows one.
            alone, after = (self._decode(each) for each in (packets[-1:], packets))
        except (FFmpegError, OSError, ValueError):
            return None
        return alone if alone is not None and after is not None and np.array_equal(alone, after) else None

    def _packets(self, first: int, last: int) -> list[av.Packet]:
        """Those of the frames from one number to another; none where one is missing."""
        assert self._ticks is not None
        self._container.seek(round(first * self._ticks), stream=self._stream)
        found = []
        for packet in self._container.demux(self._stream):
            number = round(packet.pts / self._ticks) if packet.pts is not None else last + 1
            if number == first + len(found):
                found.append(packet)
            if number >= last:
                break
        return found if len(found) == last - first + 1 else []

    def _decode(self, packets: list[av.Packet]) -> np.ndarray | None:
        """The last one's picture, by a decoder that knows no other frames."""
        decoder = cast(VideoCodecContext, VideoCodecContext.create("ffv1", "r"))
        decoder.extradata = self._stream.codec_context.extradata
        decoder.width, decoder.height = self._stream.width, self._stream.height
        decoder.thread_count = 1
        frames = [frame for packet in packets for frame in decoder.decode(av.Packet(bytes(packet)))]
        return _pixels(frames[-1]) if len(frames) == len(packets) else None


def _pixels(frame: VideoFrame) -> np.ndarray | None:
    if frame.format.name != _PIXELS:
        return None
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(frame.height, plane.line_size)  # pyright: ignore[reportArgumentType, reportCallIssue]
    return rows[:, : 4 * frame.width].reshape(frame.height, frame.width, 4)[..., :3].copy()
