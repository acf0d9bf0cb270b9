"""Single arrays in files: what is written is what NumPy and the bounded reader read; an error names the file."""

from pathlib import Path

import numpy as np
import pytest

from models.files.npyfile import read_npy, write_npy, write_npy_parts


@pytest.mark.parametrize(
    "array",
    [np.arange(24.0).reshape(2, 3, 4).T, np.zeros((0, 3), np.int64), np.ones(5, np.float16), np.array([True, False])],
)
def test_an_array_comes_back(tmp_path: Path, array: np.ndarray) -> None:
    write_npy(tmp_path / "a.npy", array)
    for read in (np.load, read_npy):
        found = read(tmp_path / "a.npy")
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


def test_an_array_is_written_part_by_part(tmp_path: Path) -> None:
    whole, path = np.arange(24.0).reshape(4, 3, 2), tmp_path / "a.npy"
    write_npy_parts(path, np.float16, whole.shape, (whole[first : first + 3] for first in (0, 3)))
    np.testing.assert_array_equal(np.load(path), whole.astype(np.float16))
    with pytest.raises(ValueError, match="18 numbers for"):
        write_npy_parts(path, np.float16, whole.shape, [whole[:3]])


def test_what_cannot_be_written_is_said_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        write_npy(tmp_path / "none" / "a.npy", np.zeros(3))
    assert caught.value.filename == str(tmp_path / "none" / "a.npy") and caught.value.strerror
    with pytest.raises(OSError, match="No space left on device") as full:
        write_npy(Path("/dev/full"), np.zeros(100_000))
    assert full.value.filename == "/dev/full"
