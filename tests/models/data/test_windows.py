"""Windows for training: geometry that survives augmentation, and no truth in what a loss may read."""

import itertools
import resource
import shutil
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from calibration.errors import UserError
from calibration.session import read_session, write_session
from models.data import session_cache
from models.data.augmentation import AugmentationConfig
from models.data.crop_cache import CacheManifest, Shard, join, read_cache, write_manifest, write_shard
from models.data.hand_sequence import HandSequence, boxes, crops_of, label_std, to_shard, triangulate_labels
from models.data.session_cache import cache_of, cache_session
from models.data.windows import WindowBatches, WindowDataset, quiet_worker
from models.files.labels import Labels, read_labels, write_labels
from models.hand.crop import MIRROR_X
from models.simulation.detector_noise import GRADES, detect
from models.simulation.hands import hands_at
from models.simulation.simulated_rig import ring_rig
from tests.conftest import ROOT

FRAMES = 12
VIEWS = 4
FULL = AugmentationConfig()
STILL = msgspec.structs.replace(FULL, drop_frames=0.0, drop_crops=0.0)
RIG = ring_rig(VIEWS)


def joints_of(right: bool) -> np.ndarray:
    return np.stack([hands_at(2 + frame / 30)["right" if right else "left"] for frame in range(FRAMES)])


def sequence_of(right: bool, grade: str = "perfect") -> HandSequence:
    joints, frames = joints_of(right), np.arange(FRAMES)
    truth_px = np.stack([camera.project(joints) for camera in RIG.cameras], axis=1)
    found = [
        detect(truth_px[:, view], np.ones((FRAMES, 21), bool), frames, [view, right], GRADES[grade])
        for view in range(VIEWS)
    ]
    confidence = np.stack([each.confidence * each.found[:, None] for each in found], axis=1)
    keypoints_px = np.stack([each.keypoints_px for each in found], axis=1)
    return HandSequence(
        cameras=RIG.cameras, right=right, time_ns=frames * 33_333_333, keypoints_px=keypoints_px, confidence=confidence
    )


def labels_of(camera, time_ns, right, keypoints_px, confidence) -> Labels:
    return Labels(
        camera=camera, time_ns=time_ns, right=right, keypoints_px=keypoints_px, confidence=confidence, source="test"
    )


def dotted(points_px: np.ndarray) -> np.ndarray:
    """An image (480, 640, 3) with a soft dot at each point: the middle finger's tip red, the others green."""
    image = np.zeros((480, 640, 3))
    for joint, point in enumerate(points_px):
        left, top = np.rint(point).astype(int) - 12
        v, u = np.mgrid[top : top + 25, left : left + 25]
        dot = 255 * np.exp(-((u - point[0]) ** 2 + (v - point[1]) ** 2) / (2 * 3.0**2))
        image[top : top + 25, left : left + 25, 0 if joint == 12 else 1] += dot
    return np.clip(image, 0, 255).astype(np.uint8)


def shard_of(right: bool, grade: str = "perfect") -> Shard:
    sequence, joints = sequence_of(right, grade), joints_of(right)
    crops, targets = crops_of(sequence, 160)
    images = [
        crop.image(dotted(camera.project(joints[frame])))
        for frame, row in enumerate(crops)
        for crop, camera in zip(row, RIG.cameras, strict=True)
        if crop is not None
    ]
    shard = to_shard(sequence, crops, targets, images, joints, np.ones((FRAMES, VIEWS, 21), bool))
    assert shard is not None
    return shard


def write_cache(path: Path, shards: list[Shard]) -> Path:
    write_shard(path, 0, join(shards))
    write_manifest(path, CacheManifest(size_px=160, views=VIEWS, truth=True))
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A left and a right hand, 12 frames, perfect labels."""
    return write_cache(tmp_path_factory.mktemp("cache") / "perfect", [shard_of(False), shard_of(True)])


@pytest.fixture(scope="module")
def noisy_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cache(tmp_path_factory.mktemp("cache") / "noisy", [shard_of(False, "noisy"), shard_of(True, "noisy")])


def dlt(P: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(3,) by the singular value decomposition, independently of the code under test."""
    rows = np.concatenate([points[:, :1] * P[:, 2] - P[:, 0], points[:, 1:] * P[:, 2] - P[:, 1]])
    rows /= np.linalg.norm(rows[:, :3], axis=1, keepdims=True)
    solution = np.linalg.svd(rows)[2][-1]
    return solution[:3] / solution[3]


def test_perfect_labels_of_augmented_windows_give_the_joints(cache: Path) -> None:
    """Both hands, every window, through every augmentation at once: to a tenth of a millimetre."""
    dataset = WindowDataset([cache], augmentation=FULL, truth=True, seed=1)
    assert len(dataset) == 2 * (FRAMES - 4)
    for number in range(len(dataset)):
        item = {name: value.numpy() for name, value in dataset[number].items()}
        assert item["frame_mask"][-1]
        for t in np.flatnonzero(item["frame_mask"]):
            views = item["view_mask"][t]
            if views.sum() < 2:
                continue
            found = [dlt(item["P_crop"][t, views].astype(float), item["labels_px"][t, views, j]) for j in range(21)]
            assert np.abs(np.array(found) - item["joints_m"][t]).max() < 1e-4


def test_windows_hold_the_hand_that_moved(cache: Path) -> None:
    """Origin plus hand-centred joints of all frames are one rigid transform of the true motion, mirrored for a left."""
    dataset = WindowDataset([cache], augmentation=STILL, truth=True, seed=2)
    for number, right in ((3, False), (3 + FRAMES - 4, True)):
        item = {name: value.numpy().astype(float) for name, value in dataset[number].items()}
        truth = joints_of(right)[number % (FRAMES - 4) :][:5] @ (np.eye(3) if right else MIRROR_X)
        found = item["origins_m"][:, None] + item["joints_m"]
        np.testing.assert_array_equal(item["origins_m"][-1], 0)
        a, b = truth.reshape(-1, 3) - truth.mean((0, 1)), found.reshape(-1, 3) - found.mean((0, 1))
        u, _, vt = np.linalg.svd(a.T @ b)
        assert np.linalg.det(u @ vt) > 0
        np.testing.assert_allclose(a @ (u @ vt), b, atol=1e-5)


@pytest.mark.parametrize("size_px", [128, 64])
def test_pixels_move_with_the_labels(cache: Path, size_px: int) -> None:
    """The red dot at the middle finger's tip is where its label is, in each augmented crop."""
    dataset = WindowDataset([cache], size_px, augmentation=msgspec.structs.replace(STILL, colour=0.0), seed=3)
    grid = np.stack(np.meshgrid(np.arange(size_px), np.arange(size_px)), axis=-1)
    checked = 0
    for number in range(0, len(dataset), 3):
        item = dataset[number]
        for t, v in zip(*np.nonzero(item["view_mask"].numpy()), strict=True):
            red = item["crops_rgb"][t, v, ..., 0].numpy().astype(float)
            label = item["labels_px"][t, v, 12].numpy()
            if ((label < 8) | (label > size_px - 9)).any():
                continue
            found = (grid * red[..., None]).sum((0, 1)) / red.sum()
            np.testing.assert_allclose(found, label, atol=0.3)
            checked += 1
    assert checked > 60


def test_augmentation_stays_within_its_amounts(cache: Path) -> None:
    plain = WindowDataset([cache], truth=True)
    dataset = WindowDataset([cache], augmentation=STILL, truth=True, seed=4)
    scales, angles, centres, targets = [], [], [], []
    for number in range(len(dataset)):
        new, old = dataset[number]["labels_px"].numpy(), plain[number]["labels_px"].numpy()
        for t, v in np.ndindex(new.shape[:2]):
            a, b = old[t, v] - old[t, v].mean(0), new[t, v] - new[t, v].mean(0)
            ratio = (b[:, 0] + 1j * b[:, 1]) @ np.conj(a[:, 0] + 1j * a[:, 1]) / (a**2).sum()
            scales.append(abs(ratio))
            angles.append(np.rad2deg(np.angle(ratio)))
            middle = (old[t, v].mean(0) - 63.5) @ [1, 1j] * ratio
            centres.append(new[t, v].mean(0) - 63.5 - [middle.real, middle.imag])
        targets.append(np.linalg.norm(dataset[number]["joints_m"].mean(1), axis=-1))
    assert 0.94 <= min(scales) < 0.96 < 1.04 < max(scales) <= 1.06 + 1e-6
    assert 8 < np.abs(angles).max() <= 10 + 1e-3
    assert 5 < np.abs(centres).max() <= 0.05 * 128 + 1e-3
    assert 0.005 < np.max(targets) < 0.02 + np.sqrt(3) * 0.01


def test_absent_views_and_frames_hold_zeros(noisy_cache: Path) -> None:
    config = msgspec.structs.replace(FULL, drop_frames=0.7, drop_crops=0.3)
    dataset = WindowDataset([noisy_cache], augmentation=config, truth=True, views=6, seed=5)
    absent = {"frames": 0, "crops": 0}
    for number in range(len(dataset)):
        item = dataset[number]
        assert item["view_mask"].shape == (5, 6)
        assert not item["view_mask"][:, VIEWS:].any()
        assert item["view_mask"][-1].sum() >= 2
        assert (item["frame_mask"] == item["view_mask"].any(1)).all()
        for name in ("crops_rgb", "P_crop", "labels_px", "label_confidence", "visible"):
            assert not item[name][~item["view_mask"]].any()
        for name in ("origins_m", "joints_m"):
            assert not item[name][~item["frame_mask"]].any()
        present = item["view_mask"]
        assert (item["crops_rgb"][present].flatten(1).float().mean(1) > 0).all()
        assert not item["labels_px"][item["label_confidence"] == 0].any()
        absent["frames"] += int((~item["frame_mask"]).sum())
        absent["crops"] += int((~present[:, :VIEWS]).sum())
    assert min(absent.values()) > 10


def test_the_same_seed_and_key_give_the_same_window(noisy_cache: Path) -> None:
    first, again = (WindowDataset([noisy_cache], augmentation=FULL, seed=6) for _ in range(2))
    for key in (3, (3, 0, 2), (3, 1, 2)):
        a, b = first[key], again[key]
        assert all(torch.equal(a[name], b[name]) for name in a)
    others = [first[3, 1, 0], WindowDataset([noisy_cache], augmentation=FULL, seed=7)[3], first[4]]
    assert not any(torch.equal(first[3]["P_crop"], other["P_crop"]) for other in others)


def test_windows_may_be_a_single_frame(cache: Path) -> None:
    config = msgspec.structs.replace(FULL, drop_frames=1.0)
    dataset = WindowDataset([cache], frames=1, augmentation=config, seed=8)
    assert len(dataset) == 2 * FRAMES
    assert all(dataset[number]["frame_mask"].all() for number in range(len(dataset)))


def test_a_key_chooses_how_many_views_there_are(cache: Path) -> None:
    dataset = WindowDataset([cache], augmentation=STILL, seed=8)
    chosen = set()
    for epoch in range(20):
        item = dataset[0, epoch, 2]
        assert item["crops_rgb"].shape[1] == 2
        assert item["view_mask"].all()
        # Which views they are shows in what the cameras see, whatever way the world is turned.
        chosen.add(round(float(torch.linalg.det(item["P_crop"][-1, :, :, :3]).abs().log().diff()), 1))
    assert len(chosen) > 3


@pytest.mark.parametrize("options", [{}, {"unseen": True, "fused": True}], ids=["plain", "fused"])
def test_poisoned_truth_changes_nothing_that_a_loss_reads(noisy_cache: Path, tmp_path: Path, options: dict) -> None:
    poisoned = tmp_path / "poisoned"
    shutil.copytree(noisy_cache, poisoned)
    file = poisoned / "shard_00000" / "truth.npz"
    with np.load(file) as truth:
        joints_m, visible = truth["joints_m"], truth["visible"]
    np.savez(file, joints_m=np.full_like(joints_m, np.nan), visible=~visible)
    clean, spoiled = (
        WindowDataset([path], augmentation=FULL, truth=True, seed=9, **options) for path in (noisy_cache, poisoned)
    )
    blind = WindowDataset([poisoned], augmentation=FULL, seed=9, **options)
    for number in range(len(clean)):
        a, b, c = (data[(number, 0, 2)] for data in (clean, spoiled, blind))
        assert set(a) - set(c) == {"joints_m", "visible"}
        assert torch.isnan(b["joints_m"][-1]).all()
        for name in c:
            assert torch.equal(a[name], b[name])
            assert torch.equal(a[name], c[name])
    # Without `truth` the file is not even opened.
    file.write_bytes(b"no truth at all")
    assert torch.equal(WindowDataset([poisoned], augmentation=FULL, seed=9, **options)[2]["P_crop"], clean[2]["P_crop"])


def test_batches_are_random_whole_and_go_on_where_they_stopped(cache: Path) -> None:
    dataset = WindowDataset([cache], augmentation=FULL, seed=10)
    batches = WindowBatches(len(dataset), 3, [2, 3, 4], seed=10)
    keys = list(batches)
    assert len(keys) == len(batches) == 5
    assert len({number for batch in keys for number, _, _ in batch}) == 15
    assert all(len({views for _, _, views in batch}) == 1 for batch in keys)
    batches.start = 2
    assert list(batches) == keys[2:]
    batches.start, batches.epoch = 0, 1
    assert list(batches) != keys
    shares = [list(WindowBatches(len(dataset), 2, [2, 3], seed=1, rank=rank, world=2)) for rank in (0, 1)]
    assert len(shares[0]) == len(shares[1]) == 4
    assert not {key[0] for batch in shares[0] for key in batch} & {key[0] for batch in shares[1] for key in batch}
    for left, right in zip(*shares, strict=True):
        assert left[0][2] == right[0][2]
    batches.epoch = 0
    loaded = list(DataLoader(dataset, batch_sampler=batches, num_workers=1, worker_init_fn=quiet_worker))
    for batch, expected in zip(loaded, keys, strict=True):
        assert batch["crops_rgb"].shape[:3] == (3, 5, expected[0][2])
        assert torch.equal(batch["P_crop"][1], dataset[expected[1]]["P_crop"])


@pytest.fixture
def labelled_session(tmp_path: Path) -> Path:
    """Both hands, 12 frames: the right one labelled perfectly, the left one but for five frames in the middle."""
    path = tmp_path / "session"
    path.mkdir()
    rig = replace(RIG, cameras=tuple(replace(camera, source=None) for camera in RIG.cameras))
    sequences = {right: sequence_of(right) for right in (False, True)}
    rows: list[tuple] = []
    for view, camera in enumerate(rig.cameras):
        writer = cv2.VideoWriter(str(path / f"cam_{view}.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 30, (640, 480))
        for frame in range(FRAMES):
            writer.write(dotted(camera.project(joints_of(True)[frame]))[..., ::-1])
            for right, sequence in sequences.items():
                if right or not 5 <= frame < 10:
                    rows.append((view, frame * 33_333_333, right, sequence.keypoints_px[frame, view], np.full(21, 0.8)))
        writer.release()
    videos = {name: f"{name}.mp4" for name in rig.camera_ids}
    write_session(path, rig, videos, dict.fromkeys(rig.camera_ids, sequences[True].time_ns))
    write_labels(path / "labels.npz", labels_of(*map(np.array, zip(*rows, strict=True))), VIEWS)
    return path


def test_a_cache_of_a_session_says_where_on_the_hand_its_labels_points_lie(labelled_session: Path, tmp_path: Path):
    labels = read_labels(labelled_session / "labels.npz", VIEWS)
    write_labels(labelled_session / "labels.npz", replace(labels, definition="detector"), VIEWS)
    cache_session(labelled_session, tmp_path / "cache")
    manifest, _ = read_cache(tmp_path / "cache")
    assert manifest.definition == "detector"


def test_a_session_becomes_a_cache(labelled_session: Path, tmp_path: Path) -> None:
    """The cache of the videos is that of the images: the same geometry, and the dot where the label says."""
    crops = cache_session(labelled_session, tmp_path / "cache")
    _, (shard,) = read_cache(tmp_path / "cache")
    assert crops == len(shard.crops_rgb) == (FRAMES + 5) * VIEWS
    expected = shard_of(True)
    right = np.flatnonzero(shard.sequence == shard.sequence[-1])
    assert len(right) == FRAMES
    for name in ("P_crop", "labels_px"):
        np.testing.assert_allclose(
            getattr(shard, name)[shard.rows[right]], getattr(expected, name)[expected.rows], atol=1e-2
        )
    difference = shard.crops_rgb[shard.rows[right]].astype(int) - expected.crops_rgb[expected.rows]
    assert np.abs(difference).mean() < 5
    dataset = WindowDataset([tmp_path / "cache"])
    assert len(dataset) == FRAMES - 4 + 1
    with pytest.raises(UserError, match="true joints are not known"):
        WindowDataset([tmp_path / "cache"], truth=True)
    with pytest.raises(UserError, match="already"):
        cache_session(labelled_session, tmp_path / "cache")


@pytest.mark.parametrize("uneven", ["twice", "in bursts"])
def test_a_camera_whose_frames_came_unevenly_does_not_part_the_others(tmp_path: Path, uneven: str) -> None:
    """The others are matched as without it; of twice as many frames at each moment, one is taken."""
    even_ns = np.arange(300) * 33_333_333
    twice_ns = np.sort(np.concatenate([even_ns, even_ns + 1_000_000]))
    bursts_ns = (even_ns.reshape(-1, 5)[:, -1:] + np.arange(5) * 1_000_000).ravel()
    rig = replace(RIG, cameras=RIG.cameras[:3])
    first_ns = twice_ns if uneven == "twice" else bursts_ns
    times_ns = dict(zip(rig.camera_ids, (first_ns, even_ns + 5_000_000, even_ns + 9_000_000), strict=True))
    write_session(tmp_path, rig, {name: f"{name}.mp4" for name in rig.camera_ids}, times_ns)
    frames, _ = session_cache.match_frames(read_session(tmp_path))
    np.testing.assert_array_equal(frames[:, 1:], np.arange(300)[:, None].repeat(2, axis=1))
    if uneven == "twice":
        assert (frames[:, 0] // 2 == np.arange(300)).all()


def test_a_shard_of_more_cameras_has_fewer_frames(labelled_session: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(session_cache, "_SHARD_IMAGES", 6 * VIEWS)
    monkeypatch.setattr(session_cache, "_LEAST_SHARD_FRAMES", 1)
    cache_session(labelled_session, tmp_path / "cache")
    _, shards = read_cache(tmp_path / "cache")
    assert len(shards) > 1
    assert all(len(np.unique(shard.time_ns)) <= 6 for shard in shards)


def test_pictures_alone_are_held_while_a_shard_is_cut(labelled_session: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """A crop that was cut keeps its map of the image, which is larger than its picture."""
    cut, sizes = session_cache._cut, []

    def measured(*given: Any) -> list[Shard]:
        tracemalloc.start()
        try:
            shards = cut(*given)
            sizes.append((tracemalloc.get_traced_memory()[1], sum(shard.crops_rgb.nbytes for shard in shards)))
            return shards
        finally:
            tracemalloc.stop()

    monkeypatch.setattr(session_cache, "_cut", measured)
    cache_session(labelled_session, tmp_path / "out", 400)
    ((most, pictures),) = sizes
    assert most < 3 * pictures  # one by one, and of each hand


def test_what_is_left_of_an_interrupted_cache_is_named_before_the_work(labelled_session: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    cache_session(labelled_session, out, 80)
    (out / "manifest.json").unlink()
    with pytest.raises(UserError, match="out: holds part of a crop cache whose making was interrupted"):
        cache_session(labelled_session, out, 80)


def test_a_session_is_cut_once_and_again_when_its_labels_change(labelled_session: Path) -> None:
    cache = cache_of(labelled_session)
    written = (cache / "manifest.json").stat().st_mtime_ns
    assert cache_of(labelled_session) == cache_of(cache) == cache
    assert (cache / "manifest.json").stat().st_mtime_ns == written
    good = read_labels(labelled_session / "labels.npz", VIEWS)
    kept = good.right
    arrays = (good.camera, good.time_ns, good.right, good.keypoints_px, good.confidence)
    write_labels(labelled_session / "labels.npz", labels_of(*(array[kept] for array in arrays)), VIEWS)
    again = cache_of(labelled_session)
    assert again != cache
    assert len(read_cache(again)[1][0].crops_rgb) == FRAMES * VIEWS


def test_a_session_that_two_programs_cut_at_once_is_whole(labelled_session: Path, monkeypatch: Any) -> None:
    plain = session_cache._cut
    other = (
        "from pathlib import Path\nfrom models.data.session_cache import cache_of\n"
        f"cache_of(Path({str(labelled_session)!r}))"
    )

    def cut_while_another_does(*given: Any) -> list[Shard]:
        shards = plain(*given)
        subprocess.run([sys.executable, "-c", other], cwd=ROOT, check=True, timeout=120)
        return shards

    monkeypatch.setattr(session_cache, "_cut", cut_while_another_does)
    _, (shard,) = read_cache(cache_of(labelled_session))
    assert len(shard.crops_rgb) == (FRAMES + 5) * VIEWS
    assert len([path for path in labelled_session.iterdir() if path.is_dir()]) == 1


def test_joints_without_a_label_do_not_move_the_crops() -> None:
    whole = sequence_of(True)
    keypoints_px, confidence = whole.keypoints_px.copy(), whole.confidence.copy()
    keypoints_px[:, :2, 16:], confidence[:, :2, 16:] = 0, 0
    part = replace(whole, keypoints_px=keypoints_px, confidence=confidence)
    for found, expected in zip(boxes(triangulate_labels(part)), boxes(triangulate_labels(whole)), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    std = label_std(keypoints_px, confidence)[:, :2, :16]
    np.testing.assert_allclose(std, label_std(keypoints_px[:, :2, :16], confidence[:, :2, :16]))


@pytest.mark.parametrize("labelled", [0, 1])
def test_windows_may_get_labels_in_fewer_than_two_views(labelled: int) -> None:
    dataset = WindowDataset([(CacheManifest(size_px=160, views=VIEWS), [shard_of(True)])])

    def fewer(_number: int, shard: Shard) -> Shard:
        confidence = shard.label_confidence.copy()
        confidence[shard.rows[:, labelled:]] = 0
        return replace(shard, label_confidence=confidence)

    dataset.change_shards(fewer)
    for views in (2, 3):
        item = dataset[0, 0, views]
        assert item["view_mask"].all() and item["view_mask"].shape == (5, views)
        assert (item["label_confidence"][-1] > 0).any(1).sum() == labelled


def test_too_many_open_files_are_no_damage(tmp_path: Path) -> None:
    shard = shard_of(True)
    write_cache(tmp_path / "cache", [shard])
    for index in range(1, 20):
        write_shard(tmp_path / "cache", index, shard)
    opened = {int(file.name) for file in Path("/proc/self/fd").iterdir()}
    few = next(limit for limit in itertools.count() if len(set(range(limit)) - opened) == 8)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    try:
        with pytest.raises(UserError, match="ulimit -n"):
            read_cache(tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_labels_that_cannot_be_used_are_refused(labelled_session: Path, tmp_path: Path) -> None:
    file = labelled_session / "labels.npz"
    good = read_labels(file, VIEWS)
    arrays = {name: getattr(good, name) for name in ("camera", "time_ns", "right", "keypoints_px", "confidence")}
    keypoints, confidence = good.keypoints_px.copy(), good.confidence.copy()
    keypoints[7, 3, 0], confidence[4, 2] = np.nan, 1.5
    broken = [
        ({"keypoints_px": keypoints}, "row 7 holds NaN"),
        ({"confidence": confidence}, "row 4 is outside"),
        ({"camera": arrays["camera"] + 1}, "cameras 0 to 3"),
        ({"keypoints_px": good.keypoints_px[:, :20]}, "has shape"),
        ({"time_ns": good.time_ns[:-1]}, "has shape"),
        ({"right": np.full(len(good), 0.5)}, "holds float64"),
        ({"camera": np.array(["a"] * len(good))}, "holds <U1"),
        ({"confidence": np.array([[{}] * 21] * len(good), dtype=object)}, "cannot be read as labels"),
    ]
    for changed, says in broken:
        np.savez(tmp_path / "labels.npz", source="x", **{**arrays, **changed})
        with pytest.raises(UserError, match=says):
            read_labels(tmp_path / "labels.npz", VIEWS)
    with pytest.raises(UserError, match="row 7 holds NaN"):
        write_labels(tmp_path / "labels.npz", replace(good, keypoints_px=keypoints), VIEWS)
    np.savez(tmp_path / "labels.npz", source="x", **{k: v for k, v in arrays.items() if k != "right"})
    with pytest.raises(UserError, match="no `right`"):
        read_labels(tmp_path / "labels.npz", VIEWS)
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(UserError, match="cannot be read as labels"):
        cache_session(labelled_session, tmp_path / "never")
    with pytest.raises(UserError, match="no such file"):
        read_labels(tmp_path / "none.npz", VIEWS)


def test_labels_say_where_on_the_hand_their_points_lie(tmp_path: Path) -> None:
    path = tmp_path / "labels.npz"
    one = np.zeros(1, int), np.zeros(1, int), np.ones(1, bool), np.ones((1, 21, 2)), np.ones((1, 21))
    write_labels(path, replace(labels_of(*one), definition="detector"), VIEWS)
    assert read_labels(path, VIEWS).definition == "detector"
    with np.load(path) as file:
        arrays = dict(file)
    del arrays["definition"]
    np.savez(path, **arrays)
    assert read_labels(path, VIEWS).definition == "anatomical"
    np.savez(path, **{**arrays, "source": np.array("MediaPipe 0.10.21")})
    assert read_labels(path, VIEWS).definition == "detector"
    np.savez(path, **arrays, definition=np.array("elbow"))
    with pytest.raises(UserError, match="`definition` is 'elbow'; known: anatomical, detector"):
        read_labels(path, VIEWS)


def test_labels_of_a_session_without_hands_are_written_and_read(tmp_path: Path) -> None:
    none = Labels(
        camera=np.zeros(0, int),
        time_ns=np.zeros(0, int),
        right=np.zeros(0, bool),
        keypoints_px=np.zeros((0, 21, 2)),
        confidence=np.zeros((0, 21)),
        source="none",
    )
    write_labels(tmp_path / "labels.npz", none, VIEWS)
    assert len(read_labels(tmp_path / "labels.npz", VIEWS)) == 0


def test_caches_that_cannot_be_used_are_refused(cache: Path, tmp_path: Path) -> None:
    def spoiled(name: str) -> Path:
        shutil.copytree(cache, tmp_path / name)
        return tmp_path / name

    short = write_cache(
        tmp_path / "short", [replace(shard_of(True), **{name: getattr(shard_of(True), name)[:4]
                             for name in ("rows", "sequence", "time_ns", "targets_m", "joints_m")})]
    )  # fmt: skip
    torn, empty, other = spoiled("torn"), spoiled("empty"), spoiled("other")
    file = torn / "shard_00000" / "crops_rgb.npy"
    file.write_bytes(file.read_bytes()[:100_000])
    shutil.rmtree(empty / "shard_00000")
    write_manifest(other, CacheManifest(size_px=128, views=VIEWS))
    nan = spoiled("nan")
    P = np.load(nan / "shard_00000" / "P_crop.npy")
    P[3] = np.nan
    np.save(nan / "shard_00000" / "P_crop.npy", P)
    outside = spoiled("outside")
    rows = np.load(outside / "shard_00000" / "rows.npy")
    rows[2] = 10_000
    np.save(outside / "shard_00000" / "rows.npy", rows)
    for path, says in (
        (short, "no window of 5"), (torn, "damaged"), (empty, "no shard"), (other, "expected"), (nan, "NaN"),
        (outside, "`rows` holds numbers outside of -1 to"),
        (tmp_path / "nowhere", "is no crop cache"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=says):
            WindowDataset([path])


def test_boxes_come_from_the_labels_and_hold_out_against_bad_ones() -> None:
    """Noisy labels with hands missed: the crops look nearly where the true hand is, and see it as large."""
    sequence = sequence_of(True, "noisy")
    sequence.confidence[6] = 0
    sequence.keypoints_px[3, 1] += 120
    truth = joints_of(True)
    crops, targets = crops_of(sequence, 128)
    assert np.linalg.norm(targets - truth.mean(1), axis=-1).max() < 0.03
    np.testing.assert_array_equal(targets[6], targets[5])
    inside = 0
    for frame, row in enumerate(crops):
        for crop in row:
            assert crop is not None
            pixels = crop.project(truth[frame] - targets[frame])
            inside += ((pixels > 0) & (pixels < 127)).all(-1).sum()
    assert inside > 0.97 * FRAMES * VIEWS * 21


def test_unseen_views_are_the_rest_and_describe_the_same_hand(cache: Path) -> None:
    """The drawn views are as without `unseen`, and the others' labels are where their cameras see the true joints."""
    options = {"augmentation": STILL, "truth": True, "seed": 4}
    dataset, without = WindowDataset([cache], unseen=True, **options), WindowDataset([cache], **options)
    for number, views in ((3, 2), (9, 3), (5, VIEWS), (6, VIEWS + 1)):
        item, plain = dataset[number, 1, views], without[number, 1, views]
        assert all(torch.equal(item[name], plain[name]) for name in plain)
        U = max(VIEWS - views, 0)
        assert item["unseen_confidence"].shape == (5, U, 21) and (item["unseen_confidence"] > 0).all()
        for t in range(5):
            for u in range(U):
                P = item["unseen_P_crop"][t, u].double()
                seen = torch.cat([item["joints_m"][t].double(), torch.ones(21, 1)], dim=1) @ P.T
                torch.testing.assert_close(
                    seen[:, :2] / seen[:, 2:], item["unseen_labels_px"][t, u].double(), atol=0.02, rtol=0
                )
                assert not any(torch.allclose(item["P_crop"][t, v], item["unseen_P_crop"][t, u]) for v in range(views))
