"""Archives of arrays: what was written comes back, and damage of any kind is told, never a traceback."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from calibration.errors import UserError
from models.files import npzfile
from models.files.npzfile import read_npz, write_npz

ARRAYS = {"a": np.arange(5000.0).reshape(50, 100) ** 2, "b": np.array("text"), "c": np.eye(3) > 0}


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    write_npz(tmp_path / "x.npz", ARRAYS)
    read = read_npz(tmp_path / "x.npz", "numbers", "Try again.")
    assert set(read) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(read[name], array)
    assert set(read_npz(tmp_path / "x.npz", "numbers", "Try again.", {"c", "d"})) == {"c"}
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]


def test_damage_anywhere_is_told(tmp_path: Path) -> None:
    file = tmp_path / "x.npz"
    write_npz(file, ARRAYS)
    whole, random = file.read_bytes(), np.random.default_rng(0)
    told: list[str] = []
    for _ in range(200):
        content = bytearray(whole)
        for place in random.integers(len(whole), size=3):
            content[place] = random.integers(256)
        file.write_bytes(content)
        try:
            read_npz(file, "numbers", "Try again.")
        except UserError as error:
            told.append(str(error))
    assert len(told) > 100
    assert all(message.startswith(f"{file}: cannot be read as numbers (") for message in told)


@pytest.mark.parametrize("kind", ["nothing", "a single array", "a pickle", "objects", "a folder", "no file"])
def test_other_files_are_told(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "x.npz"
    if kind == "nothing":
        file.touch()
    elif kind == "a single array":
        with file.open("wb") as opened:
            np.save(opened, np.eye(3))
    elif kind == "a pickle":
        file.write_bytes(pickle.dumps({"a": 1}))
    elif kind == "objects":
        np.savez(file, a=np.array([{}], dtype=object))
    elif kind == "a folder":
        file.mkdir()
    with pytest.raises(UserError, match=r"x\.npz: cannot be read as numbers \(.+\)\. Try again\."):
        read_npz(file, "numbers", "Try again.")


def test_a_file_is_read_as_long_as_it_is_itself_as_large_and_zeros_without_end_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pose file of two hands at 60 Hz has more than 2 GB after four hours."""
    monkeypatch.setattr(npzfile, "_MOST_BYTES", 10_000)
    measured = np.random.default_rng(0).normal(size=(5000, 3))
    np.savez(tmp_path / "long.npz", measured=measured)
    np.testing.assert_array_equal(read_npz(tmp_path / "long.npz", "poses", "")["measured"], measured)
    np.savez_compressed(tmp_path / "bomb.npz", zeros=np.zeros((500_000, 3)), one=np.ones(1))
    with pytest.raises(UserError, match=r"0\.0 GB of arrays"):
        read_npz(tmp_path / "bomb.npz", "poses", "")
    assert list(read_npz(tmp_path / "bomb.npz", "poses", "", {"one"})) == ["one"]
