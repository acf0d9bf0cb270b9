"""Which V4L2 cameras are attached and the modes they have, asked of the kernel without starting them.

Structures and numbers: the kernel's <linux/videodev2.h>,
https://docs.kernel.org/userspace-api/media/v4l/user-func.html
"""

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from calibration.errors import reason_of

_CAPABILITY = struct.Struct("=16s32s32sIII3I")
_FORMAT = struct.Struct("=III32sII3I")
_FRAME_SIZE = struct.Struct("=III6I2I")
_FRAME_INTERVAL = struct.Struct("=IIIII6I2I")
_CONTROL = struct.Struct("=Ii")
BUFFERS = struct.Struct("=IIIII")

_CAN_CAPTURE = 0x1
_HAS_DEVICE_CAPS = 0x80000000
CAPTURE = 1
_DISCRETE = 1
MEMORY_MAPPED = 1


def request(direction: int, number: int, layout: struct.Struct) -> int:
    """The number of an ioctl that writes (1), or writes and reads (3), a structure."""
    return direction << 30 | layout.size << 16 | ord("V") << 8 | number


QUERYCAP = request(2, 0, _CAPABILITY)
ENUM_FMT = request(3, 2, _FORMAT)
ENUM_FRAMESIZES = request(3, 74, _FRAME_SIZE)
ENUM_FRAMEINTERVALS = request(3, 75, _FRAME_INTERVAL)
REQBUFS = request(3, 8, BUFFERS)
G_CTRL = request(3, 27, _CONTROL)
S_CTRL = request(3, 28, _CONTROL)

CONTROLS = {
    "auto_exposure": 0x009A0901,
    "exposure_dynamic_framerate": 0x009A0903,
    "focus_automatic_continuous": 0x009A090C,
    "white_balance_automatic": 0x0098090C,
}
"""The controls with which a camera changes its pictures by itself, by their names in v4l2-ctl. `auto_exposure` is 1
where it is manual, the others are 0 where they are off (<linux/v4l2-controls.h>)."""
SET_BY_HAND = {"auto_exposure": 0x009A0901, "exposure": 0x009A0902, "gain": 0x00980913}
MANUAL_EXPOSURE = 1


@dataclass(frozen=True, kw_only=True)
class VideoMode:
    """A pixel format and size, with the rates in frames a second; no rates where the driver gives none or a range.

    Of a range of sizes it is the largest, and `least` the smallest."""

    fourcc: str
    width: int
    height: int
    fps: tuple[float, ...]
    least: tuple[int, int] | None = None

    def has_size(self, width: int, height: int) -> bool:
        """Whether a picture can be of that size, as far as the driver tells."""
        least_width, least_height = self.least or (self.width, self.height)
        return least_width <= width <= self.width and least_height <= height <= self.height


@dataclass(frozen=True, kw_only=True)
class VideoDevice:
    """A capture device. `path` is stable over replugging where the system has such a name, else the node's."""

    path: str
    node: str
    name: str
    bus: str
    modes: tuple[VideoMode, ...]
    problem: str = ""


def list_video_devices(dev: Path = Path("/dev")) -> list[VideoDevice]:
    """The capture devices under `dev`, in order of their nodes; one that cannot be asked says why in `problem`."""
    stable = {}
    for folder in ("by-path", "by-id"):
        with contextlib.suppress(OSError):  # where it may not be read, the nodes' own names do
            for link in sorted((dev / "v4l" / folder).glob("*")):
                stable[link.resolve()] = link
    nodes = sorted(dev.glob("video[0-9]*"), key=lambda node: int(node.name[5:]) if node.name[5:].isdigit() else 0)
    devices = []
    for node in nodes:
        path = str(stable.get(node.resolve(), node))
        try:
            device = _ask(node, path)
        except OSError as error:
            device = VideoDevice(path=path, node=str(node), name="", bus="", modes=(), problem=reason_of(error))
        if device is not None:
            devices.append(device)
    return devices


def read_controls(node: str) -> dict[str, int]:
    """Those of CONTROLS that the camera has. Raises OSError where it cannot be opened."""
    file = os.open(node, os.O_RDWR | os.O_NONBLOCK)
    try:
        values = {}
        for name, number in CONTROLS.items():
            with contextlib.suppress(OSError):  # it has none such
                values[name] = _ioctl(file, G_CTRL, _CONTROL, number)[1]
        return values
    finally:
        os.close(file)


def is_in_use(node: str) -> bool:
    """Whether another program streams from it: asked for one buffer, the kernel then says that it is busy.

    Raises OSError where it cannot be opened.
    """
    file = os.open(node, os.O_RDWR | os.O_NONBLOCK)
    try:
        _ioctl(file, REQBUFS, BUFFERS, 1, CAPTURE, MEMORY_MAPPED)
        _ioctl(file, REQBUFS, BUFFERS, 0, CAPTURE, MEMORY_MAPPED)
    except OSError as error:
        return error.errno == errno.EBUSY
    finally:
        os.close(file)
    return False


def formats(node: str) -> list[str]:
    """The pixel formats that a camera has, as four characters. Raises OSError where it cannot be opened."""
    file = os.open(node, os.O_RDWR | os.O_NONBLOCK)
    try:
        return [_fourcc(entry[4]) for entry in _each(file, ENUM_FMT, _FORMAT, CAPTURE)]
    finally:
        os.close(file)


def set_control(file: int, name: str, value: int) -> int:
    """Set one of SET_BY_HAND; what it is then. Raises OSError where the driver takes no such value."""
    number = SET_BY_HAND[name]
    ask(file, S_CTRL, _CONTROL, number, value)
    return ask(file, G_CTRL, _CONTROL, number, 0)[1]


def ask(file: int, request: int, layout: struct.Struct, *values: int | bytes) -> tuple:
    """An ioctl with a whole structure; what the driver has made of it. Raises OSError."""
    memory = bytearray(layout.pack(*values))
    fcntl.ioctl(file, request, memory)
    return layout.unpack(memory)


def _ask(node: Path, path: str) -> VideoDevice | None:
    file = os.open(node, os.O_RDWR | os.O_NONBLOCK)
    try:
        _, name, bus, _, capabilities, device_capabilities, *_ = _ioctl(file, QUERYCAP, _CAPABILITY)
        if capabilities & _HAS_DEVICE_CAPS:
            capabilities = device_capabilities
        if not capabilities & _CAN_CAPTURE:
            return None
        return VideoDevice(path=path, node=str(node), name=_string(name), bus=_string(bus), modes=tuple(_modes(file)))
    finally:
        os.close(file)


def _modes(file: int) -> Iterator[VideoMode]:
    for _, _, _, _, pixel_format, *_ in _each(file, ENUM_FMT, _FORMAT, CAPTURE):
        fourcc = _fourcc(pixel_format)
        for _, _, kind, *size in _each(file, ENUM_FRAMESIZES, _FRAME_SIZE, pixel_format):
            # A range of sizes is min, max and step of the width, then of the height: its largest stands for it.
            ranges = kind != _DISCRETE
            width, height = (size[1], size[4]) if ranges else (size[0], size[1])
            rates = []
            for _, _, _, _, interval_kind, *interval in _each(
                *(file, ENUM_FRAMEINTERVALS, _FRAME_INTERVAL, pixel_format, width, height)
            ):
                if interval_kind == _DISCRETE and interval[0]:
                    rates.append(interval[1] / interval[0])
            least = (size[0], size[3]) if ranges else None
            yield VideoMode(fourcc=fourcc, width=width, height=height, fps=tuple(rates), least=least)


def _each(file: int, request: int, layout: struct.Struct, *key: int) -> Iterator[tuple]:
    """The entries of an enumeration, until the driver says that there is no more; a range is one entry."""
    index = 0
    while True:
        try:
            entry = _ioctl(file, request, layout, index, *key)
        except OSError:
            return
        yield entry
        index += 1
        if request != ENUM_FMT and entry[len(key) + 1] != _DISCRETE:
            return


def _ioctl(file: int, request: int, layout: struct.Struct, *values: int) -> tuple:
    memory = bytearray(layout.size)
    struct.pack_into(f"={len(values)}I", memory, 0, *values)
    fcntl.ioctl(file, request, memory)
    return layout.unpack(memory)


def _fourcc(code: int) -> str:
    return struct.pack("=I", code).decode("ascii", "replace").strip()


def _string(value: bytes) -> str:
    return value.split(b"\0")[0].decode("utf-8", "replace")
