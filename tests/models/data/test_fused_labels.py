"""Labels fused over the views: exact where labels are exact, nearer to the truth elsewhere, and in their own places."""

from dataclasses import replace

import numpy as np
import pytest

from calibration.hand import Definition
from models.data.augmentation import AugmentationConfig
from models.data.crop_cache import CacheManifest, Shard
from models.data.fused_labels import fuse
from models.data.windows import WindowDataset
from models.hand.definition import convert
from tests.models.data.test_windows import VIEWS, shard_of


def truth_px(shard: Shard) -> np.ndarray:
    """Where the true joints (R, 21, 2) are in each crop."""
    assert shard.joints_m is not None
    found = np.zeros(shard.labels_px.shape)
    for frame, row in enumerate(shard.rows):
        for at in row[row >= 0]:
            seen = shard.joints_m[frame] @ shard.P_crop[at, :, :3].T + shard.P_crop[at, :, 3]
            found[at] = seen[:, :2] / seen[:, 2:]
    return found


def test_exact_labels_stay_where_they_are() -> None:
    shard = shard_of(True)
    fused_px, confidence = fuse(shard)
    assert fused_px == pytest.approx(shard.labels_px, abs=0.01)
    assert (confidence > 0.2).all()


@pytest.mark.parametrize("grade", ["moderate", "noisy"])
def test_noisy_labels_come_nearer_to_the_truth(grade: str) -> None:
    shard = shard_of(False, grade)
    fused_px, confidence = fuse(shard)
    truth = truth_px(shard)
    labelled = shard.label_confidence > 0
    before = np.linalg.norm(shard.labels_px - truth, axis=-1)[labelled]
    after = np.linalg.norm(fused_px - truth, axis=-1)
    assert np.median(after[labelled]) < 0.8 * np.median(before)
    assert after[labelled].mean() < 0.8 * before.mean()
    sure = confidence > np.median(confidence)
    assert after[sure].mean() < 0.9 * after[~sure].mean()  # the confidence tells which are good


def test_a_wrong_label_is_outvoted_and_a_missing_one_filled_in() -> None:
    shard = shard_of(True)
    wrong, missing = shard.rows[3, 0], shard.rows[6, 1]
    labels_px, trust = shard.labels_px.copy(), shard.label_confidence.copy()
    labels_px[wrong, 8] += 40
    labels_px[missing], trust[missing] = 0, 0
    fused_px, confidence = fuse(replace(shard, labels_px=labels_px, label_confidence=trust))
    assert fused_px[missing] == pytest.approx(truth_px(shard)[missing], abs=0.01)
    assert np.linalg.norm(fused_px[wrong] - truth_px(shard)[wrong], axis=-1).max() < 4  # of the 40
    assert (confidence[[wrong, missing]] > 0).all()


def test_what_one_view_alone_saw_has_no_fused_label() -> None:
    shard = shard_of(True)
    trust = shard.label_confidence.copy()
    trust[shard.rows[5, 1:], 12] = 0
    fused_px, confidence = fuse(replace(shard, label_confidence=trust))
    assert (confidence[shard.rows[5], 12] == 0).all() and (fused_px[shard.rows[5], 12] == 0).all()
    assert (confidence[shard.rows[5], 11] > 0).all()


def test_windows_carry_them_through_the_augmentation_beside_the_detectors_own() -> None:
    """With exact labels both are the same in the views that were drawn and in those that were not."""
    caches = [(CacheManifest(size_px=160, views=VIEWS, truth=True), [shard_of(True)])]
    dataset = WindowDataset(caches, augmentation=AugmentationConfig(), seed=3, unseen=True, fused=True)
    for number in range(len(dataset)):
        item = {name: value.numpy() for name, value in dataset[number, 0, 2].items()}
        assert (item["fused_confidence"] > 0).sum() == (item["label_confidence"] > 0).sum() > 0
        assert item["fused_px"] == pytest.approx(item["labels_px"], abs=0.02)
        assert item["unseen_fused_px"].shape == (5, VIEWS - 2, 21, 2)
        assert item["unseen_fused_px"] == pytest.approx(item["unseen_labels_px"], abs=0.02)
        assert (item["unseen_fused_confidence"] > 0).any()
    plain = WindowDataset(caches, augmentation=AugmentationConfig(), seed=3, unseen=True)[0, 0, 2]
    assert not [name for name in plain if "fused" in name]


@pytest.mark.parametrize("definition", ["anatomical", "detector"])
def test_windows_have_labels_and_truth_in_the_definition_asked_for(definition: Definition) -> None:
    """Labels that lie where a detector puts its points, beside the anatomical truth."""
    shard = shard_of(True)
    assert shard.joints_m is not None
    moved_m = convert(shard.joints_m.astype(np.float64), "anatomical", "detector")
    labels_px = truth_px(replace(shard, joints_m=moved_m)).astype(np.float32)
    manifest = CacheManifest(size_px=160, views=VIEWS, truth=True, definition="detector")
    cache = manifest, [replace(shard, labels_px=labels_px)]
    item = WindowDataset([cache], 128, truth=True, definition=definition)[0]
    window = {name: np.asarray(value) for name, value in item.items()}
    joints_m = window["joints_m"]
    wanted_m = convert(shard.joints_m[: len(joints_m)].astype(np.float64), "anatomical", definition)
    assert np.abs(joints_m - wanted_m).max() < 1e-5
    P = window["P_crop"][:, :, None]
    seen = (P[..., :3] @ joints_m[:, None, :, :, None])[..., 0] + P[..., 3]
    apart_px = np.linalg.norm(seen[..., :2] / seen[..., 2:] - window["labels_px"], axis=-1)
    # The map and the map back are each a median over hands: together they do not lead to the very same place.
    assert np.median(apart_px[window["label_confidence"] > 0]) < 0.6
