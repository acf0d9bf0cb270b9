"""A USB camera that films, for code up to the kernel's edge: it answers the ioctls of a stream.

Its node is a file of a test's folder, which holds the memory of the driver's buffers as well.
"""

import errno
import os
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.devices import v4l2, v4l2_stream
from tests.support.source_cases import HEIGHT, WIDTH
from tests.support.stream_servers import numbered_jpeg
from tests.support.v4l2_kernel import Kernel

_LENGTH = 1 << 20


def without_tables(picture: bytes) -> bytes:
    """A JPEG as USB cameras send it: without Huffman tables."""
    at = 2
    while picture[at + 1] != 0xDA:
        end = at + 2 + struct.unpack_from(">H", picture, at + 2)[0]
        if picture[at + 1] == 0xC4:
            picture = picture[:at] + picture[end:]
        else:
            at = end
    return picture


def usb_picture(number: int) -> bytes:
    return without_tables(numbered_jpeg(number))


@dataclass
class FilmingCamera:
    """Takes a picture each 1 / `fps` s from when it is started; what finds no free buffer is lost and counted.

    `damaged`: by number, those that the driver says are. `controls` by number, None where it refuses. Without
    `monotonic` its times are on another clock.
    """

    path: Path
    picture: Callable[[int], bytes] = usb_picture
    fourccs: tuple[str, ...] = ("YUYV", "MJPG")
    size: tuple[int, int] = (WIDTH, HEIGHT)
    fps: int = 100
    damaged: frozenset[int] = frozenset()
    controls: dict[int, int | None] = field(default_factory=dict)
    monotonic: bool = True
    plugged: bool = True
    times_ns: dict[int, int] = field(default_factory=dict)
    free: list[int] = field(default_factory=list)
    filled: list[tuple] = field(default_factory=list)
    started_ns: int | None = None
    next: int = 0

    def film(self) -> None:
        """All that has been due since the last call."""
        while self.started_ns is not None:
            due_ns = self.started_ns + self.next * 1_000_000_000 // self.fps
            if due_ns > time.monotonic_ns():
                return
            if self.free:
                index, data = self.free.pop(0), self.picture(self.next)
                with self.path.open("r+b") as memory:
                    memory.seek(index * _LENGTH)
                    memory.write(data)
                flags = (0x2000 if self.monotonic else 0) | (0x40 if self.next in self.damaged else 0)
                self.filled.append((index, self.next, due_ns, len(data), flags))
                self.times_ns[self.next] = due_ns // 1000 * 1000
            self.next += 1


class FilmingKernel(Kernel):
    """Streams from `cameras`, by inode of their nodes."""

    def __init__(self, *cameras: FilmingCamera) -> None:
        for camera in cameras:
            camera.path.write_bytes(bytes(8 * _LENGTH))
        self.cameras = {camera.path.stat().st_ino: camera for camera in cameras}
        super().__init__(dict.fromkeys(self.cameras, True))

    def ioctl(self, file: int, request: int, memory: bytearray) -> int:
        camera = self.cameras[os.fstat(file).st_ino]
        if not camera.plugged:
            raise OSError(errno.ENODEV, "No such device")
        if request == v4l2.ENUM_FMT:
            return self._name_format(camera, memory)
        if request == v4l2_stream.S_FMT:
            (code,) = struct.unpack_from("=I", memory, 16)
            if code.to_bytes(4, "little").decode() not in camera.fourccs:
                code = int.from_bytes(camera.fourccs[0].encode(), "little")
            struct.pack_into("=3I", memory, 8, *camera.size, code)
            return 0
        if request in (v4l2_stream.S_PARM, v4l2_stream.G_PARM):
            struct.pack_into("=2I", memory, 12, 1, camera.fps)
            return 0
        if request in (v4l2.S_CTRL, v4l2.G_CTRL):
            return self._keep_control(camera, request, memory)
        if request in (v4l2_stream.STREAMON, v4l2_stream.STREAMOFF):
            camera.started_ns = time.monotonic_ns() if request == v4l2_stream.STREAMON else None
            camera.next, camera.filled = 0, []
            return 0
        return self._serve_buffer(camera, request, memory)

    def _serve_buffer(self, camera: FilmingCamera, request: int, memory: bytearray) -> int:
        (index,) = struct.unpack_from("=I", memory)
        if request == v4l2.REQBUFS:
            camera.free = []
        elif request == v4l2_stream.QUERYBUF:
            struct.pack_into("=QI", memory, 64, index * _LENGTH, _LENGTH)
        elif request == v4l2_stream.QBUF:
            camera.film()
            camera.free.append(index)
        elif request == v4l2_stream.DQBUF:
            camera.film()
            if not camera.filled:
                raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
            index, sequence, due_ns, used, flags = camera.filled.pop(0)
            struct.pack_into("=5I4xqq", memory, 0, index, 1, used, flags, 1, *divmod(due_ns // 1000, 1_000_000))
            struct.pack_into("=I", memory, 56, sequence)
        else:
            raise OSError(errno.EINVAL, "Invalid argument")
        return 0

    def _name_format(self, camera: FilmingCamera, memory: bytearray) -> int:
        (index,) = struct.unpack_from("=I", memory)
        if index >= len(camera.fourccs):
            raise OSError(errno.EINVAL, "Invalid argument")
        struct.pack_into("=I", memory, 44, int.from_bytes(camera.fourccs[index].encode(), "little"))
        return 0

    def _keep_control(self, camera: FilmingCamera, request: int, memory: bytearray) -> int:
        number, value = struct.unpack_from("=Ii", memory)
        if request == v4l2.S_CTRL:
            if camera.controls.get(number, value) is None:
                raise OSError(errno.EINVAL, "Invalid argument")
            camera.controls[number] = value
        struct.pack_into("=Ii", memory, 0, number, camera.controls.get(number) or 0)
        return 0


def plug_in(monkeypatch: pytest.MonkeyPatch, *cameras: FilmingCamera) -> None:
    """Into this process."""
    monkeypatch.setattr("app.devices.v4l2.fcntl.ioctl", FilmingKernel(*cameras).ioctl)
