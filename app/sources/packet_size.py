"""The size of the pictures in a camera's packets, which may change in its stream, without decoding them."""

import av
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext

from app.sources.jpeg_header import jpeg_size

_START = b"\0\0\1"
# NAL unit type of a sequence parameter set, ITU-T H.264, table 7-1.
_PARAMETERS = 7


class PacketSize:
    """Of a stream of `codec` "mjpeg" or "h264", whose pictures have `size` (width, height) at first."""

    def __init__(self, codec: str, size: tuple[int, int]) -> None:
        self._codec, self._size = codec, size
        self._parameters: bytes | None = None

    def of(self, data: bytes) -> tuple[int, int]:
        """Of the next packet. Of H.264 one is decoded where its parameters are others than before."""
        if self._codec == "mjpeg":
            self._size = jpeg_size(data) or self._size
        elif (parameters := _parameters(data)) and parameters != self._parameters:
            self._parameters = parameters
            self._size = _decoded_size(data) or self._size
        return self._size


def _parameters(data: bytes) -> bytes | None:
    """The last sequence parameter set of an H.264 packet (Annex B); None where it has none."""
    found, at = None, data.find(_START)
    while 0 <= at < len(data) - 3:
        following = data.find(_START, at + 3)
        kind = data[at + 3] & 0x1F
        if kind == _PARAMETERS:
            found = data[at + 3 : following if following > 0 else None]
        elif 1 <= kind <= 5:  # the picture, which may be long
            break
        at = following
    return found


def _decoded_size(data: bytes) -> tuple[int, int] | None:
    decoder = VideoCodecContext.create("h264", "r")
    try:
        frames = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
    except (FFmpegError, OSError, ValueError):
        return None
    return (frames[-1].width, frames[-1].height) if frames else None
