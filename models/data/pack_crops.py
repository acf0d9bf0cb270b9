"""Crop caches become one small file for a machine with a GPU: see models/data/packed_crops.py.

python -m models.data.pack_crops OUT.npz CACHE... --validation CACHE...
"""

import argparse
import io
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from calibration.errors import UserError
from calibration.programs import exit_code, finite
from calibration.written_files import write_atomic
from models.data.crop_cache import MARGIN, Shard, is_upright, read_cache
from models.data.fused_labels import in_definition
from models.data.packed_crops import DEFINITIONS

_SIZE_PX = 140
_SEED = 0
_MIB = 1 << 20


class _Sequence(NamedTuple):
    """The frames of one hand: `frames` of a shard, which is known in both definitions."""

    shards: dict[str, Shard]
    frames: np.ndarray
    held: bool
    cached_px: int


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m models.data.pack_crops", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("caches", type=Path, nargs="+", help="crop caches to train on; single views are left out")
    parser.add_argument("--validation", type=Path, nargs="*", default=[], help="crop caches to validate on")
    parser.add_argument("--mib", type=finite, default=48, help="the largest size (default: %(default)s)")
    parser.add_argument("--size", type=int, default=_SIZE_PX, help="side of the pictures, even (default: %(default)s)")
    args = parser.parse_args()
    return exit_code(lambda: pack(args.out, args.caches, args.validation, args.mib, args.size), place=args.out)


def pack(out: Path, caches: list[Path], validation: list[Path], mib: float, size_px: int = _SIZE_PX) -> int:
    """Hands are drawn until the file is full, of the validation's at most a fifth.

    Raises UserError as `read_cache`, for a side that is not even, where some caches are of upright crops and others
    of plain ones, and where no hand is packed.
    """
    if size_px < 2 or size_px % 2:
        raise UserError(f"`--size {size_px}`: colours are kept for two pixels by two. Give an even number.")
    upright = _kind([*caches, *validation])
    random, parts = np.random.default_rng(_SEED), []
    for paths, held, share in ((validation, True, 0.2), (caches, False, 1.0)):
        found = [each for path in paths for each in _sequences(path, held)]
        for index in random.permutation(len(found)):
            part = _arrays(found[index], size_px)
            size = sum(len(zlib.compress(array.tobytes(), 6)) for array in part.values())
            if sum(each[1] for each in parts) + size > share * mib * _MIB:
                break
            parts.append((part, size))
    if not parts:
        raise UserError(
            f"{out}: no hand to pack: none that two views show is in {', '.join(map(str, [*caches, *validation]))}, or "
            f"the first is larger than `--mib {mib:g}`. Give caches of several views, or more MiB."
        )
    arrays = _join([part for part, _ in parts])
    content = io.BytesIO()
    np.savez_compressed(content, **arrays, margin=np.float32(MARGIN), upright=np.int8(upright))  # type: ignore[arg-type]
    write_atomic(out, content.getvalue())
    sys.stdout.write(
        f"{out}: {len(arrays['luma'])} pictures of {len(arrays['rows'])} frames, "
        f"{len(content.getvalue()) / _MIB:.1f} MiB\n"
    )
    return 0


def _kind(caches: list[Path]) -> int:
    """1 of upright crops, 0 of plain ones, -1 where no cache says it."""
    kinds = {upright: cache for cache in caches if (upright := is_upright(cache)) is not None}
    if len(kinds) > 1:
        raise UserError(
            f"{kinds[True]} has upright crops and {kinds[False]} plain ones, and no network takes both. "
            "Pack them apart."
        )
    return int(next(iter(kinds))) if kinds else -1


def _sequences(path: Path, held: bool) -> Iterator[_Sequence]:
    """The hands of a cache that two views or more show."""
    manifest, shards = read_cache(path)
    if manifest.truth:
        shards = read_cache(path, truth=True)[1]
    if manifest.views < 2:
        return
    for shard in shards:
        both = {name: in_definition(shard, manifest.definition, name) for name in DEFINITIONS}
        for number in np.unique(shard.sequence):
            yield _Sequence(both, np.flatnonzero(shard.sequence == number), held, manifest.size_px)


def _arrays(of: _Sequence, size_px: int) -> dict[str, np.ndarray]:
    """What is packed of a hand, rows counted from its own first picture."""
    first = of.shards[DEFINITIONS[0]]
    rows = np.where(first.rows[of.frames] < len(first.crops_rgb), first.rows[of.frames], -1)
    pictures = np.unique(rows[rows >= 0])
    scale = size_px / of.cached_px
    shrink = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2], [0, 0, 1]])
    halves = (size_px // 2, size_px // 2)
    luma, chroma = [], []
    for row in pictures:
        small = cv2.resize(np.asarray(first.crops_rgb[row]), (size_px, size_px), interpolation=cv2.INTER_AREA)
        ycrcb = cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb)
        luma.append(ycrcb[..., 0])
        chroma.append(cv2.resize(ycrcb[..., [2, 1]], halves, interpolation=cv2.INTER_AREA))
    arrays = {
        "luma": np.array(luma, np.uint8).reshape(-1, size_px, size_px),
        "chroma": np.array(chroma, np.uint8).reshape(-1, *halves, 2),
        "P_crop": (shrink @ first.P_crop[pictures]).astype(np.float32),
        "rows": np.where(rows < 0, -1, np.searchsorted(pictures, rows)).astype(np.int64),
        "sequence": np.zeros(len(of.frames), np.int64),
        "targets_m": first.targets_m[of.frames].astype(np.float64),
        "held": np.full(len(of.frames), of.held),
    }
    for name, shard in of.shards.items():
        joints_m = np.full((len(of.frames), 21, 3), np.nan) if shard.joints_m is None else shard.joints_m[of.frames]
        labels_px = shard.labels_px[pictures] * scale + (scale - 1) / 2
        arrays |= {
            f"labels_px_{name}": labels_px.astype(np.float32),
            f"confidence_{name}": shard.label_confidence[pictures].astype(np.float32),
            f"joints_m_{name}": joints_m.astype(np.float32),
        }
    return arrays


def _join(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    views, pictures, joined = max(part["rows"].shape[1] for part in parts), 0, []
    for number, part in enumerate(parts):
        rows = np.where(part["rows"] < 0, -1, part["rows"] + pictures)
        rows = np.pad(rows, ((0, 0), (0, views - rows.shape[1])), constant_values=-1)
        joined.append(part | {"rows": rows, "sequence": part["sequence"] + number})
        pictures += len(part["luma"])
    return {name: np.concatenate([part[name] for part in joined]) for name in parts[0]}


if __name__ == "__main__":
    sys.exit(main())
