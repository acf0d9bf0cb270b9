"""The JPEG pictures of USB cameras, made such that any program reads them.

USB cameras leave out the Huffman tables, which the class specification says are those of ITU-T T.81, annex K.3 (USB
Device Class Definition for Video Devices: Motion-JPEG Payload), and some send zeros after the picture's end.
"""

import functools
import struct

import cv2
import numpy as np

from app.sources.jpeg_header import jpeg_segments, jpeg_size

_TABLES, _SCAN = 0xC4, 0xDA
_END = b"\xff\xd9"


def playable(data: bytes) -> tuple[bytes, tuple[int, int]] | None:
    """A whole JPEG file of a camera's picture, and its (width, height); None of what is no picture up to its scan.

    A picture that ends before its end marker stays as it is: a decoder shows what is there, or says that it cannot.
    """
    size = jpeg_size(data)
    if size is None:
        return None
    segments = [*jpeg_segments(data)]
    markers = [marker for marker, _ in segments]
    if _SCAN not in markers:
        return None
    first_scan = markers.index(_SCAN)
    if not data.endswith(_END) and (cut := data.rstrip(b"\0")).endswith(_END):
        data = cut
    if _TABLES not in markers[:first_scan]:
        scan = segments[first_scan][1]
        data = data[:scan] + usual_huffman_tables() + data[scan:]
    return data, size


@functools.cache
def usual_huffman_tables() -> bytes:
    """The segments of annex K.3's tables, as OpenCV writes them into every picture."""
    picture = cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes()
    places = [place for place in jpeg_segments(picture) if place[0] == _TABLES]
    return b"".join(picture[at : at + 2 + struct.unpack_from(">H", picture, at + 2)[0]] for _, at in places)
