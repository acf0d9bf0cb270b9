"""Images into packets: H.264 by NVENC or x264, or lossless FFV1, one packet for each image and at once."""

import ctypes
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import cv2
import numpy as np
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from app.run.record_settings import RecordSettings

log = logging.getLogger(__name__)

# NVENC's preset for low latency that is about as good as x264's `superfast`, at constant quality.
_NVENC = {"preset": "p4", "tune": "ull", "rc": "vbr", "zerolatency": "1", "delay": "0"}
# Rice codes are twice as fast as the range coder, for a tenth more bytes; checksums find damage.
_FFV1 = {"level": "3", "coder": "rice", "context": "0", "slices": "4", "slicecrc": "1"}


@dataclass(frozen=True)
class EncodedImage:
    """A packet, and the capture time of the image in it, nanoseconds."""

    packet: Packet
    time_ns: int

    @property
    def is_key(self) -> bool:
        return bool(self.packet.is_keyframe)


class VideoEncoder:
    """Encodes images of one size, with a key frame each second. `stream` is the template for the file's stream."""

    def __init__(self, settings: RecordSettings, size: tuple[int, int], fps: Fraction) -> None:
        self.width, self.height = width, height = size
        self._fps = fps
        self._lossless = settings.codec == "ffv1"
        # x264 takes no odd sizes where colours are subsampled.
        self._format = "bgr0" if self._lossless else "yuv420p" if width % 2 == height % 2 == 0 else "yuv444p"
        self.name, self._stream = self._open(settings)
        self._times_ns: list[int] = []
        self._count = 0

    @property
    def stream(self) -> Stream:
        return self._stream

    def encode(self, image: np.ndarray, time_ns: int) -> Iterator[EncodedImage]:
        """Of an image (height, width, 3) BGR uint8, which is not read after this."""
        yield from self.submit(self.prepare(image), time_ns)

    def prepare(self, image: np.ndarray) -> av.VideoFrame:
        """The image in the encoder's colours, copied."""
        if self._lossless:
            frame = av.VideoFrame(self.width, self.height, "bgr0")
            plane = frame.planes[0]
            rows = np.frombuffer(plane, np.uint8).reshape(self.height, plane.line_size)  # pyright: ignore[reportArgumentType, reportCallIssue]
            rows[:, : 4 * self.width] = cv2.cvtColor(image, cv2.COLOR_BGR2BGRA).reshape(self.height, -1)
            return frame
        if self._format == "yuv420p":
            planes = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420), np.uint8)
            return av.VideoFrame.from_ndarray(planes, format="yuv420p")
        return av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format=self._format)

    def submit(self, frame: av.VideoFrame, time_ns: int) -> Iterator[EncodedImage]:
        """Encode what `prepare` gave."""
        frame.pts = self._count
        frame.time_base = 1 / self._fps
        self._count += 1
        self._times_ns.append(time_ns)
        for packet in self._stream.encode(frame):
            yield EncodedImage(packet, self._times_ns.pop(0))

    def flush(self) -> Iterator[EncodedImage]:
        """What the encoder still holds; it takes no image after this."""
        for packet in self._stream.encode(None):
            yield EncodedImage(packet, self._times_ns.pop(0))
        self.close()

    def close(self) -> None:
        """Give its memory back, which otherwise waits for Python's collector of cycles: megabytes for each take."""
        self._stream.container.close()

    def _open(self, settings: RecordSettings) -> tuple[str, VideoStream]:
        if self._lossless:
            return "ffv1", self._open_codec("ffv1", _FFV1)
        if _has_nvidia_encoder():
            try:
                return "h264_nvenc", self._open_codec("h264_nvenc", {**_NVENC, "cq": str(settings.crf)})
            except OSError as error:  # av.FFmpegError is one
                log.warning("NVENC cannot be used (%s); the CPU encodes", error)
        options = {"preset": settings.preset, "tune": "zerolatency", "crf": str(settings.crf)}
        return "libx264", self._open_codec("libx264", options)

    def _open_codec(self, name: str, options: dict[str, str]) -> VideoStream:
        # PyAV opens an encoder that can be a template for other files only as a stream of a file.
        container = av.open(io.BytesIO(), "w", format="matroska")
        stream = cast(VideoStream, container.add_stream(name, rate=self._fps, options=options))
        stream.width, stream.height, stream.pix_fmt = self.width, self.height, self._format
        codec = stream.codec_context
        codec.time_base = 1 / self._fps
        codec.gop_size = 1 if self._lossless else max(1, round(self._fps))
        codec.max_b_frames = 0
        codec.thread_count = 1
        container.start_encoding()
        return stream


def _has_nvidia_encoder() -> bool:
    try:
        ctypes.CDLL("libnvidia-encode.so.1")
    except OSError:
        return False
    return True
