"""Presence and side learned anew: known weights are found again, and crops are what their names say."""

import sys
from pathlib import Path

import numpy as np
import pytest

from calibration.errors import UserError
from models.data.crop_cache import CacheManifest, Shard, write_manifest, write_shard
from models.hand.skeleton import MEAN_BONE_LENGTHS_M, REST_ANGLES_RAD, chain
from models.network.landmark_net import read_landmark_net
from models.training import presence
from models.training.presence import auc, fit_head, look
from models.weights import checkpoint_path

WEIGHTS = checkpoint_path("shipped")
SIDE_PX, CROPS = 280, 8


def cache_of(path: Path, labelled: bool) -> Path:
    """Noise, with the labels of a hand or as a cache of what lies elsewhere."""
    random = np.random.default_rng(1)
    keypoints_px = 1.1e3 * chain(REST_ANGLES_RAD, MEAN_BONE_LENGTHS_M).joints_m[:, :2]
    keypoints_px += SIDE_PX / 2 - keypoints_px.mean(0)
    shard = Shard(
        crops_rgb=random.integers(0, 256, (CROPS, SIDE_PX, SIDE_PX, 3)).astype(np.uint8),
        P_crop=np.zeros((CROPS, 3, 4), np.float32),
        labels_px=np.repeat(keypoints_px[None], CROPS, 0).astype(np.float32),
        label_confidence=np.full((CROPS, 21), float(labelled), np.float32),
        rows=np.arange(CROPS, dtype=np.int32)[:, None],
        sequence=np.arange(CROPS, dtype=np.int32),
        time_ns=np.arange(CROPS) * 33_000_000,
        targets_m=np.zeros((CROPS, 3)),
    )
    write_shard(path, 0, shard)
    write_manifest(path, CacheManifest(size_px=SIDE_PX, views=1, source="photos" if labelled else "elsewhere"))
    return path


def test_known_weights_are_found_and_a_high_price_keeps_the_old_ones() -> None:
    random = np.random.default_rng(0)
    features, wanted = random.normal(size=(20_000, 3)) * [1, 3, 0.5], np.array([1.5, -0.4, 2.0, 0.7])
    true = (random.random(20_000) < 1 / (1 + np.exp(-features @ wanted[:3] - wanted[3]))).astype(float)
    before, weight = np.array([0.5, 0.5, 0.5, 0.0]), np.full(20_000, 0.3)
    assert fit_head(features, true, weight, before, 1e-6) == pytest.approx(wanted, abs=0.12)
    assert fit_head(features, true, weight, before, 1e4) == pytest.approx(before, abs=1e-3)


def test_auc_is_the_share_of_pairs_in_order() -> None:
    random = np.random.default_rng(2)
    logit, true = random.integers(0, 9, 60).astype(float), random.random(60) < 0.4
    pairs = logit[true][:, None] - logit[~true]
    assert auc(logit, true) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def test_kinds_are_those_of_hands_and_of_none(tmp_path: Path) -> None:
    network = read_landmark_net(WEIGHTS).eval()
    hands, none = (look(network, cache_of(tmp_path / name, name == "hands"), CROPS) for name in ("hands", "none"))
    assert set(none.kind) == {"elsewhere"} and not none.there.any() and len(none.kind) == CROPS
    assert {"hand", "mirrored", "hidden"} < set(hands.kind) and set(hands.kind) & {"out", "worse"}
    assert (hands.there == np.isin(hands.kind, ["hand", "mirrored", "worse"])).all()
    assert (hands.right == np.isin(hands.kind, ["hand", "worse"])).all()


def test_crops_without_labels_of_all_joints_are_named(tmp_path: Path) -> None:
    cache = cache_of(tmp_path / "parts", True)
    file = cache / "shard_00000" / "label_confidence.npy"
    confidence = np.load(file)
    confidence[:, 20] = 0
    np.save(file, confidence)
    with pytest.raises(UserError, match="parts: no crop has labels of all joints"):
        look(read_landmark_net(WEIGHTS), cache, CROPS)


def test_the_program_writes_weights_that_tell_what_it_learned_from_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    hands, none = cache_of(tmp_path / "hands", True), cache_of(tmp_path / "none", False)
    words = [
        "presence",
        WEIGHTS,
        tmp_path / "made" / "out",
        "--train",
        hands,
        none,
        "--held-out",
        hands,
        none,
        "--held",
        1e-7,
    ]
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    assert presence.main() == 0
    assert "presence, all" in capsys.readouterr().out
    before, after = read_landmark_net(WEIGHTS), read_landmark_net(tmp_path / "made" / "out").eval()
    changed = {name for name, value in after.state_dict().items() if not value.equal(before.state_dict()[name])}
    assert changed == {"presence.weight", "presence.bias", "right.weight", "right.bias"}
    looked = look(after, hands, CROPS)
    logit = looked.pooled @ after.presence.weight.detach().numpy()[0] + float(after.presence.bias.detach())
    assert auc(logit, looked.there) > 0.99
