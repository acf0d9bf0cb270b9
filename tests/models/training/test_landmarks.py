"""The landmark network's last blocks learn: what they are shown, and nothing else of the network changes."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from calibration.errors import UserError
from models.data.crop_cache import CacheManifest, single_crops, write_manifest, write_shard
from models.data.landmark_maps import add_maps
from models.network.landmark_net import LandmarkNet, read_landmark_net
from models.training import landmarks
from models.training.landmarks import LATE, Maps, losses_of, pooled_of

SIDE_PX, CROPS = 280, 4


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "landmarks.safetensors"
    torch.manual_seed(0)
    save_file(LandmarkNet().state_dict(), path)
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Path:
    path = tmp_path_factory.mktemp("cache")
    random = np.random.default_rng(1)
    crops_rgb = random.integers(0, 256, (CROPS, SIDE_PX, SIDE_PX, 3)).astype(np.uint8)
    labels_px = random.uniform(90, 190, (CROPS, 21, 2)).astype(np.float32)
    write_shard(path, 0, single_crops(crops_rgb, labels_px, np.ones((CROPS, 21), np.float32)))
    write_manifest(path, CacheManifest(size_px=SIDE_PX, views=1, source="photos", definition="detector"))
    assert add_maps(path, read_landmark_net(weights), variants=2) == 2 * CROPS
    return path


def test_the_late_blocks_give_the_networks_own_answer_from_the_maps(cache: Path, weights: Path) -> None:
    network = read_landmark_net(weights)
    maps, answers, _ = (torch.from_numpy(part).float() for part in Maps(cache).draw(6, np.random.default_rng(0)))
    with torch.no_grad():
        again = network.image(pooled_of(network, maps))
    assert again.numpy() == pytest.approx(answers[:, :63].numpy(), abs=0.02)  # the maps are kept as float16


def test_it_learns_and_changes_nothing_else(cache: Path, weights: Path, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "tuned.safetensors"
    words = [weights, out, "--simulated", cache, "--real", cache, "--steps", 30, "--batch", 6]
    words += ["--learning-rate", 0.03]
    monkeypatch.setattr(sys, "argv", ["landmarks", *map(str, words)])
    assert landmarks.main() == 0
    before, after = load_file(weights), load_file(out)
    changed = {name for name, value in after.items() if not torch.equal(value, before[name].float())}
    late = tuple(f"blocks.{index}." for index in range(LATE, 16))
    assert changed and all(name.startswith((*late, "image.")) for name in changed)
    batch = [torch.from_numpy(part).float() for part in Maps(cache).draw(16, np.random.default_rng(5))]
    original = read_landmark_net(weights)
    with torch.no_grad():
        first, last = (losses_of(net, original, batch) for net in (original, read_landmark_net(out)))
    assert float(last["point_px"]) < 0.75 * float(first["point_px"])
    assert float(first["feature"]) == 0


def test_no_share_of_the_way_is_the_original(cache: Path, weights: Path, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "made" / "same.safetensors"
    words = [weights, out, "--simulated", cache, "--real", cache, "--steps", 2, "--batch", 4, "--share", 0]
    monkeypatch.setattr(sys, "argv", ["landmarks", *map(str, words)])
    assert landmarks.main() == 0
    before = load_file(weights)
    assert all(torch.equal(value, before[name].float()) for name, value in load_file(out).items())


def test_a_cache_without_maps_is_refused_in_words(cache: Path, weights: Path, tmp_path: Path, monkeypatch, capsys):
    bare = tmp_path / "bare"
    shutil.copytree(cache, bare, ignore=shutil.ignore_patterns("map*.npy"))
    words = [weights, tmp_path / "out", "--simulated", bare, "--real", bare]
    monkeypatch.setattr(sys, "argv", ["landmarks", *map(str, words)])
    assert landmarks.main() == 2
    assert "python -m models.data.landmark_maps" in capsys.readouterr().err


def test_damaged_maps_are_named_with_what_makes_them_again(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "cache"
    shutil.copytree(cache, path)
    answers = path / "shard_00000" / "map_answers.npy"
    np.save(answers, np.load(answers)[1:])
    with pytest.raises(UserError, match=r"map_answers\.npy: damaged .*Remove .*maps\.npy and run python -m models"):
        Maps(path)


def test_a_cache_without_wholly_labelled_crops_is_refused_in_words(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "parts"
    shutil.copytree(cache, path)
    file = path / "shard_00000" / "label_confidence.npy"
    confidence = np.load(file)
    confidence[:, 20] = 0
    np.save(file, confidence)
    with pytest.raises(UserError, match="parts: no crop has labels of all joints"):
        Maps(path)
