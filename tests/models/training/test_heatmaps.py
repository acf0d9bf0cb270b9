"""Heatmaps on the landmark network's levels: a head learns what it is taught, and its points are those in use."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from calibration.errors import UserError
from models.data.crop_cache import CacheManifest, single_crops, write_manifest, write_shard
from models.network.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from models.network.config import recipe
from models.network.landmark_net import HeatmapLandmarkNet, read_landmark_net
from models.network.ust_hand import UstHand
from models.training import heatmaps, put_landmarks
from models.training.heatmaps import look, points_of, train
from models.training.trainer import Trainer
from models.weights import checkpoint_path

SIDE_PX, CROPS = 280, 6


WEIGHTS = checkpoint_path("shipped")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spot of another place in each crop; the labels lie around it."""
    path = tmp_path_factory.mktemp("cache")
    random = np.random.default_rng(1)
    crops, places = random.integers(90, 110, (CROPS, SIDE_PX, SIDE_PX, 3)), random.uniform(90, 190, (CROPS, 1, 2))
    for crop, ((x, y),) in zip(crops, places.astype(int), strict=True):
        crop[y - 12 : y + 13, x - 12 : x + 13] = 240
    labels_px = places + random.uniform(-8, 8, (1, 21, 2))
    write_shard(path, 0, single_crops(crops, labels_px, np.ones((CROPS, 21))))
    write_manifest(path, CacheManifest(size_px=SIDE_PX, views=1, source="photos", definition="detector"))
    return path


def test_points_of_the_picture_as_it_is_move_with_the_worse_one(cache: Path) -> None:
    crops = look(read_landmark_net(WEIGHTS), cache, CROPS)
    assert torch.allclose(crops.taught_px[:, 0], crops.own_px[:, 0], atol=1e-3)
    # Labels and what teaches were moved by the same map from the first variant to the second.
    for taught, labels in zip(crops.taught_px, crops.labels_px, strict=True):
        known = torch.cat([labels[0], torch.ones(21, 1)], 1)
        affine = torch.linalg.lstsq(known.double(), labels[1].double()).solution
        moved = torch.cat([taught[0], torch.ones(21, 1)], 1).double() @ affine
        assert (moved - taught[1]).abs().max() < 0.05


def test_a_head_gives_what_it_was_taught(cache: Path) -> None:
    crops = look(read_landmark_net(WEIGHTS), cache, CROPS)
    torch.manual_seed(0)
    head = HeatmapLandmarkNet().heatmap_head
    before = (points_of(head, crops) - crops.labels_px).norm(dim=-1).median()
    train(head, [(crops, "labels_px")], steps=40, batch=6, rate=1e-2, seed=0)
    after = (points_of(head, crops) - crops.labels_px).norm(dim=-1).median()
    assert before > 20 and after < 4


def test_the_programs_weights_give_a_checkpoint_whose_estimates_are_the_heatmaps(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    words = ["heatmaps", WEIGHTS, tmp_path / "heads", "--simulated", cache, "--real", cache, "--held-out", cache]
    monkeypatch.setattr(sys, "argv", [str(word) for word in [*words, "--steps", 2, "--batch", 2]])
    assert heatmaps.main() == 0
    printed = capsys.readouterr().out
    assert all(f"{cache.name}, {variant}" in printed for variant in heatmaps.VARIANTS)
    trained = read_landmark_net(tmp_path / "heads" / "distilled.safetensors").eval()
    assert isinstance(trained, HeatmapLandmarkNet)
    torch.manual_seed(1)
    plain = UstHand(recipe("live"))
    with pytest.raises(UserError, match="has heatmaps, where the network's `landmark_heatmaps` is false"):
        trainer: Any = SimpleNamespace(model=plain)
        Trainer._load_backbone(trainer, tmp_path / "heads" / "distilled.safetensors")
    save_checkpoint(tmp_path / "plain.safetensors", plain.state_dict(), CheckpointInfo(plain.config, 0, {}))
    words = [
        "put",
        tmp_path / "plain.safetensors",
        tmp_path / "heads" / "distilled.safetensors",
        1,
        tmp_path / "put.safetensors",
    ]
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    assert put_landmarks.main() == 0
    network, info = load_checkpoint(tmp_path / "put.safetensors")
    assert info.network.landmark_heatmaps
    crops = torch.randint(0, 255, (1, 2, 224, 224, 3), dtype=torch.uint8)
    cameras = torch.eye(4)[:3].expand(1, 2, 3, 4) + 0.1
    with torch.no_grad():
        found = network.stage1(crops, cameras, torch.ones(1, 2, dtype=torch.bool), torch.zeros(1, 8, 2, 42))
        expected = trained(crops[0]).image[..., :2]
    assert torch.allclose(found.keypoints_px[0], expected, atol=0.3)  # the checkpoint is of half precision
    assert (found.keypoints_px[0] >= 0).all() and (found.keypoints_px[0] <= 223).all()
