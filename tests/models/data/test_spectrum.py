"""Amplitudes of real pictures in rendered ones: what is exchanged, and that the rest stays."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.data.crop_cache import CacheManifest, Shard, write_manifest, write_shard
from models.data.sightings import add_sightings, read_sightings
from models.data.spectrum import RealCrops, mixed_amplitudes
from models.network.landmark_net import LandmarkNet

SIDE_PX = 60
Y, X = np.mgrid[:SIDE_PX, :SIDE_PX] * 2 * np.pi / SIDE_PX


def picture(mean: float, coarse: float, fine: float, shift: float = 0.0) -> np.ndarray:
    """Waves of two cycles across and ten down, with those amplitudes."""
    grey = mean + coarse * np.cos(2 * X + shift) + fine * np.cos(10 * Y)
    return np.rint(np.repeat(grey[..., None], 3, axis=2)).astype(np.uint8)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_coarse_waves_get_the_others_amplitude_and_keep_their_place(share: float) -> None:
    rendered, real = picture(90, 40, 30), picture(150, 10, 5, shift=1.3)
    found = mixed_amplitudes(rendered, real, beta=0.05, share=share)
    expected = picture(90 + 60 * share, 40 - 30 * share, 30)
    assert np.abs(found.astype(int) - expected).max() <= 2


def test_each_colour_has_its_own_and_pictures_may_differ_in_size() -> None:
    real = np.zeros((2 * SIDE_PX, 2 * SIDE_PX, 3), np.uint8) + np.array([200, 120, 40], np.uint8)
    found = mixed_amplitudes(picture(100, 0, 20), real, beta=0.02, share=1.0)
    assert found.mean((0, 1)) == pytest.approx([200, 120, 40], abs=0.5)
    assert found.std((0, 1)) == pytest.approx(20 / np.sqrt(2), abs=0.5)


def cache(path: Path, crops_rgb: np.ndarray) -> Path:
    count = len(crops_rgb)
    shard = Shard(
        crops_rgb=crops_rgb,
        P_crop=np.ones((count, 3, 4), np.float32),
        labels_px=np.ones((count, 21, 2), np.float32),
        label_confidence=np.ones((count, 21), np.float32),
        rows=np.arange(count, dtype=np.int32)[:, None],
        sequence=np.zeros(count, np.int32),
        time_ns=np.arange(count) * 33_000_000,
        targets_m=np.zeros((count, 3)),
    )
    write_shard(path, 0, shard)
    write_manifest(path, CacheManifest(size_px=crops_rgb.shape[1], views=1, source="session"))
    return path


def test_real_crops_are_drawn_from_all_caches(tmp_path: Path) -> None:
    grey = [np.full((count, 8, 8, 3), value, np.uint8) for count, value in ((1, 10), (3, 20))]
    real = RealCrops([cache(tmp_path / str(number), crops) for number, crops in enumerate(grey)])
    random = np.random.default_rng(0)
    drawn = [int(real.draw(random)[0, 0, 0]) for _ in range(400)]
    assert set(drawn) == {10, 20}
    assert 0.65 < np.mean(np.array(drawn) == 20) < 0.85


def test_sightings_are_of_changed_pictures_with_labels_where_they_were(tmp_path: Path) -> None:
    torch.manual_seed(0)
    crops = np.stack([picture(90, 40, 30)] * 2)
    real = RealCrops([cache(tmp_path / "real", np.full((2, SIDE_PX, SIDE_PX, 3), 250, np.uint8))])
    network = LandmarkNet()
    kept = []
    for name, of in (("plain", None), ("spectrum", real)):
        assert add_sightings(cache(tmp_path / name, crops), network, real=of) == 4
        found = read_sightings(tmp_path / name / "shard_00000", 2)
        assert found is not None
        kept.append(found)
    np.testing.assert_array_equal(kept[0][1], kept[1][1])
    assert not np.array_equal(kept[0][0], kept[1][0])
