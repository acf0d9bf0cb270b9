"""Kept sightings: their variants' labels, what is refused, and that nothing but what was kept reaches a window."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from calibration.errors import UserError
from models.data.augmentation import AugmentationConfig
from models.data.crop_cache import CacheManifest, Shard, write_manifest, write_shard
from models.data.sightings import add_sightings, degrade, read_sightings
from models.data.windows import WindowDataset
from models.network.landmark_features import SIGHTING, Sightings
from models.network.landmark_net import LandmarkNet

SIDE_PX, FRAMES, VIEWS = 280, 2, 2
PLAIN = AugmentationConfig(drop_frames=0, drop_crops=0, target_m=0, world="none", colour=0)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cache")
    random = np.random.default_rng(1)
    count = FRAMES * VIEWS
    shard = Shard(
        crops_rgb=random.integers(0, 256, (count, SIDE_PX, SIDE_PX, 3)).astype(np.uint8),
        P_crop=random.normal(size=(count, 3, 4)).astype(np.float32),
        labels_px=random.uniform(40, 240, (count, 21, 2)).astype(np.float32),
        label_confidence=np.ones((count, 21), np.float32),
        rows=np.arange(count, dtype=np.int32).reshape(FRAMES, VIEWS),
        sequence=np.zeros(FRAMES, np.int32),
        time_ns=np.arange(FRAMES) * 33_000_000,
        targets_m=np.zeros((FRAMES, 3)),
    )
    write_shard(path, 0, shard)
    write_manifest(path, CacheManifest(size_px=SIDE_PX, views=VIEWS, source="session"))
    return path


def test_a_cache_without_them_is_refused(cache: Path) -> None:
    with pytest.raises(UserError, match=r"python -m models\.data\.sightings"):
        WindowDataset([cache], 224, FRAMES, sightings=True)


def test_windows_hold_what_was_kept_with_labels_moved_as_the_pictures_were(cache: Path) -> None:
    torch.manual_seed(0)
    assert add_sightings(cache, LandmarkNet(), variants=2) == FRAMES * VIEWS * 2
    assert add_sightings(cache, LandmarkNet(), variants=2) == 0  # they are there
    kept = read_sightings(cache / "shard_00000", FRAMES * VIEWS)
    assert kept is not None
    sightings, variants = kept
    assert sightings.shape == (FRAMES * VIEWS, 2, SIGHTING) and variants.shape == (FRAMES * VIEWS, 2, 3, 3)
    item = WindowDataset([cache], 224, FRAMES, PLAIN, sightings=True)[(0, 3, VIEWS)]
    labels_px = np.load(cache / "shard_00000" / "labels_px.npy")
    for frame in range(FRAMES):
        for view in range(VIEWS):
            row = frame * VIEWS + view
            seen = item["crops_rgb"][frame, view].numpy()
            (variant,) = np.flatnonzero((sightings[row] == seen).all(1))
            A = variants[row, variant]
            assert item["labels_px"][frame, view].numpy() == pytest.approx(
                labels_px[row] @ A[:2, :2].T + A[:2, 2], abs=1e-3
            )
    unpacked = Sightings.unpack(torch.from_numpy(np.array(sightings[:, 0])))
    assert unpacked.samples.shape == (FRAMES * VIEWS, 21, 368)


def test_a_harm_of_no_strength_changes_nothing() -> None:
    image = np.random.default_rng(2).integers(0, 256, (224, 224, 3)).astype(np.uint8)
    same = degrade(image, np.random.default_rng(3), 0.0)
    assert np.abs(same.astype(int) - image).max() <= 1
    harmed = [np.abs(degrade(image, np.random.default_rng(seed), 1.0).astype(int) - image).mean() for seed in range(8)]
    assert min(harmed) > 1


@pytest.mark.parametrize("damage", ["no variants", "torn", "too short", "no numbers"])
def test_damaged_sightings_are_named_with_what_makes_them_again(cache: Path, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "cache"
    shutil.copytree(cache, path)
    folder = path / "shard_00000"
    count = FRAMES * VIEWS
    np.save(folder / "sightings.npy", np.zeros((count - (damage == "too short"), 2, SIGHTING), np.float16))
    np.save(folder / "variants.npy", np.tile(np.eye(3, dtype=np.float32), (count, 2, 1, 1)))
    if damage == "no variants":
        (folder / "variants.npy").unlink()
    elif damage == "torn":
        (folder / "sightings.npy").write_bytes((folder / "sightings.npy").read_bytes()[:5000])
    elif damage == "no numbers":
        (folder / "variants.npy").write_bytes(b"nothing")
    name = "variants" if damage.startswith("no ") else "sightings"
    advice = rf"Remove .*shard_00000/sightings\.npy and run python -m models\.data\.sightings WEIGHTS {path}$"
    with pytest.raises(UserError, match=rf"{name}\.npy: damaged \(.*\)\. {advice}"):
        WindowDataset([path], 224, FRAMES, sightings=True)


def test_sightings_are_those_of_the_shards_that_are_there(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "cache"
    shutil.copytree(cache, path)
    folder = (path / "shard_00000").rename(path / "shard_00003")
    np.save(folder / "sightings.npy", np.zeros((FRAMES * VIEWS, 1, SIGHTING), np.float16))
    np.save(folder / "variants.npy", np.tile(np.eye(3, dtype=np.float32), (FRAMES * VIEWS, 1, 1, 1)))
    item = WindowDataset([path], 224, FRAMES, PLAIN, sightings=True)[(0, 3, VIEWS)]
    assert item["crops_rgb"].shape == (FRAMES, VIEWS, SIGHTING)
