"""A single array in an `.npy` file: one that comes from outside, and one that is written."""

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import DTypeLike

from calibration.found_files import open_found
from calibration.written_files import errors_naming


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether the first axis varies fastest, and kind of number of the array whose file begins here."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(stream)


def read_npy(path: Path, mapped: bool = False) -> np.ndarray:
    """The array, `mapped` from the file or in memory. Raises OSError, and ValueError for anything that is none, or
    whose header says that it is larger than the file."""
    try:
        with open_found(path) as stream:
            shape, fortran, dtype = read_header(stream)
            start, size = stream.tell(), os.fstat(stream.fileno()).st_size
            if dtype.hasobject or min(shape, default=0) < 0:
                raise ValueError(f"{shape} of {dtype}")
            if start + math.prod(shape) * dtype.itemsize > size:
                raise ValueError(f"its header says {shape} of {dtype}, more than is in the file")
            if not mapped or not math.prod(shape):
                array = np.fromfile(stream, dtype, math.prod(shape))
                return array.reshape(shape, order="F" if fortran else "C")
        return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")
    except (OSError, ValueError):
        raise
    except Exception as error:  # numpy's parsers may fail in any way
        raise ValueError(str(error)) from None


def write_npy(path: Path, array: np.ndarray) -> None:
    """Raises OSError with the file's name and the reason, of which `np.save` says neither where a disk is full."""
    write_npy_parts(path, array.dtype, array.shape, [array])


def write_npy_parts(path: Path, dtype: DTypeLike, shape: tuple[int, ...], parts: Iterable[np.ndarray]) -> None:
    """An array of that shape, which is never whole in memory: its numbers in order, part by part. Raises as
    `write_npy`, and ValueError where the parts are not the whole."""
    kind, count = np.dtype(dtype), 0
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    with errors_naming(path), open(path, "wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for part in parts:
            part = np.ascontiguousarray(part, kind)
            count += part.size
            stream.write(part.data if part.size else b"")
    if count != math.prod(shape):
        raise ValueError(f"{count} numbers for {shape}")
