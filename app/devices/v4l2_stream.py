"""Pictures of a V4L2 camera as its driver gives them: bytes, the driver's own count, and the driver's time.

Structures and numbers: the kernel's <linux/videodev2.h>, in its layout for 64-bit processors,
https://docs.kernel.org/userspace-api/media/v4l/mmap.html
"""

import errno
import mmap
import os
import select
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction

from app.devices import v4l2

_FORMAT = struct.Struct("=I4x5I180x")
_RATE = struct.Struct("=I2I2I184x")
_BUFFER = struct.Struct("=5I4xqq16sIIQIIi4x")
_NUMBER = struct.Struct("=i")

S_FMT = v4l2.request(3, 5, _FORMAT)
G_PARM = v4l2.request(3, 21, _RATE)
S_PARM = v4l2.request(3, 22, _RATE)
QUERYBUF = v4l2.request(3, 9, _BUFFER)
QBUF = v4l2.request(3, 15, _BUFFER)
DQBUF = v4l2.request(3, 17, _BUFFER)
STREAMON = v4l2.request(1, 18, _NUMBER)
STREAMOFF = v4l2.request(1, 19, _NUMBER)

_ANY_FIELD = 0
_ERROR = 0x40
_CLOCK, _MONOTONIC = 0xE000, 0x2000
_BUFFERS = 8
_AGAIN_S = 0.001


@dataclass(frozen=True, kw_only=True)
class DriverPicture:
    """`sequence` is the driver's own count since it was started; `time_ns` its time on the monotonic clock, None where
    it gives none on that clock; `damaged`: it says so itself."""

    data: bytes
    sequence: int
    time_ns: int | None
    damaged: bool


class V4l2Stream:
    """An opened camera; `fourcc`, `size` and `fps` are what the driver really does, `fps` None where it does not tell.

    Every method raises OSError where the driver refuses, ENODEV once the camera was unplugged.
    """

    def __init__(self, node: str, fourcc: str, size: tuple[int, int], fps: float | None) -> None:
        self._file = os.open(node, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._memories: list[mmap.mmap] = []
        try:
            wanted = (*size, int.from_bytes(fourcc.encode("ascii"), "little"), _ANY_FIELD, 0)
            _, width, height, code, *_ = self._ask(S_FMT, _FORMAT, v4l2.CAPTURE, *wanted)
            self.size, self.fourcc = (width, height), code.to_bytes(4, "little").decode("ascii", "replace")
            self.fps = self._set_rate(fps)
        except BaseException:
            os.close(self._file)
            raise

    def set_control(self, name: str, value: int) -> int:
        """Set one of `v4l2.CONTROLS`; what it is then. Raises OSError where the driver takes no such value."""
        return v4l2.set_control(self._file, name, value)

    def start(self) -> None:
        """Let the camera send; what comes before it is read waits in the driver's buffers."""
        count, *_ = self._ask(v4l2.REQBUFS, v4l2.BUFFERS, _BUFFERS, v4l2.CAPTURE, v4l2.MEMORY_MAPPED, 0, 0)
        for index in range(count):
            *_, offset, length, _, _ = self._ask(QUERYBUF, _BUFFER, *_buffer(index))
            self._memories.append(mmap.mmap(self._file, length, offset=offset))
            self._ask(QBUF, _BUFFER, *_buffer(index))
        self._ask(STREAMON, _NUMBER, v4l2.CAPTURE)

    def read(self, timeout_s: float) -> DriverPicture | None:
        """The oldest picture that waits in the driver; None where none comes in time."""
        until = time.monotonic() + timeout_s
        poll = select.poll()
        poll.register(self._file, select.POLLIN)
        while True:
            left_s = max(0.0, until - time.monotonic())
            for _, events in poll.poll(left_s * 1e3):
                if events & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
                    raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
                if (picture := self._take()) is not None:
                    return picture
            if time.monotonic() >= until:
                return None
            time.sleep(min(_AGAIN_S, left_s))

    def close(self) -> None:
        with suppress(OSError):
            self._ask(STREAMOFF, _NUMBER, v4l2.CAPTURE)
        for memory in self._memories:
            memory.close()
        self._memories = []
        os.close(self._file)

    def _take(self) -> DriverPicture | None:
        try:
            buffer = self._ask(DQBUF, _BUFFER, *_buffer(0))
        except BlockingIOError:
            return None
        index, _, used, flags, _, seconds, microseconds, _, sequence, *_ = buffer
        data = self._memories[index][:used]
        self._ask(QBUF, _BUFFER, *_buffer(index))
        time_ns = seconds * 1_000_000_000 + microseconds * 1000 if flags & _CLOCK == _MONOTONIC else None
        return DriverPicture(data=data, sequence=sequence, time_ns=time_ns, damaged=bool(flags & _ERROR))

    def _set_rate(self, fps: float | None) -> float | None:
        """Where a driver has no rate to set or to tell, it refuses to be asked."""
        rate = None
        if fps is not None:
            period = 1 / Fraction(fps).limit_denominator(1001)
            with suppress(OSError):
                rate = self._ask(S_PARM, _RATE, v4l2.CAPTURE, 0, 0, period.numerator, period.denominator)
        if rate is None:
            with suppress(OSError):
                rate = self._ask(G_PARM, _RATE, v4l2.CAPTURE, 0, 0, 0, 0)
        return rate[4] / rate[3] if rate is not None and rate[3] and rate[4] else None

    def _ask(self, request: int, layout: struct.Struct, *values: int | bytes) -> tuple:
        return v4l2.ask(self._file, request, layout, *values)


def _buffer(index: int) -> tuple[int | bytes, ...]:
    return (index, v4l2.CAPTURE, 0, 0, 0, 0, 0, b"", 0, v4l2.MEMORY_MAPPED, 0, 0, 0, 0)
