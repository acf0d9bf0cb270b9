"""The size of the pictures in a camera's packets, which may change in its stream, without decoding them."""

import av
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext

from app.sources.jpeg_header import jpeg_size

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
    """The last sequence parameter set of an H.264 packet before its picture; None where it has none."""
    found = None
    for kind, unit in nal_units(data):
        if kind == _PARAMETERS:
            found = unit
        elif 1 <= kind <= 5:  # the picture
            break
    return found


def nal_units(data: bytes) -> list[tuple[int, bytes]]:
    """Type and bytes of each NAL unit of an H.264 packet (Annex B: each after 00 00 01)."""
    return [(unit[0] & 0x1F, unit) for unit in data.split(b"\0\0\1")[1:] if unit]


def _decoded_size(data: bytes) -> tuple[int, int] | None:
    decoder = VideoCodecContext.create("h264", "r")
    try:
        frames = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
    except (FFmpegError, OSError, ValueError):
        return None
    return (frames[-1].width, frames[-1].height) if frames else None
