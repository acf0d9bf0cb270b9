"""Plugs cameras into every process of a run: imported by Python itself where PYTHONPATH names this folder.

USB_CAMERAS is a folder of their nodes. That of a node `*-changes` is twice as wide once the file USB_CHANGES_AFTER
has 2000 bytes.
"""

import fcntl
import functools
import os
from pathlib import Path
from typing import Any

_ioctl = fcntl.ioctl


@functools.cache
def _kernel():
    from tests.support.source_cases import HEIGHT, WIDTH
    from tests.support.stream_servers import numbered_jpeg
    from tests.support.v4l2_camera import FilmingCamera, FilmingKernel, usb_picture, without_tables

    def changing(number: int) -> bytes:
        table = Path(os.environ["USB_CHANGES_AFTER"])
        if not table.exists() or table.stat().st_size < 2000:
            return usb_picture(number)
        return without_tables(numbered_jpeg(number, 2 * WIDTH, HEIGHT))

    folder = Path(os.environ["USB_CAMERAS"])
    return FilmingKernel(
        *(
            FilmingCamera(node, fps=30, picture=changing if node.name.endswith("changes") else usb_picture)
            for node in sorted(folder.iterdir())
        )
    )


def _answer(file, request, argument: Any = 0, mutate=True):
    if (request >> 8) & 0xFF == ord("V") and "USB_CAMERAS" in os.environ:
        return _kernel().ioctl(file, request, argument)
    return _ioctl(file, request, argument, mutate)


fcntl.ioctl = _answer
