"""A stand-in for the kernel's answers about V4L2 cameras."""

import errno
import os
import struct
from collections.abc import Collection, Mapping

from app.devices import v4l2

MODES = {
    "MJPG": {(1920, 1080): (30.0,), (1280, 720): (60.0, 30.0)},
    "YUYV": {(1280, 720): (10.0,), (640, 480): (30.0,)},
}

Ranges = tuple[tuple[int, int, int], tuple[int, int, int]]
"""Least, most and step of a picture's width, and of its height."""

_STEPWISE = 3


class Kernel:
    """Answers the ioctls of a camera with MODES, and of a metadata node that captures nothing.

    By inode of the node: whether it captures. `busy`: those that another program streams from. `controls` by name.
    With `ranges` its formats have those, in place of MODES' sizes, and rates for the largest alone.
    """

    def __init__(
        self,
        nodes: Mapping[int, bool],
        busy: Collection[int] = (),
        controls: Mapping[str, int] | None = None,
        ranges: Ranges | None = None,
    ) -> None:
        self._captures, self._busy, self._controls = nodes, busy, controls or {}
        self._ranges = ranges

    def ioctl(self, file: int, request: int, memory: bytearray) -> int:
        node = os.fstat(file).st_ino
        captures = self._captures[node]
        if request == v4l2.QUERYCAP:
            caps = (0x84A00001, 0x04200001 if captures else 0x04A00000)
            struct.pack_into("=16s32s32sI2I", memory, 0, b"uvcvideo", b"HD Webcam", b"usb-0000:00:14.0-3", 0, *caps)
            return 0
        if request == v4l2.REQBUFS:
            if node in self._busy:
                raise OSError(errno.EBUSY, "Device or resource busy")
            return 0
        if request == v4l2.G_CTRL:
            return self._control(memory)
        index, *key = struct.unpack_from("=4I", memory)
        formats = list(MODES)
        if request == v4l2.ENUM_FMT and index < len(formats):
            struct.pack_into("=I", memory, 44, int.from_bytes(formats[index].encode(), "little"))
            return 0
        if self._ranges is not None and index == 0 and request == v4l2.ENUM_FRAMESIZES:
            struct.pack_into("=7I", memory, 8, _STEPWISE, *self._ranges[0], *self._ranges[1])
            return 0
        if self._ranges is not None and index == 0 and request == v4l2.ENUM_FRAMEINTERVALS:
            struct.pack_into("=III", memory, 16, 1, 1, 15)
            return 0
        if self._ranges is None and request in (v4l2.ENUM_FRAMESIZES, v4l2.ENUM_FRAMEINTERVALS):
            sizes = MODES[key[0].to_bytes(4, "little").decode()]
            if request == v4l2.ENUM_FRAMESIZES and index < len(sizes):
                struct.pack_into("=III", memory, 8, 1, *list(sizes)[index])
                return 0
            if request == v4l2.ENUM_FRAMEINTERVALS and index < len(sizes[key[1], key[2]]):
                struct.pack_into("=III", memory, 16, 1, 1, int(sizes[key[1], key[2]][index]))
                return 0
        raise OSError(errno.EINVAL, "Invalid argument")

    def _control(self, memory: bytearray) -> int:
        (number,) = struct.unpack_from("=I", memory)
        for name, value in self._controls.items():
            if v4l2.CONTROLS[name] == number:
                struct.pack_into("=i", memory, 4, value)
                return 0
        raise OSError(errno.EINVAL, "Invalid argument")
