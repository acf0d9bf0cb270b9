"""Windows of consecutive frames from crop caches, as the network takes them.

Letters: T frames, V views, S pixels a side. Nothing that a loss reads comes from the truth: without `truth` its files
are not even opened.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from calibration.errors import UserError
from calibration.hand import Definition
from models.data.augmentation import NO_AUGMENTATION, AugmentationConfig, WindowChange, draw
from models.data.crop_cache import CacheManifest, Shard, read_cache, shard_folders
from models.data.fused_labels import fuse, in_definition
from models.data.sightings import read_sightings
from models.network.config import MAX_VIEWS
from models.network.landmark_features import SIGHTING

FRAMES = 5
# After SIGTERM, for the process that they work for to end its step and save.
_TERM_S = 10.0
WindowKey = tuple[int, int, int]


class Place(NamedTuple):
    """Where a window's newest frame comes from: the hand's sequence, its time and its crops' target (3,), metres."""

    sequence: tuple[int, int]
    time_ns: int
    target_m: np.ndarray


class WindowDataset(Dataset):
    """All windows of some caches, on disk or in memory, whose newest frame has two views with labels.

    An item's key is its number, or (number, epoch, views): how many views it has at most (0: all). The same seed and
    key give the same item: a dict of tensors

        crops_rgb uint8 (T, V, S, S, 3), or with `sightings` what the landmark network said of each, float16 (T, V,
        SIGHTING), as models/data/sightings.py keeps it; P_crop float32 (T, V, 3, 4) from hand-centred metres to crop
        pixels; view_mask bool (T, V); frame_mask bool (T,); origins_m float32 (T, 3), each frame's crop target relative
        to the newest
        frame's; labels_px float32 (T, V, 21, 2) and label_confidence float32 (T, V, 21), 0 for no label; with `truth`
        joints_m float32 (T, 21, 3), hand-centred, and visible bool (T, V, 21); with `unseen` the cameras and labels of
        U views that were not drawn or have no picture, without theirs: unseen_P_crop (T, U, 3, 4), unseen_labels_px,
        unseen_confidence; with `fused` what all views' labels agree on, as models/data/fused_labels.py says: fused_px,
        fused_confidence, unseen_fused_px, unseen_fused_confidence, shaped as the labels.

    Frame T - 1 is the newest. Views and frames that are absent hold zeros, and False in the masks. V is the key's
    number of views, else `views`, else the most that a cache has and the network takes. With fewer views than a cache
    has they are drawn at random. Labels and truth are in the `definition` asked for (models/hand/definition.py); where
    that is not the cache's own, the labels are what all views' agree on. With None both are as in the cache, labels
    in its `labels_definition`. A cache of single views gives windows of one view. Raises UserError for a cache that is
    none, holds no window, or lacks its sightings.
    """

    def __init__(
        self,
        caches: Sequence[Path | tuple[CacheManifest, list[Shard]]],
        size_px: int = 128,
        frames: int = FRAMES,
        augmentation: AugmentationConfig = NO_AUGMENTATION,
        views: int | None = None,
        truth: bool = False,
        seed: int = 0,
        unseen: bool = False,
        fused: bool = False,
        sightings: bool = False,
        definition: Definition | None = "anatomical",
    ) -> None:
        self.size_px, self.frames, self.augmentation, self.truth, self.seed = size_px, frames, augmentation, truth, seed
        self.unseen = unseen
        self._shards: list[tuple[Shard, int, float]] = []
        self._sightings: list[tuple[np.ndarray, np.ndarray]] = []
        windows = []
        for cache in caches:
            manifest, shards = read_cache(cache, truth) if isinstance(cache, Path) else cache
            if sightings and isinstance(cache, Path):
                self._sightings += _read_all_sightings(cache, shards)
            if definition is not None:
                shards = [in_definition(each, manifest.definition, definition) for each in shards]
            self.labels_definition: Definition = definition or manifest.definition
            for shard in shards:
                newest = _newest_frames(shard, frames, 1 if manifest.views == 1 else 2)
                windows.append(np.stack([np.full(len(newest), len(self._shards)), newest], axis=1))
                self._shards.append((shard, manifest.size_px, manifest.margin))
        self._fused = [fuse(shard) for shard, _, _ in self._shards] if fused else []
        self._windows = np.concatenate(windows) if windows else np.empty((0, 2), np.int64)
        if not len(self._windows):
            names = ", ".join(str(cache) for cache in caches if isinstance(cache, Path))
            raise UserError(
                f"{names or 'the data'}: no window of {frames} consecutive frames whose last has labels in two views. "
                "Give longer sequences, or label the session."
            )
        self.views = views or min(MAX_VIEWS, max(shard.rows.shape[1] for shard, _, _ in self._shards))

    def __len__(self) -> int:
        return len(self._windows)

    def change_shards(self, change: Callable[[int, Shard], Shard]) -> None:
        """Replace each shard by what `change` makes of its number and itself: the same crops, labelled otherwise."""
        self._shards = [
            (change(number, shard), size_px, margin) for number, (shard, size_px, margin) in enumerate(self._shards)
        ]

    def place(self, number: int) -> Place:
        """Of the newest frame of the window of that number. Crops of left hands, and their targets, have x negated."""
        shard_number, newest = (int(each) for each in self._windows[number])
        shard = self._shards[shard_number][0]
        return Place((shard_number, int(shard.sequence[newest])), int(shard.time_ns[newest]), shard.targets_m[newest])

    def vertices_m(self, number: int) -> np.ndarray | None:
        """The true mesh (W, 3) of the newest frame of the window of that number, as its joints; None where unknown."""
        shard_number, newest = (int(each) for each in self._windows[number])
        vertices_m = self._shards[shard_number][0].vertices_m
        return None if vertices_m is None else vertices_m[newest].astype(np.float64)

    def __getitem__(self, key: int | WindowKey) -> dict[str, torch.Tensor]:
        number, epoch, views = (key, 0, 0) if isinstance(key, int) else key
        random = np.random.default_rng([self.seed, epoch, number])
        shard_number, newest = self._windows[number]
        shard, cached_px, margin = self._shards[shard_number]
        slots = views or self.views
        span = np.arange(newest - self.frames + 1, newest + 1)
        rows = shard.rows[span]
        usable = np.flatnonzero(_pictured(shard, rows[-1]))
        labelled = usable[(shard.label_confidence[rows[-1, usable]] > 0).any(1)]
        chosen = _choose(usable, labelled, min(slots, len(usable)), random)
        rows = rows[:, chosen]
        change = draw(self.augmentation, random, self.frames, len(chosen), cached_px, self.size_px, margin)
        seen = self._sightings[shard_number] if self._sightings else None
        if seen is not None:
            change, variant = _as_seen(change, seen[1], rows, random, self.augmentation is NO_AUGMENTATION)
        rows = _slots(np.where(change.keep, rows, -1), slots)
        mask = rows >= 0
        frame, view = np.nonzero(mask)

        T, S = self.frames, self.size_px
        crops = np.zeros((T, slots, S, S, 3), np.uint8) if seen is None else np.zeros((T, slots, SIGHTING), np.float16)
        for t, v in zip(frame, view, strict=True):
            if seen is None:
                crops[t, v] = change.image(shard.crops_rgb[rows[t, v]], int(t), int(v), S)
            else:
                crops[t, v] = seen[0][rows[t, v], variant[t, v]]
        item = {
            "crops_rgb": crops,
            "P_crop": _cameras(shard, change, rows),
            "view_mask": mask,
            "frame_mask": mask.any(1),
            "origins_m": change.origins(shard.targets_m[span]).astype(np.float32) * np.any(mask, axis=1)[:, None],
        }
        own = (shard.labels_px, shard.label_confidence)
        item["labels_px"], item["label_confidence"] = _labels(own, change, rows)
        if self._fused:
            item["fused_px"], item["fused_confidence"] = _labels(self._fused[shard_number], change, rows)
        if shard.joints_m is not None and shard.visible is not None:
            joints = change.joints(shard.joints_m[span].astype(np.float64))
            item["joints_m"] = (joints * np.any(mask, axis=1)[:, None, None]).astype(np.float32)
            item["visible"] = np.zeros((T, slots, 21), bool)
            item["visible"][frame, view] = shard.visible[rows[frame, view]]
        if self.unseen:
            rest = np.setdiff1d(np.flatnonzero(shard.rows[newest] >= 0), chosen)
            most = max(self.views - slots, 0)
            rest = rest if len(rest) <= most else np.sort(random.choice(rest, most, replace=False))
            plain = draw(NO_AUGMENTATION, random, T, len(rest), cached_px, self.size_px, margin)
            unseen = replace(change, affine=plain.affine)
            rows = np.where(item["frame_mask"][:, None], shard.rows[span][:, rest], -1)
            rows = _slots(rows, max(self.views - slots, 0))
            item["unseen_P_crop"] = _cameras(shard, unseen, rows)
            item["unseen_labels_px"], item["unseen_confidence"] = _labels(own, unseen, rows)
            if self._fused:
                fused = self._fused[shard_number]
                item["unseen_fused_px"], item["unseen_fused_confidence"] = _labels(fused, unseen, rows)
        return {name: torch.from_numpy(value) for name, value in item.items()}


class WindowBatches(Sampler):
    """Keys of an epoch's batches in random order, each batch with its own number of views, so that none is computed for
    nothing. `start` is the first batch, to go on after an interruption; the rest of an incomplete batch is left out."""

    def __init__(
        self, length: int, batch: int, views: Sequence[int], seed: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        self._length, self._batch, self._views, self._seed = length, batch, tuple(views), seed
        self._rank, self._world = rank, world
        self.epoch, self.start = 0, 0

    def __len__(self) -> int:
        return self._length // (self._batch * self._world) - self.start

    def __iter__(self) -> Iterator[list[WindowKey]]:
        random = np.random.default_rng([self._seed, self.epoch])
        order = random.permutation(self._length)
        batches = self._length // (self._batch * self._world)
        views = random.choice(self._views, batches)
        for index in range(self.start, batches):
            first = (index * self._world + self._rank) * self._batch
            numbers = order[first : first + self._batch]
            yield [(int(number), self.epoch, int(views[index])) for number in numbers]


def quiet_worker(_worker: int) -> None:
    """For a DataLoader's `worker_init_fn`: the workers are the parallelism, so OpenCV and torch start no threads.

    A signal to the whole group of processes is for the one that they work for, which saves and ends them. One that
    failed tells them to end as well, and waits for them: so they do, a little later.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: _end_later())
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def _end_later() -> None:
    end = threading.Timer(_TERM_S, os._exit, (0,))
    end.daemon = True
    end.start()


def _read_all_sightings(cache: Path, shards: list[Shard]) -> list[tuple[np.ndarray, np.ndarray]]:
    found = [
        read_sightings(folder, len(shard.crops_rgb)) for folder, shard in zip(shard_folders(cache), shards, strict=True)
    ]
    known = [each for each in found if each is not None]
    if len(known) < len(found):
        raise UserError(
            f"{cache}: lacks what the landmark network says of its crops. Run: python -m models.data.sightings "
            f"WEIGHTS {cache}"
        )
    return known


def _as_seen(
    change: WindowChange, variants: np.ndarray, rows: np.ndarray, random: np.random.Generator, plain: bool
) -> tuple[WindowChange, np.ndarray]:
    """The change with the affine maps of the variants that are drawn, and the variants' numbers (T, n); the first
    where it is to be `plain`."""
    variant = random.integers(1 if plain else variants.shape[1], size=rows.shape)
    return replace(change, affine=variants[rows, variant].astype(np.float64), colour=None), variant


def _newest_frames(shard: Shard, frames: int, least_views: int) -> np.ndarray:
    """Frames (n,) that end a window of one hand and have at least so many views with labels."""
    rows, sequence = np.asarray(shard.rows), np.asarray(shard.sequence)
    labelled = np.any(np.asarray(shard.label_confidence) > 0, axis=1)
    count = (_pictured(shard, rows) & labelled[rows]).sum(1) if len(labelled) else np.zeros(len(rows))
    last = np.arange(len(rows))
    whole = last >= frames - 1
    whole &= sequence == sequence[np.maximum(last - frames + 1, 0)]
    return last[whole & (count >= least_views)]


def _pictured(shard: Shard, rows: np.ndarray) -> np.ndarray:
    """Which of the crops of those numbers, any shape, have a picture."""
    return (rows >= 0) & (rows < len(shard.crops_rgb))


def _slots(rows: np.ndarray, slots: int) -> np.ndarray:
    """The crops `rows` (T, n) in `slots` >= n slots, -1 in those that stay empty."""
    return np.pad(rows, ((0, 0), (0, slots - rows.shape[1])), constant_values=-1)


def _cameras(shard: Shard, change: WindowChange, rows: np.ndarray) -> np.ndarray:
    """P_crop (T, n, 3, 4) of the crops `rows` (T, n), zero where that is -1."""
    frame, view = np.nonzero(rows >= 0)
    P_crop = np.zeros((*rows.shape, 3, 4), np.float32)
    P_crop[frame, view] = change.projection(shard.P_crop[rows[frame, view]].astype(np.float64), frame, view)
    return P_crop


def _labels(
    labels: tuple[np.ndarray, np.ndarray], change: WindowChange, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Labels (T, n, 21, 2) and confidence (T, n, 21) of the crops `rows` (T, n), zero where that is -1."""
    keypoints_px, confidence = labels
    frame, view = np.nonzero(rows >= 0)
    at = rows[frame, view]
    labels_px, trust = np.zeros((*rows.shape, 21, 2), np.float32), np.zeros((*rows.shape, 21), np.float32)
    trust[frame, view] = confidence[at]
    labels_px[frame, view] = change.labels(keypoints_px[at], frame, view) * (confidence[at] > 0)[..., None]
    return labels_px, trust


def _choose(usable: np.ndarray, labelled: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """`count` of the usable views in order, of which two have labels, where there are two (new labels may be fewer)."""
    if count == len(usable):
        return usable
    sure = random.choice(labelled, min(2, count, len(labelled)), replace=False)
    rest = random.choice(np.setdiff1d(usable, sure), count - len(sure), replace=False)
    return np.sort(np.concatenate([sure, rest]))
