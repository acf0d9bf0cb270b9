"""The training of what follows the landmark network is one of `usthand train`."""

from pathlib import Path

import numpy as np

from app.adaptation.head import link_cache, write_head_config
from models.data.crop_cache import CacheManifest, Shard, read_cache, write_manifest, write_shard
from models.training.config import read_train_config


def make_cache(path: Path) -> Path:
    shard = Shard(
        crops_rgb=np.full((2, 8, 8, 3), 7, np.uint8), P_crop=np.zeros((2, 3, 4)), labels_px=np.zeros((2, 21, 2)),
        label_confidence=np.ones((2, 21)), rows=np.array([[0, 1]]), sequence=np.zeros(1), time_ns=np.zeros(1),
        targets_m=np.zeros((1, 3)),
    )  # fmt: skip
    write_shard(path, 0, shard)
    write_manifest(path, CacheManifest(size_px=8, views=2))
    return path


def test_what_another_network_says_of_crops_is_kept_elsewhere(tmp_path: Path) -> None:
    cache, linked = make_cache(tmp_path / "cache"), tmp_path / "linked"
    for name in ("maps.npy", "map_answers.npy", "sightings.npy"):
        np.save(cache / "shard_00000" / name, np.zeros(1))
    linked.mkdir()
    link_cache(cache, linked)
    (shard,) = read_cache(linked)[1]
    assert (shard.crops_rgb == 7).all()
    np.save(linked / "shard_00000" / "sightings.npy", np.ones(1))
    assert not np.load(cache / "shard_00000" / "sightings.npy").any()


def test_the_settings_are_those_of_a_run(tmp_path: Path) -> None:
    crops, held, start = make_cache(tmp_path / "crops"), make_cache(tmp_path / "held"), tmp_path / "start.safetensors"
    start.write_bytes(b"")
    write_head_config(tmp_path / "head.yaml", crops=crops, held=held, start=start, steps=60, rate=3e-4, seed=5)
    config = read_train_config(tmp_path / "head.yaml")
    assert [Path(each) for each in config.data.train] == [crops, held]
    assert (config.steps, config.seed, config.start, Path(config.output)) == (60, 5, str(start), tmp_path / "run")
    assert config.data.unseen and config.data.sightings and config.network_config().landmarks
