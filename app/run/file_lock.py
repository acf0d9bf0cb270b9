"""A file or folder that one process has for itself while it lives: the kernel gives it free, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def lock_file(fd: int) -> bool:
    """Make what is open there this process's own until it is closed; False where it is another's."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


@contextmanager
def locked_folder(path: Path) -> Iterator[bool]:
    """Have the folder for oneself in the block; False where another has it. Raises OSError."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield lock_file(folder)
    finally:
        os.close(folder)
