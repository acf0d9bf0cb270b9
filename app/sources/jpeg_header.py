"""The size that a JPEG says it has, before anything is decoded of it.

ITU-T T.81, B.1 and B.2: markers from SOI to a frame's header, SOF0, SOF1 or SOF2, which holds height and width.
"""

import struct

_START = b"\xff\xd8"
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive
_MOST_SEGMENTS = 64


def jpeg_size(data: bytes | memoryview) -> tuple[int, int] | None:
    """Width and height of a JPEG; None of what is none, or is not whole up to there."""
    if bytes(data[:2]) != _START:
        return None
    at = 2
    for _ in range(_MOST_SEGMENTS):
        header = bytes(data[at : at + 9])
        if len(header) < 9 or header[0] != 0xFF:
            return None
        if header[1] in _FRAMES:
            height, width = struct.unpack_from(">HH", header, 5)
            return width, height
        at += 2 + struct.unpack_from(">H", header, 2)[0]
    return None
