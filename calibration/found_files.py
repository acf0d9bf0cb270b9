"""Files and folders that are found by name: a FIFO among them is never waited for, a device never read.

To open a FIFO waits for its other end, which may never come, and what is found by name may be one. Here it reads as
empty; one that a program writes into (`<(...)` in a shell) is read to its end. A device may have none: `/dev/zero`.
"""

import errno
import hashlib
import os
import shutil
import stat
from io import BufferedReader
from pathlib import Path


def open_found(path: Path) -> BufferedReader:
    """Opens for reading, as `path.open("rb")` does but for a FIFO. Raises OSError, also where it is a device."""
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    mode = os.fstat(file.fileno()).st_mode
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        file.close()
        raise OSError(errno.EINVAL, "a device, expected a file", str(path))
    os.set_blocking(file.fileno(), True)
    return file


def check_file(path: Path) -> None:
    """Raises OSError where it is no regular file: what opens a path itself, as a library does, may wait for a FIFO."""
    if path.is_fifo():
        raise OSError(errno.EINVAL, "a pipe, expected a file", str(path))
    open_found(path).close()


def hash_found(path: Path) -> str:
    """The SHA-256 of a regular file of any size, which is not held in memory. Raises OSError."""
    check_file(path)
    with open_found(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_found(path: Path, most_bytes: int = 512_000_000) -> bytes:
    """The whole content. Raises OSError, also where it is larger than that."""
    with open_found(path) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"larger than the {most_bytes // 10**6} MB that are read", str(path))
    return content


def read_found_text(path: Path) -> str:
    """The whole content, UTF-8 with a byte order mark or without. Raises OSError, and ValueError where it is none."""
    content = read_found(path)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8 text; save the file as UTF-8") from None


def remove_folder(path: Path) -> None:
    """Removes a folder with all in it, as far as it can; what is none stays, for `shutil.rmtree` would open it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
