"""Files and folders that are found by name: a FIFO among them is never waited for.

To open a FIFO waits for its other end, which may never come, and what is found by name may be one. Here it reads as
empty; one that a program writes into (`<(...)` in a shell) is read to its end.
"""

import errno
import os
import shutil
from pathlib import Path
from typing import BinaryIO


def open_found(path: Path) -> BinaryIO:
    """Opens for reading, as `path.open("rb")` does but for a FIFO. Raises OSError."""
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    os.set_blocking(file.fileno(), True)
    return file


def read_found(path: Path, most_bytes: int = 512_000_000) -> bytes:
    """The whole content. Raises OSError, also where it is larger than that."""
    with open_found(path) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"larger than the {most_bytes // 10**6} MB that are read")
    return content


def remove_folder(path: Path) -> None:
    """Removes a folder with all in it, as far as it can; what is none stays, for `shutil.rmtree` would open it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
