"""A round of adapting the landmark network: what it learns, what it leaves, and that it goes on where it was killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.data.crop_cache import CacheManifest, single_crops, write_manifest, write_shard
from models.data.landmark_maps import add_maps
from models.network.checkpoint import load_checkpoint
from models.network.landmark_net import LandmarkNet, read_landmark_net
from models.training import adapt, put_landmarks
from models.training.adapt import VARIANTS, learning_of

SIDE_PX, CROPS = 280, 4
SHIFT_PX = 20.0


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "landmarks.safetensors"
    torch.manual_seed(0)
    save_file(LandmarkNet().state_dict(), path)
    return path


def make_cache(path: Path, taught: int) -> Path:
    """Crops of noise, of which the first `taught` have labels."""
    random = np.random.default_rng(1)
    confidence = np.zeros((CROPS, 21), np.float32)
    confidence[:taught] = 1.0
    crops_rgb = random.integers(0, 256, (CROPS, SIDE_PX, SIDE_PX, 3)).astype(np.uint8)
    labels_px = random.uniform(90, 190, (CROPS, 21, 2)).astype(np.float32)
    write_shard(path, 0, single_crops(crops_rgb, labels_px, confidence))
    write_manifest(path, CacheManifest(size_px=SIDE_PX, views=1, source="session", definition="detector"))
    return path


def words(cache: Path, out: Path, weights: Path, *more: object) -> list[str]:
    return [str(word) for word in (cache, out, "--original", weights, "--batch", 4, "--learning-rate", 0.01, *more)]


def run(monkeypatch, module, *given: object) -> int:
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, given)])
    return module.main()


def test_only_late_blocks_and_the_head_learn_and_held_out_crops_teach_nothing(tmp_path, weights, monkeypatch) -> None:
    # Of two caches that differ in the labels of crops that do not teach, the same is learned.
    made = []
    for name in ("one", "other"):
        cache = make_cache(tmp_path / name, taught=2)
        if made:
            labels = np.load(cache / "shard_00000" / "labels_px.npy")
            labels[2:] += SHIFT_PX
            np.save(cache / "shard_00000" / "labels_px.npy", labels)
        assert run(monkeypatch, adapt, *words(cache, cache / "out", weights, "--steps", 2, "--shares", 0, 1)) == 0
        made.append(load_file(cache / "out" / "weights.safetensors"))
    before, learning = load_file(weights), learning_of(LandmarkNet())
    assert all(torch.equal(made[0][name], made[1][name]) for name in before)
    changed = {name for name, value in before.items() if not torch.equal(made[0][name], value)}
    assert changed <= set(learning) and "image.weight" in changed
    points = np.load(cache / "out" / "points.npz")
    assert points["points_px"].shape == (2, CROPS, 21, 2)
    with torch.no_grad():
        pixels = np.load(cache / "shard_00000" / "crops_rgb.npy")
        # The middle 224 of 280 pixels, as they are.
        plain = read_landmark_net(weights)(torch.from_numpy(pixels[:, 28:-28, 28:-28].copy())).image[..., :2].numpy()
    assert points["points_px"][0] == pytest.approx(plain + 28, abs=0.3)


@pytest.mark.parametrize("name", ["maps", "map_answers", "map_variants"])
def test_damaged_maps_are_named_and_made_again(tmp_path, weights, monkeypatch, capsys, name: str) -> None:
    cache = make_cache(tmp_path / "cache", taught=CROPS)
    given = words(cache, tmp_path / "out", weights, "--steps", 1)
    folder = cache / "shard_00000"
    add_maps(cache, read_landmark_net(weights), VARIANTS, plain=True)
    (folder / f"{name}.npy").write_bytes(b"")
    assert run(monkeypatch, adapt, *given) == 2
    said = capsys.readouterr().err
    assert f"{name}.npy: damaged" in said and f"Remove {folder / 'maps.npy'} and run this again" in said
    (folder / "maps.npy").unlink()
    assert run(monkeypatch, adapt, *given) == 0


def test_maps_that_another_program_made_are_refused(tmp_path, weights, monkeypatch, capsys) -> None:
    """Their first variant is a worse picture, too, and would be taken for the crop as it is."""
    cache = make_cache(tmp_path / "cache", taught=CROPS)
    add_maps(cache, read_landmark_net(weights))
    assert run(monkeypatch, adapt, *words(cache, tmp_path / "out", weights, "--steps", 1)) == 2
    assert "maps.npy and run this again." in capsys.readouterr().err


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As the program that is killed has: with another number sums are rounded otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_a_round_that_was_killed_goes_on_and_ends_the_same(tmp_path, weights, monkeypatch, one_thread) -> None:
    monkeypatch.setattr(adapt, "_SAVE_EVERY", 3)
    whole, cut = make_cache(tmp_path / "whole", 4), make_cache(tmp_path / "cut", 4)
    assert run(monkeypatch, adapt, *words(whole, whole / "out", weights, "--steps", 9)) == 0
    program = "import sys; from models.training import adapt; adapt._SAVE_EVERY = 3; sys.exit(adapt.main())"
    command = [sys.executable, "-c", program, *words(cut, cut / "out", weights, "--steps", 9)]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    saved = cut / "out" / "resume.safetensors"
    limit_s = time.monotonic() + 60
    while not saved.exists() and process.poll() is None and time.monotonic() < limit_s:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert saved.exists() and not (cut / "out" / "points.npz").exists()
    assert run(monkeypatch, adapt, *words(cut, cut / "out", weights, "--steps", 9)) == 0
    one, two = (load_file(path / "out" / "weights.safetensors") for path in (whole, cut))
    for name, value in one.items():
        assert np.allclose(two[name], value, rtol=0, atol=1e-5), name


def test_a_share_of_the_way_is_put_into_a_checkpoint(tmp_path, weights, monkeypatch) -> None:
    out = tmp_path / "adapted.safetensors"
    assert run(monkeypatch, put_landmarks, "shipped", weights, 0.25, out) == 0
    before, after = load_checkpoint("shipped")[0].state_dict(), load_checkpoint(out)[0].state_dict()
    other = load_file(weights)
    inside = "stage1.backbone."
    for name, value in after.items():
        wanted = before[name]
        if name.startswith(inside):
            wanted = 0.75 * wanted + 0.25 * other[name.removeprefix(inside)]
        assert np.allclose(value, wanted, rtol=2e-3, atol=1e-4), name
