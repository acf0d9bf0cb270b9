"""The program that measures where the detector puts its points: what it is told of caches that do not serve."""

import sys
from pathlib import Path

import numpy as np
import pytest

from models.data import measure_definition
from models.data.crop_cache import CacheManifest, Shard, write_manifest, write_shard

SIDE_PX = 32


def cache_of(path: Path) -> Path:
    """A hand in two views, of which nothing is known but the truth."""
    shard = Shard(
        crops_rgb=np.zeros((2, SIDE_PX, SIDE_PX, 3), np.uint8),
        P_crop=np.zeros((2, 3, 4), np.float32),
        labels_px=np.zeros((2, 21, 2), np.float32),
        label_confidence=np.ones((2, 21), np.float32),
        rows=np.array([[0, 1]], np.int32),
        sequence=np.zeros(1, np.int32),
        time_ns=np.zeros(1, np.int64),
        targets_m=np.zeros((1, 3)),
        joints_m=np.zeros((1, 21, 3), np.float32),
        visible=np.ones((2, 21), bool),
    )
    write_shard(path, 0, shard)
    write_manifest(path, CacheManifest(size_px=SIDE_PX, views=2, truth=True, source="simulated"))
    return path


def test_caches_that_do_not_serve_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = cache_of(tmp_path / "cache")
    for given, says in ((tmp_path / "none", "none: is no crop cache"), (cache, "Run: python -m models.data.sightings")):
        monkeypatch.setattr(sys, "argv", ["measure_definition", str(given)])
        assert measure_definition.main() == 2
        assert says in capsys.readouterr().err
