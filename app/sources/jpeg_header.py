"""The size that a JPEG says it has, before anything is decoded of it.

ITU-T T.81, B.1 and B.2: markers from SOI to a frame's header, SOF0, SOF1 or SOF2, which holds height and width.
"""

import struct
from collections.abc import Iterator
from itertools import islice

_START = b"\xff\xd8"
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive
_MOST_SEGMENTS = 64


def jpeg_size(data: bytes | memoryview) -> tuple[int, int] | None:
    """Width and height of a JPEG; None of what is none, or is not whole up to there."""
    if data[:2] != _START:
        return None
    for marker, at in islice(jpeg_segments(data), _MOST_SEGMENTS):
        if marker in _FRAMES and at + 9 <= len(data):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
    return None


def jpeg_segments(data: bytes | memoryview) -> Iterator[tuple[int, int]]:
    """Marker and place of each segment of a JPEG, up to the data of its first scan."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        yield data[at + 1], at
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
