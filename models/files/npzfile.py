"""Arrays in `.npz` files: written atomically, read without running anything, damage told as a UserError."""

import io
import math
import zipfile
from collections.abc import Container, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib.npyio import NpzFile

from calibration.errors import UserError
from calibration.found_files import open_found
from calibration.written_files import write_atomic
from models.files.npyfile import read_header

_MOST_BYTES = 2_000_000_000
"""Of the arrays read, together, of a file that is not large itself; deflated zeros of an hour's labels take less."""
_MOST_OF_FILE = 8
"""Arrays of so many times their file's size are what such a file holds: measured numbers hardly deflate."""


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write the arrays, compressed, so that a reader sees the old or the new file, never a part."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    write_atomic(path, buffer.getvalue())


def read_npz(path: Path, what: str, advice: str, names: Container[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file, or those of them that are in `names`.

    Raises UserError where the file cannot be read, is something else or is damaged: it says what the file was to be
    and ends in `advice`.
    """
    try:
        with open_found(path) as stream:
            file = open_archive(stream)
            wanted = [name for name in file.files if names is None or name in names]
            most = max(_MOST_BYTES, _MOST_OF_FILE * path.stat().st_size)
            _check_size(file.zip, wanted, most)  # pyright: ignore[reportArgumentType] - it is None once it is closed
            return {name: _array(file, name) for name in wanted}
    except Exception as error:  # A damaged archive can fail in any way.
        raise UserError(f"{path}: cannot be read as {what} ({error}). {advice}") from None


def open_archive(stream: BinaryIO) -> NpzFile:
    """Raises ValueError where it is none; numpy's own text would advise to load it as a pickle."""
    start = stream.read(2)
    stream.seek(0)
    if start != b"PK":
        raise ValueError("a single array" if start == b"\x93N" else "no archive of arrays")
    return np.load(stream, allow_pickle=False)


def _array(file: NpzFile, name: str) -> np.ndarray:
    try:
        return file[name]
    except ValueError as error:
        raise ValueError(f"`{name}` holds objects, expected numbers" if "pickle" in str(error) else error) from None


def _check_size(archive: zipfile.ZipFile, wanted: Sequence[str], most_bytes: int) -> None:
    """Raise ValueError where the wanted arrays would be larger than what is stored of them, or than `most_bytes`."""
    total = 0
    for member in archive.infolist():
        if member.filename.removesuffix(".npy") in wanted and member.filename.endswith(".npy"):
            total += member.file_size
            with archive.open(member) as stream:
                shape, _, dtype = read_header(stream)
            if math.prod(shape) * dtype.itemsize > member.file_size:
                raise ValueError(f"`{member.filename}` says it is {shape}, more than what is stored of it")
    if total > most_bytes:
        raise ValueError(
            f"{total / 1e9:.1f} GB of arrays; of a file of this size at most {most_bytes / 1e9:g} are read"
        )
