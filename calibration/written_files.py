"""Files are written whole or not at all, and errors name them. Needs no package beside Python itself."""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from calibration.errors import UserError, write_error


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


def check_can_write(path: Path, named: str) -> None:
    """Raise UserError, which begins with `named`, unless a file can be made at `path`, before any work is done for it.

    Tries it: permissions do not tell of a folder that is mounted read-only, or of a full disk.
    """
    try:
        mode = path.resolve().stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = stat.S_IFREG
    except RuntimeError:
        raise UserError(f"{named}: is a link that leads back to itself. Give another name.") from None
    except OSError as error:
        raise UserError(f"{named}: no file can be made there ({error.strerror}). Give another name.") from None
    if stat.S_ISDIR(mode):
        raise UserError(f"{named}: is a folder. Give the name of a file.")
    if not stat.S_ISREG(mode):
        raise UserError(f"{named}: is a pipe or a device, expected a file. Give another name.")
    folder = path.resolve().parent
    if not folder.is_dir():
        raise UserError(f"{named}: there is no folder `{folder}`. Make it first.")
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".usthand-") as file:
            file.write(b"-")
    except OSError as error:
        raise write_error(f"{named}: cannot be written ({error.strerror}). Give another folder.", error) from None
