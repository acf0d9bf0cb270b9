"""Files are written whole or not at all, and errors name them. Needs no package beside Python itself."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from calibration.errors import UserError


def check_place(path: Path) -> None:
    """Raises UserError where no file can be made of this name: a folder, a pipe, a device, a link to itself."""
    try:
        mode = path.resolve().stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except RuntimeError:
        raise UserError(f"`{path}` is a link that leads back to itself. Give another name.") from None
    except OSError as error:
        raise UserError(f"`{path}`: no file can be made there ({error.strerror}). Give another name.") from None
    if stat.S_ISDIR(mode):
        raise UserError(f"`{path}` is a folder. Give the name of a file.")
    if not stat.S_ISREG(mode):
        raise UserError(f"`{path}` is a pipe or a device, expected a file. Give another name.")


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old or the new content, never a part, even after a crash.

    Raises OSError, which names the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with errors_naming(path), temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with errors_naming(path):
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def errors_naming(path: Path) -> Iterator[None]:
    """OSErrors of the block name this file: those of a full disk name none, or one that stands in for it."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
