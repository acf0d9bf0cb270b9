"""What is damaged in a file is told in one line: where in it, and not in another program's many words."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.run.settings import RunSettings
from calibration.errors import UserError
from calibration.formats.colmap import _lines
from calibration.formats.file_storage import read_text, read_yaml_mapping
from calibration.formats.toml_tables import read_toml
from calibration.importers.freemocap import _read_time_file
from calibration.importers.recording import table_rows
from calibration.published_sets import SETS, read_published_sets
from calibration.session import read_frames_csv
from calibration.yamlfile import read_yaml
from models.files.npzfile import read_npz


def told(read: Callable[[Path], object], path: Path) -> str:
    with pytest.raises(UserError) as error:
        read(path)
    text = str(error.value)
    assert text.startswith(f"{path}: ") and "\n" not in text
    return text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cameras: [", "line 1, column 11: expected the node content, but found '<stream end>'"),
        ("a: 1\nb: c: d\n", "line 2, column 5: mapping values are not allowed here"),
        ("a: 1\n- b\n", "line 2, column 1: expected <block end>, but found '-'"),
        ("a:\n  b: *x\n", "line 2, column 6: found undefined alias 'x'"),
        ("a: !x 1\n", "line 1, column 4: could not determine a constructor for the tag '!x'"),
        ("a: 1\nb: \0\n", "line 2: the character #x0000 is not allowed"),
    ],
)
@pytest.mark.parametrize("read", [lambda path: read_yaml(path, RunSettings), read_yaml_mapping])
def test_what_is_no_yaml(tmp_path: Path, read: Callable[[Path], object], text: str, says: str) -> None:
    path = tmp_path / "rig.yaml"
    path.write_text(text)
    assert says in told(read, path)


@pytest.mark.parametrize(
    "read",
    [
        lambda path: read_yaml(path, RunSettings),
        read_text,
        read_toml,
        read_frames_csv,
        table_rows,
        _lines,
        lambda path: read_published_sets(path.parent),
    ],
)
def test_what_is_no_text(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path = tmp_path / SETS
    path.write_bytes(b"a: 1\nb: 2\nc: \xff\xfe\n")
    assert "line 3 is not UTF-8 text" in told(read, path)


@pytest.mark.parametrize("kind", ["text", "nothing", "objects", "an array of objects"])
def test_nobody_is_advised_to_run_what_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "poses.npy"
    with path.open("wb") as file:
        if kind == "text":
            file.write(b"time,hand\n")
        elif kind == "objects":
            np.savez(file, a=np.array([{}], dtype=object))
        elif kind == "an array of objects":
            np.save(file, np.array([{}], dtype=object))
    for read in (lambda path: read_npz(path, "poses", ""), _read_time_file):
        assert "pickle" not in told(read, path)
