"""Crops of all views, labelled with what is taught; hands that do not teach have no label."""

import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from app.adaptation.check import withheld_percent
from app.adaptation.crops import cut_crops, label_crops, read_places, to_image
from app.adaptation.footage import plan_footage, teaching
from app.adaptation.settings import FootageSettings
from app.adaptation.teacher import teach
from app.estimators.detectors.remembered import RememberedDetector
from app.estimators.multiview.estimator import MultiViewEstimator
from app.labelling.find_hands import find_hands
from app.labelling.label_sources import LabelSource
from models.data.crop_cache import read_cache
from models.hand.crop import MIRROR_X, to_pixels
from models.simulation.hands import hands_at
from tests.support.exact_footage import FPS, ExactDetector, make_session

VIEWS = 3


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory):
    """Footage, its hands, what is taught of them, which teach, and the cache."""
    import cv2

    def write_video(path: Path, width: int, height: int, frames: int, fps: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
        for _ in range(frames):
            writer.write(np.zeros((height, width, 3), np.uint8))
        writer.release()

    folder = tmp_path_factory.mktemp("crops")
    recording = make_session(folder / "session", write_video, cameras=VIEWS)
    settings = FootageSettings(holdout=0.4, rate_hz=FPS, least_sets=6, least_held_sets=4)
    footage = plan_footage(recording.session, 100, settings)
    remembered = RememberedDetector(ExactDetector(recording.rig))
    source = LabelSource(
        name="exact", detector=remembered, made_by="exact", definition=None,
        make=lambda rig: MultiViewEstimator(rig, remembered, definition="anatomical"),
    )  # fmt: skip
    hands = find_hands(recording.session, source, folder / "parts", chosen=footage.learning_sets())
    taught, cache = teach(footage.rig, hands), folder / "cache"
    cut_crops(cache, 0, VIEWS, footage, hands, taught, lambda: None)
    teaches = teaching(hands.time_ns, 0.25)
    label_crops(cache, 0, footage.rig, hands, taught, teaches)
    return footage, hands, taught, teaches, cache


def test_labels_are_the_truth_in_each_view_and_of_hands_that_teach_alone(cut):
    footage, hands, _, teaches, cache = cut
    (shard,), places = read_cache(cache)[1], read_places(cache, 0)
    assert max(hands.time_ns) < footage.held_ns
    assert len(places.hand) == VIEWS * len(hands)
    for crop, (hand, view) in enumerate(zip(places.hand, places.view, strict=True)):
        assert (shard.label_confidence[crop] > 0).all() == teaches[hand] == (shard.label_confidence[crop] > 0).any()
        if not teaches[hand]:
            continue
        camera, side = footage.rig.cameras[view], "right" if hands.right[hand] else "left"
        truth_m = hands_at(hands.frame_time_ns[hand, view] * 1e-9)[side]
        rays = truth_m @ camera.T_cam_world[:3, :3].T + camera.T_cam_world[:3, 3]
        assert shard.labels_px[crop] == pytest.approx(to_pixels(places.crop_from_normal[crop], rays), abs=1.0)
    assert 0 < teaches.sum() < len(hands)


def test_the_cameras_of_the_crops_are_those_of_a_crop_cache(cut):
    """Windows take them to see hand-centred joints: with the hand's mean motion up to each view."""
    _, hands, taught, teaches, cache = cut
    (shard,), places = read_cache(cache)[1], read_places(cache, 0)
    for frame, rows in enumerate(shard.rows):
        for crop in rows:
            hand = places.hand[crop]
            turn = np.eye(3) if hands.right[hand] else MIRROR_X
            joints_m = taught.joints_m[hand] @ turn - shard.targets_m[frame]
            if teaches[hand]:
                assert to_pixels(shard.P_crop[crop].astype(float), joints_m) == pytest.approx(
                    shard.labels_px[crop], abs=2.0
                )


def test_points_of_crops_are_keypoints_of_the_images_and_are_checked_in_withheld_views(cut):
    footage, hands, taught, teaches, cache = cut
    places = read_places(cache, 0)
    exact_px = np.zeros((len(places.hand), 21, 2))
    for crop, (hand, view) in enumerate(zip(places.hand, places.view, strict=True)):
        normal = footage.rig.cameras[view].camera.undistort(hands.keypoints_px[hand, view])
        exact_px[crop] = to_pixels(places.crop_from_normal[crop], np.concatenate([normal, np.ones((21, 1))], 1))
    sure = np.ones(len(places.hand))
    found = to_image(footage.rig, hands, places, exact_px, sure)
    assert found.px == pytest.approx(hands.keypoints_px, abs=1e-6)
    assert not to_image(footage.rig, hands, places, exact_px, 0 * sure).seen.any()
    noise_px = np.random.default_rng(0).normal(0, 6.0, exact_px.shape)
    errors = withheld_percent(
        footage.rig, hands, ~teaches, taught.velocity_m_s, places,
        np.stack([exact_px, exact_px + noise_px]), np.stack([sure, sure]),
    )  # fmt: skip
    assert errors.shape[1] == VIEWS * 21 * (~teaches).sum()
    assert errors[0].mean() < 0.5 < 2 < errors[1].mean()


def test_pictures_are_on_the_disk_while_they_are_cut(cut, tmp_path):
    """Those of many cameras are more than fits into memory."""
    footage, hands, taught, _, cache = cut
    sets = list(footage.learning_sets())
    decoded = SimpleNamespace(rig=footage.rig, session=footage.session, learning_sets=lambda: iter(sets))
    tracemalloc.start()
    try:
        cut_crops(tmp_path / "cache", 0, VIEWS, decoded, hands, taught, lambda: None)  # type: ignore[arg-type]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    (again,), (before,) = read_cache(tmp_path / "cache")[1], read_cache(cache)[1]
    assert np.array_equal(again.crops_rgb, before.crops_rgb)
    assert most < again.crops_rgb.nbytes / 2
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {path.name for path in cache.iterdir()}
