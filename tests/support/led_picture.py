"""A picture of an LED before a dark wall, in a file in the format of `Xvfb -fbdir`, which simulated cameras film."""

import functools
import mmap
import struct
from pathlib import Path

import numpy as np

WIDTH, HEIGHT = 640, 360
_HEADER = struct.Struct(">25I")


def write_led_picture(path: Path) -> None:
    colours = (0xFF0000, 0xFF00, 0xFF, 8, 0, 0)
    fields = (_HEADER.size, 7, 2, 24, WIDTH, HEIGHT, 0, 0, 32, 0, 32, 32, 4 * WIDTH, 4, *colours)
    header = _HEADER.pack(*fields, WIDTH, HEIGHT, 0, 0, 0)
    wall = np.random.default_rng(0).integers(20, 60, (HEIGHT, WIDTH, 4), np.uint8)
    path.write_bytes(header + wall.tobytes())


@functools.cache
def _pixels(path: str) -> np.ndarray:
    with Path(path).open("r+b") as file:
        memory = mmap.mmap(file.fileno(), 0)
    return np.frombuffer(memory, np.uint8, 4 * WIDTH * HEIGHT, _HEADER.size).reshape(HEIGHT, WIDTH, 4)


def shine(path: str, on: bool) -> None:
    _pixels(path)[160:172, 300:312] = 240 if on else 30
