"""The files that recorded hands can be written to, by ending."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.convert.hand_recording import HandRecording
from app.convert.validity import validity_file
from calibration.errors import UserError
from calibration.written_files import check_can_write

_PARQUET = "pyarrow.parquet"
"""app.convert.tables loads it when it writes, for CSV does without."""


@dataclass(frozen=True)
class PoseFormat:
    """A format: what it is called, the function of app.convert that writes it, and the extra it needs."""

    title: str
    function: str
    """Such as "trc.write_mot"."""
    extra: str | None = None
    silent: tuple[Literal["filled", "missing"], ...] = ()
    """Of which frames its files cannot say that a hand, or its arm, was not measured."""

    def says_all(self, recording: HandRecording) -> bool:
        """Whether its file needs no table beside it that says in which frames hands were measured."""
        filled = any(hand.filled.any() for hand in recording.hands)
        missing = any(hand.arm is not None or not hand.posed.all() for hand in recording.hands)
        return not (("filled" in self.silent and filled) or ("missing" in self.silent and missing))

    def writer(self) -> Callable[[Path, HandRecording], None]:
        """Raises UserError, with the line that installs it, where a library is missing or cannot be loaded."""
        module, _, name = self.function.partition(".")
        install = f'pip install "usthand-live[{self.extra}]"'
        try:
            if self.extra == "parquet":
                importlib.import_module(_PARQUET)
            return getattr(importlib.import_module(f"app.convert.{module}"), name)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            raise UserError(f"{self.title} needs the package `{package}`. Install it: {install}") from None
        except Exception as error:  # A library that is damaged, or not of this system, can fail in any way.
            raise UserError(
                f"{self.title}: the library for it is installed and cannot be loaded ({error}). Add what it misses, "
                f"or install it again: {install}"
            ) from None


FORMATS = {
    ".npz": PoseFormat("NumPy arrays", "npz.write_npz_file"),
    ".csv": PoseFormat("table, tidy: one row a joint", "tables.write_csv"),
    ".wide.csv": PoseFormat("table, wide: one row a frame", "tables.write_wide_csv"),
    ".parquet": PoseFormat("Apache Parquet, tidy", "tables.write_parquet", "parquet"),
    ".wide.parquet": PoseFormat("Apache Parquet, wide", "tables.write_wide_parquet", "parquet"),
    ".jsonl": PoseFormat("JSON, one line a frame", "json_lines.write_json_lines"),
    ".c3d": PoseFormat("C3D: joints and angles", "c3d.write_c3d", "c3d"),
    ".trc": PoseFormat("OpenSim markers", "trc.write_trc", silent=("filled",)),
    ".mot": PoseFormat("OpenSim motion: joint angles", "trc.write_mot", silent=("filled",)),
    ".bvh": PoseFormat("BVH: skeleton animation", "bvh.write_bvh", silent=("filled", "missing")),
    ".glb": PoseFormat("glTF 2.0: animated skeleton and skinned mesh", "gltf.write_glb"),
    ".usd": PoseFormat("USD: animated skeleton and skinned mesh", "usd.write_usd", "usd"),
    ".usda": PoseFormat("USD as text", "usd.write_usd", "usd"),
    ".usdc": PoseFormat("USD in binary", "usd.write_usd", "usd"),
    ".nwb": PoseFormat("Neurodata Without Borders, with ndx-pose", "nwb.write_nwb", "nwb"),
    ".rrd": PoseFormat("Rerun", "rerun_file.write_rrd", "rerun"),
    ".mcap": PoseFormat("MCAP for Foxglove: a scene and numbers", "mcap_file.write_mcap", "mcap"),
}


def format_of(path: Path) -> PoseFormat:
    """The format of a file by its ending. Raises UserError for another ending, and lists the known ones."""
    name = path.name.lower()
    for ending in sorted(FORMATS, key=len, reverse=True):
        if name.endswith(ending) and len(name) > len(ending):
            return FORMATS[ending]
    raise UserError(f"`{path}`: the name must end in one of {' '.join(FORMATS)}.")


def check_out(path: Path) -> PoseFormat:
    """The format of a file to be written. Raises UserError where it cannot be: ending, folder, missing library."""
    found = format_of(path)
    check_can_write(path, f"`{path}`")
    if found.silent:
        check_can_write(validity_file(path), f"`{validity_file(path)}`")
    found.writer()
    return found
