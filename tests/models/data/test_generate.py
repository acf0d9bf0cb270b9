"""Generated training data: crops that show the hand where truth and cameras say, splits apart, and going on."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import pytest

from calibration.errors import UserError
from calibration.hand import bone_lengths
from models.data.crop_cache import MARGIN, read_cache
from models.data.fused_labels import fuse
from models.data.generate import SPLITS, GenerateSettings, generate, person_seed, person_shards
from models.data.windows import WindowDataset
from models.hand.crop import to_pixels
from tests.conftest import ROOT
from tests.support.live_run import last_json, usthand

T = TypeVar("T")

SETTINGS = GenerateSettings(people=2, clips=1, frames=5, views=3, size_px=64, seed=3)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("generated") / "cache"
    assert list(generate(out, SETTINGS)) == [(0, 1), (1, 1)]
    return out


def test_the_cache_is_whole_and_its_truth_agrees_with_its_labels(cache: Path) -> None:
    manifest, (shard,) = read_cache(cache, truth=True)
    assert manifest.settings == msgspec.to_builtins(SETTINGS)
    assert shard.joints_m is not None and shard.visible is not None
    assert shard.rows.shape[1] == 3
    assert len(shard.crops_rgb) >= 20
    frame, view = np.nonzero(shard.rows >= 0)
    errors = []
    for row, joints_m in zip(shard.rows[frame, view], shard.joints_m[frame], strict=True):
        truth_px = to_pixels(shard.P_crop[row], joints_m)
        # The true hand lies within the crop's middle, as targets and widths from the labels make it.
        assert np.abs(truth_px.mean(0) - 31.5).max() < 10
        assert np.ptp(truth_px, axis=0).max() < 64 / MARGIN * 1.2
        labelled = shard.label_confidence[row] > 0
        errors += list(np.linalg.norm(shard.labels_px[row] - truth_px, axis=-1)[labelled & shard.visible[row]])
    assert 0.3 < np.median(errors) < 4
    assert 0.3 < shard.visible.mean() < 0.95


def test_the_truth_is_one_hand_that_moves(cache: Path) -> None:
    """Within a sequence bones keep their lengths, and the hand moves, but not far from one frame to the next."""
    _, (shard,) = read_cache(cache, truth=True)
    assert shard.joints_m is not None
    for number in np.unique(shard.sequence):
        of_hand = shard.sequence == number
        lengths = bone_lengths(shard.joints_m[of_hand].astype(np.float64))
        assert np.ptp(lengths, axis=0).max() < 1e-6
        assert 0.06 < np.linalg.norm(shard.joints_m[of_hand][0, 9] - shard.joints_m[of_hand][0, 0]) < 0.13
        steps = np.diff(shard.joints_m[of_hand] + shard.targets_m[of_hand][:, None], axis=0)
        assert 1e-4 < np.linalg.norm(steps, axis=-1).max() < 0.15


def test_the_same_settings_give_the_same_data_and_others_do_not(cache: Path) -> None:
    again = person_shards(SETTINGS, 0)
    _, (shard,) = read_cache(cache)
    first = len(again[0].crops_rgb)
    np.testing.assert_array_equal(again[0].crops_rgb, shard.crops_rgb[:first])
    np.testing.assert_array_equal(again[0].labels_px.astype(np.float32), shard.labels_px[:first])
    other = person_shards(msgspec.structs.replace(SETTINGS, split="test", clips=1), 0)
    assert not np.array_equal(other[0].P_crop[0], again[0].P_crop[0])


def test_no_two_splits_or_seeds_share_a_person() -> None:
    seeds = [
        person_seed(GenerateSettings(split=split, seed=seed), person)
        for split in SPLITS
        for seed in (0, 1, 7)
        for person in (0, 1, 5_000, 9_999_999)
    ]
    assert len(set(seeds)) == len(seeds)


def test_an_interrupted_run_goes_on_and_makes_the_same(cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "cache"
    settings = msgspec.structs.replace(SETTINGS, people=5, frames=5, views=2)
    run = generate(out, settings)
    assert [next(run), next(run)] == [(0, 2), (1, 2)]
    run.close()
    first = (out / "shard_00000" / "P_crop.npy").stat().st_mtime_ns
    assert list(generate(out, settings, workers=2)) == [(1, 2), (2, 2)]
    assert (out / "shard_00000" / "P_crop.npy").stat().st_mtime_ns == first
    assert not list(out.glob(".shard*"))
    assert len(WindowDataset([out], 51)) >= 3
    shutil.rmtree(out / "shard_00000")
    assert list(generate(out, settings)) == [(1, 2), (2, 2)]
    with pytest.raises(UserError, match="other settings"):
        next(generate(out, SETTINGS))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"views": 1}, "`views` is 1"),
        ({"frames": 17}, "`frames` is 17"),
        ({"pictured": 4}, "`pictured` is 4"),
        ({"people": 0}, "`people` is 0"),
        ({"grades": {"good": 1.0}}, "moderate"),
        ({"grades": {"noisy": 0.0}}, "not all zero"),
        ({"backgrounds": "/nowhere"}, "/nowhere"),
        ({"hdri": "/nowhere"}, "/nowhere: no panorama"),
        ({"pinch": -0.1}, "`pinch` is -0.1"),
        ({"flat": 0.5, "pinch": 0.3, "tool": 0.3}, "1.1 together"),
    ],
)
def test_settings_that_cannot_be_are_refused(change: dict, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        list(generate(tmp_path / "cache", msgspec.structs.replace(SETTINGS, **change)))
    assert not (tmp_path / "cache").exists()


def test_views_without_pictures_have_labels_all_the_same(tmp_path: Path) -> None:
    """Two people, joined and written: two of four views have pictures, and windows draw those alone."""
    list(generate(tmp_path, msgspec.structs.replace(SETTINGS, frames=1, clips=4, views=4, pictured=2)))
    manifest, (shard,) = read_cache(tmp_path, truth=True)
    assert shard.joints_m is not None and shard.visible is not None
    frame, view = np.nonzero(shard.rows >= len(shard.crops_rgb))
    assert len(frame) == len(shard.P_crop) - len(shard.crops_rgb) >= 10
    assert ((shard.rows >= 0) & (shard.rows < len(shard.crops_rgb))).sum() == len(shard.crops_rgb)
    fused_px, _ = fuse(shard)
    errors = []
    for row, joints_m in zip(shard.rows[frame, view], shard.joints_m[frame], strict=True):
        truth_px = to_pixels(shard.P_crop[row], joints_m)
        labelled = (shard.label_confidence[row] > 0) & shard.visible[row]
        errors += [np.linalg.norm(said[row] - truth_px, axis=-1)[labelled] for said in (shard.labels_px, fused_px)]
    own, fused = (np.median(np.concatenate(errors[part::2])) for part in (0, 1))
    assert 0.3 < fused < own < 4

    windows = WindowDataset([(manifest, [shard])], 51, frames=1, unseen=True)
    assert len(windows) >= 4
    for number in range(len(windows)):
        item = windows[number, 0, 2]
        assert item["view_mask"].sum() == 2
        assert (item["crops_rgb"][item["view_mask"]].flatten(1).float().std(1) > 1).all()
        assert item["unseen_P_crop"].shape[1] == 2


@pytest.mark.slow
def test_rendering_processes_end_with_a_run_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "app", "simulate-crops", str(tmp_path / "cache"), "--people", "400"]
    with subprocess.Popen([*command, "--workers", "2"], cwd=ROOT, stderr=subprocess.DEVNULL) as run:
        try:
            children = _wait_for(lambda: found if len(found := _children(run.pid)) >= 3 else [])
        finally:
            run.kill()
    _wait_for(lambda: not any(_alive(child) for child in children))


def _children(pid: int) -> list[int]:
    """The two that render, and one that looks after what they share."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _alive(pid: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def _wait_for(found: Callable[[], T]) -> T:
    until = time.monotonic() + 60
    while not (value := found()):
        assert time.monotonic() < until
        time.sleep(0.1)
    return value


def test_the_command(tmp_path: Path) -> None:
    small = ["--people", "1", "--clips", "1", "--frames", "5", "--views", "2", "--size", "48", "--workers", "1"]
    done = usthand("simulate-crops", tmp_path / "cache", *small, "--labels", "perfect=1", "--json")
    assert done.returncode == 0, done.stderr
    assert last_json(done.stdout)["crops"] >= 10
    assert last_json(done.stdout)["size_px"] == 60
    pictures = tmp_path / "cache" / "shard_00000" / "crops_rgb.npy"
    pictures.write_bytes(b"")  # as a power cut leaves it
    torn = usthand("simulate-crops", tmp_path / "cache", *small, "--labels", "perfect=1")
    assert torn.returncode == 2 and "shard_00000: damaged" in torn.stderr and "Remove it" in torn.stderr
    refused = usthand("simulate-crops", tmp_path / "cache", *small, "--labels", "best=1")
    assert refused.returncode == 2
    assert "perfect" in refused.stderr
