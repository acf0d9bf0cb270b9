"""The rows of poses that lie on the disk while a run goes on, and the NPZ file that they become at its end.

Here, and not beside the worker that writes them: the supervisor makes the file of a worker that died.
"""

import os
import shutil
from itertools import count
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from app.run.file_lock import lock_file
from calibration.errors import UserError
from calibration.found_files import read_found
from calibration.hand import Definition
from calibration.plain_json import parse_json

VERSION = 1
"""Of the file, and of one that does not say: a change of what an array means raises it."""

HAND_ROW = np.dtype(
    [
        ("time", np.int64),
        ("hand", "U5"),
        ("track", np.int64),
        ("joints", np.float32, (21, 3)),
        ("covariance", np.float32, (21, 3, 3)),
        ("confidence", np.float32, (21,)),
        ("views", np.uint64),
    ]
)
AHEAD_ROW = np.dtype(
    [
        ("time", np.int64),
        ("seen_time", np.int64),
        ("hand", "U5"),
        ("track", np.int64),
        ("joints", np.float32, (21, 3)),
        ("covariance", np.float32, (21, 3, 3)),
    ]
)
"""A forecast; a file has these where there are some."""
ARM_ROW = np.dtype(
    [
        ("time", np.int64),
        ("hand", "U5"),
        ("track", np.int64),
        ("side", "U5"),
        ("elbow", np.float32, (3,)),
        ("elbow_covariance", np.float32, (3, 3)),
        ("shoulder", np.float32, (3,)),
        ("shoulder_covariance", np.float32, (3, 3)),
    ]
)
"""An arm of a hand; likewise."""
SET_ROW = np.dtype([("time", np.int64), ("views", np.uint64), ("held", np.int64), ("predicted", np.int64)])
_MORE = {"ahead": ("ahead", AHEAD_ROW), "arms": ("arm", ARM_ROW)}
"""Rows that not every run has, by file: the prefix of their arrays, and what they are."""


def part_of(path: Path) -> Path:
    """Where the rows lie while a run goes on."""
    return path.with_name(f".{path.name}.part")


def has_rows(path: Path) -> bool:
    """Whether a run left rows that did not become the file."""
    return (part_of(path) / "about.json").is_file()


def is_written(path: Path) -> bool:
    """Whether a process that lives writes rows there."""
    try:
        with (part_of(path) / "hands").open("rb", buffering=0) as hands:
            return not lock_file(hands.fileno())
    except OSError:
        return False


def keep_rows(path: Path) -> tuple[Path, int]:
    """Make a file of its own, `NAME-interrupted-1.npz` or the next, of what a run that was killed left; returns it and
    how many hands. Raises as `finish_poses`; then the rows are that file's."""
    others = (path.with_stem(f"{path.stem}-interrupted-{number}") for number in count(1))
    kept = next(other for other in others if not other.exists() and not part_of(other).exists())
    part_of(path).rename(part_of(kept))
    return kept, finish_poses(kept)


def finish_poses(path: Path) -> int:
    """Make the file of the rows that there are, and remove those; returns how many hands.

    Raises OSError, and UserError where they are not what a run left.
    """
    part = part_of(path)
    about = _about(part / "about.json")
    cameras = len(about.cameras)
    hands, sets = _rows(part / "hands", HAND_ROW), _rows(part / "sets", SET_ROW)
    arrays = {name: hands[name] for name in HAND_ROW.names or () if name != "views"}
    arrays |= {"views": _bits(hands["views"], cameras), "cameras": np.array(about.cameras)}
    arrays |= {f"set_{name}": sets[name] for name in ("time", "held", "predicted")}
    arrays |= {"set_views": _bits(sets["views"], cameras), "definition": np.array(about.definition)}
    for file, (prefix, row) in _MORE.items():
        if (part / file).is_file():
            more = _rows(part / file, row)
            arrays |= {f"{prefix}_{name}": more[name] for name in row.names or ()}
    arrays["version"] = np.array(VERSION)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        (part / "room").unlink(missing_ok=True)
        with temporary.open("wb") as file:
            np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
        os.replace(temporary, path)
    except OSError:
        if not (len(hands) or len(sets)):
            shutil.rmtree(part, ignore_errors=True)
        raise
    finally:
        temporary.unlink(missing_ok=True)
    shutil.rmtree(part, ignore_errors=True)
    return len(hands)


def mend_rows(path: Path) -> int:
    """Cut off what a writer that was killed left of a row, so that more may follow. Returns the first number that no
    hand has yet. Raises OSError."""
    part = part_of(path)
    for name, row in (("hands", HAND_ROW), ("sets", SET_ROW), *((file, row) for file, (_, row) in _MORE.items())):
        if (part / name).is_file():
            os.truncate(part / name, (part / name).stat().st_size // row.itemsize * row.itemsize)
    tracks = _rows(part / "hands", HAND_ROW)["track"]
    return int(tracks.max()) + 1 if len(tracks) else 0


class _About(msgspec.Struct):
    cameras: Annotated[list[str], msgspec.Meta(max_length=64)]
    definition: Definition


def _about(path: Path) -> _About:
    try:
        return parse_json(read_found(path), _About)
    except ValueError as error:
        raise UserError(f"{path}: is not what a run left of its poses ({error}). Remove {path.parent}.") from None


def _rows(path: Path, dtype: np.dtype) -> np.ndarray:
    """Whole rows only: a process that was killed may have left a part of one."""
    rows = path.stat().st_size // dtype.itemsize
    return np.memmap(path, dtype, "r", shape=(rows,)) if rows else np.empty(0, dtype)


def _bits(masks: np.ndarray, width: int) -> np.ndarray:
    """(n, width) bool"""
    return (masks[:, None] >> np.arange(width, dtype=np.uint64)) & np.uint64(1) == 1
