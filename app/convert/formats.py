"""The files that recorded hands can be written to, by ending."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.convert.hand_recording import HandRecording
from app.convert.validity import validity_file
from calibration.errors import UserError


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
        missing = any(hand.arm is not None or not hand.valid.all() for hand in recording.hands)
        return not (("filled" in self.silent and filled) or ("missing" in self.silent and missing))

    def writer(self) -> Callable[[Path, HandRecording], None]:
        """Raises UserError, with the line that installs it, where a library is missing."""
        if self.extra == "parquet":
            _need("pyarrow", self)
        try:
            module, _, name = self.function.partition(".")
            return getattr(importlib.import_module(f"app.convert.{module}"), name)
        except ModuleNotFoundError as error:
            raise _missing(error.name or "", self) from None


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
    if path.is_dir():
        raise UserError(f"`{path}` is a folder. Give the name of a file.")
    if found.silent and validity_file(path).is_dir():
        raise UserError(f"`{validity_file(path)}` is a folder, and what `{path}` cannot say goes there. Remove it.")
    folder = path.resolve().parent
    if not folder.is_dir():
        raise UserError(f"`{path}`: there is no folder `{folder}`. Make it first.")
    found.writer()
    return found


def _need(package: str, known: PoseFormat) -> None:
    try:
        importlib.import_module(package)
    except ModuleNotFoundError:
        raise _missing(package, known) from None


def _missing(package: str, known: PoseFormat) -> UserError:
    return UserError(
        f'{known.title} needs the package `{package}`. Install it: pip install "usthand-live[{known.extra}]"'
    )
