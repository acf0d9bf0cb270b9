"""A crop cache: hands cut out of images once, so that training reads small pictures instead of decoding videos.

A cache is a directory with `manifest.json` and shards `shard_00000`, `shard_00001`, ... A shard is a directory of
arrays, of which the pictures are memory-mapped (R pictures, L >= R crops, N frames of one or more hands, V views at
most, S pixels a side):

    crops_rgb (R, S, S, 3) uint8; P_crop (L, 3, 4) float32; labels_px (L, 21, 2) and label_confidence (L, 21) float32 in
    pixels of the crop, confidence 0 for no label; rows (N, V) int32, the crop of each frame and view, -1 for none;
    sequence (N,) int32, the frames of one hand in order having one number; time_ns (N,) int64; targets_m (N, 3)
    float64, where the crops look, world metres, x negated for left hands; `truth.npz` where the truth is known:
    joints_m (N, 21, 3) float32 relative to the target, in the same axes, visible (L, 21) bool and, of data to evaluate
    on, vertices_m (N, W, 3) float32 of the built-in hand's mesh, as the joints.

The crops from R on have no picture: their views say what their labels were, for labels of many views are worth more
than pictures of them. Crops of left hands are mirrored. They show `margin` times as much as the network is to see, for
augmentation.
"""

import errno
import json
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from calibration.errors import UserError, reason_of
from calibration.found_files import read_found, remove_folder
from calibration.hand import Definition
from calibration.plain_json import parse_json
from calibration.written_files import errors_naming, write_atomic
from models.files.npyfile import read_npy, write_npy
from models.files.npzfile import read_npz

CACHE_VERSION = 1
MARGIN = 1.25


class CacheManifest(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`manifest.json`: side of the crops, views at most, where on the hand the labels' points lie, and what made
    them, so that they can be made again."""

    size_px: int
    views: int
    margin: float = MARGIN
    truth: bool = False
    source: str = ""
    definition: Definition = "anatomical"
    settings: dict[str, Any] = {}
    version: int = CACHE_VERSION


@dataclass(frozen=True, kw_only=True)
class Shard:
    """The arrays of a shard; see the module. The last three are None where the truth is not known or read."""

    crops_rgb: np.ndarray
    P_crop: np.ndarray
    labels_px: np.ndarray
    label_confidence: np.ndarray
    rows: np.ndarray
    sequence: np.ndarray
    time_ns: np.ndarray
    targets_m: np.ndarray
    joints_m: np.ndarray | None = None
    visible: np.ndarray | None = None
    vertices_m: np.ndarray | None = None


_DTYPES = {
    "crops_rgb": np.uint8, "P_crop": np.float32, "labels_px": np.float32, "label_confidence": np.float32,
    "rows": np.int32, "sequence": np.int32, "time_ns": np.int64, "targets_m": np.float64,
}  # fmt: skip
_TRUTH = ("joints_m", "visible", "vertices_m")
_AGAIN = "Remove it and run the command that made it again."
_OF_CROPS = ("P_crop", "labels_px", "label_confidence", "visible")


def single_crops(crops_rgb: np.ndarray, labels_px: np.ndarray, label_confidence: np.ndarray) -> Shard:
    """Crops of one view without its geometry, each a sequence of its own."""
    count = len(crops_rgb)
    return Shard(
        crops_rgb=crops_rgb,
        P_crop=np.zeros((count, 3, 4), np.float32),
        labels_px=labels_px,
        label_confidence=label_confidence,
        rows=np.arange(count, dtype=np.int32)[:, None],
        sequence=np.arange(count, dtype=np.int32),
        time_ns=np.zeros(count, np.int64),
        targets_m=np.zeros((count, 3)),
    )


def join(shards: list[Shard]) -> Shard:
    """One shard of several, with their rows and sequences counted on."""
    pictures = [len(shard.crops_rgb) for shard in shards]
    others = [len(shard.P_crop) - count for shard, count in zip(shards, pictures, strict=True)]
    firsts = zip(np.cumsum([0, *pictures]), sum(pictures) + np.cumsum([0, *others]), strict=True)
    counts = [int(shard.sequence.max()) + 1 for shard in shards]
    sequences = np.cumsum([0, *counts])
    values: dict[str, Any] = {}
    for field in fields(Shard):
        parts = [getattr(shard, field.name) for shard in shards]
        if field.name == "rows":
            views = max(part.shape[1] for part in parts)
            parts = [
                np.where(part < 0, -1, np.where(part < count, part + first, part - count + other))
                for part, count, (first, other) in zip(parts, pictures, firsts, strict=False)
            ]
            parts = [np.pad(part, ((0, 0), (0, views - part.shape[1])), constant_values=-1) for part in parts]
        elif field.name == "sequence":
            parts = [part + first for part, first in zip(parts, sequences[:-1], strict=True)]
        elif field.name in _OF_CROPS and all(part is not None for part in parts):
            counted = [*zip(parts, pictures, strict=True)]
            parts = [part[:count] for part, count in counted] + [part[count:] for part, count in counted]
        values[field.name] = None if any(part is None for part in parts) else np.concatenate(parts)
    return Shard(**values)


def check_new(path: Path) -> None:
    """Raises UserError where there is a crop cache already, or what is left of one whose making was interrupted."""
    if (path / "manifest.json").exists():
        raise UserError(f"{path}: is a crop cache already. Give a new directory, or remove it.")
    if shard_folders(path):
        raise UserError(
            f"{path}: holds part of a crop cache whose making was interrupted. Remove it, or give a new directory."
        )


def write_manifest(path: Path, manifest: CacheManifest) -> None:
    """Write `manifest.json` atomically, for a person to read as well."""
    write_atomic(path / "manifest.json", json.dumps(msgspec.to_builtins(manifest), indent=2).encode())


def write_shard(path: Path, index: int, shard: Shard) -> None:
    """Write a shard into the cache directory `path`, so that it is there whole or not at all."""
    final = shard_path(path, index)
    temporary = path / f".{final.name}.{os.getpid()}.tmp"
    remove_folder(temporary)
    temporary.mkdir(parents=True)
    try:
        for name, dtype in _DTYPES.items():
            write_npy(temporary / f"{name}.npy", np.asarray(getattr(shard, name), dtype=dtype))
        if shard.joints_m is not None and shard.visible is not None:
            truth = {"joints_m": shard.joints_m.astype(np.float32), "visible": shard.visible.astype(bool)}
            if shard.vertices_m is not None:
                truth["vertices_m"] = shard.vertices_m.astype(np.float32)
            with errors_naming(temporary / "truth.npz"):
                np.savez(temporary / "truth.npz", **truth)
        temporary.rename(final)
    finally:
        remove_folder(temporary)


def shard_path(path: Path, index: int) -> Path:
    return path / f"shard_{index:05d}"


def shard_folders(path: Path) -> list[Path]:
    """Those that are there, in order."""
    return sorted(path.glob("shard_*"))


def read_manifest(path: Path) -> CacheManifest:
    """Raises UserError where the directory is no crop cache, or one of another version."""
    try:
        manifest = parse_json(read_found(path / "manifest.json"), CacheManifest)
    except FileNotFoundError:
        raise UserError(
            f"{path}: is no crop cache: it has no manifest.json. Make one with `usthand simulate-crops`, or of a "
            "labelled session with `python -m models.data.cache_session SESSION OUT`."
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path / 'manifest.json'}: cannot be read ({reason_of(error)}). Make the cache again."
        ) from None
    if manifest.version != CACHE_VERSION:
        raise UserError(
            f"{path}: version {manifest.version}; this program reads version {CACHE_VERSION}. Make it again."
        )
    return manifest


def is_upright(path: Path) -> bool | None:
    """Whether simulated crops are; None of others, which do not say it. Raises UserError as `read_manifest`."""
    manifest = read_manifest(path)
    return bool(manifest.settings.get("upright")) if manifest.source == "simulated" else None


def check_upright(path: Path, upright: bool) -> None:
    """Raises UserError where simulated crops are upright and should not be, or the other way around."""
    if is_upright(path) not in (None, upright):
        wanted = (
            "upright crops: `usthand simulate-crops OUT --upright --size 224`"
            if upright
            else "plain crops, without `--upright`"
        )
        raise UserError(f"{path}: not the crops that this network takes. Make a cache of {wanted}.")


def read_cache(path: Path, truth: bool = False) -> tuple[CacheManifest, list[Shard]]:
    """A cache's manifest and shards, the crops memory-mapped. Without `truth` the files of the truth are not opened.

    Raises UserError where the directory is no cache, holds no shard, or a shard is damaged.
    """
    path = Path(path)
    manifest = read_manifest(path)
    if truth and not manifest.truth:
        raise UserError(f"{path}: the true joints are not known here. Evaluate on simulated data.")
    shards = [_read_shard(folder, manifest, truth) for folder in shard_folders(path)]
    if not shards:
        raise UserError(f"{path}: the cache has no shard. Make it again; it was interrupted at its beginning.")
    return manifest, shards


def read_beside(folder: Path, again: str, pictures: int, shapes: dict[str, tuple[int, ...]]) -> list[np.ndarray]:
    """Arrays (R, A, *shape) by the names of `shapes` that a program keeps beside a shard of R pictures.

    The first is memory-mapped; where it is missing, what is to be run `again` makes all of them. Raises UserError where
    one is missing, damaged or has another shape.
    """
    arrays: list[np.ndarray] = []
    for name, shape in shapes.items():
        file = folder / f"{name}.npy"
        try:
            array = read_npy(file, mapped=not arrays)
            expected = (pictures, *(arrays[0].shape[1:2] if arrays else array.shape[1:2] or (1,)), *shape)
            if array.shape != expected or array.dtype.kind != "f":
                raise ValueError(f"{array.shape} {array.dtype}, expected {expected}")
        except (OSError, ValueError) as error:
            raise UserError(
                f"{file}: damaged ({reason_of(error)}). Remove {folder / next(iter(shapes))}.npy and run {again}"
            ) from None
        arrays.append(array)
    return arrays


def _damaged(folder: Path, error: Exception) -> UserError:
    return UserError(f"{folder}: damaged ({reason_of(error)}). {_AGAIN}")


def _refuse_pipes(folder: Path) -> None:
    """numpy would wait for one's other end."""
    if pipes := [path.name for path in folder.iterdir() if path.is_fifo()]:
        raise ValueError(f"{', '.join(pipes)} is a pipe")


def _read_shard(folder: Path, manifest: CacheManifest, truth: bool) -> Shard:
    try:
        _refuse_pipes(folder)
        # Each map holds a file open, so only what is large is mapped.
        arrays = {name: read_npy(folder / f"{name}.npy", mapped=name == "crops_rgb") for name in _DTYPES}
        if truth:
            found = read_npz(folder / "truth.npz", "the truth", _AGAIN, _TRUTH)
            arrays |= {name: found[name] for name in _TRUTH if name in found or name != "vertices_m"}
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise UserError(
                f"{folder}: too many files are open, for each shard holds one. Raise the limit (`ulimit -n 65536`) and "
                "run this again."
            ) from None
        raise _damaged(folder, error) from None
    except (ValueError, KeyError) as error:
        raise _damaged(folder, error) from None
    pictures, frames, size = len(arrays["crops_rgb"]), len(arrays["rows"]), manifest.size_px
    crops = max(pictures, len(arrays["P_crop"]))
    shapes = {
        "crops_rgb": (pictures, size, size, 3), "P_crop": (crops, 3, 4), "labels_px": (crops, 21, 2),
        "label_confidence": (crops, 21), "rows": (frames, manifest.views), "sequence": (frames,), "time_ns": (frames,),
        "targets_m": (frames, 3), "joints_m": (frames, 21, 3), "visible": (crops, 21),
        "vertices_m": (frames, *arrays.get("vertices_m", np.empty((0, 0))).shape[1:2], 3),
    }  # fmt: skip
    for name, array in arrays.items():
        if array.shape != shapes[name] or (name in _DTYPES and array.dtype != _DTYPES[name]):
            raise UserError(
                f"{folder}: `{name}` is {array.shape} {array.dtype}; expected {shapes[name]}. Remove it and run the "
                "command that made it again."
            )
    for name in ("P_crop", "labels_px", "label_confidence", "targets_m"):
        if not np.isfinite(arrays[name]).all():
            raise UserError(f"{folder}: `{name}` holds NaN or infinity. Remove it and make it again.")
    for name, least, most in (("rows", -1, crops - 1), ("label_confidence", 0, 1)):
        if ((arrays[name] < least) | (arrays[name] > most)).any():
            raise UserError(
                f"{folder}: `{name}` holds numbers outside of {least} to {most}. Remove it and make it again."
            )
    return Shard(**arrays)
