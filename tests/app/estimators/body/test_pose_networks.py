"""MediaPipe's pose models on this project's engines against what MediaPipe's wheel answered on a recording.

tests/data/mediapipe holds the answers; tests/tools/record_mediapipe_pose.py wrote them.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from app.estimators.body.body_crop import CROP_PX, crop_of_points, cut
from app.estimators.body.body_landmarks import read_bodies, refined
from app.estimators.body.body_search import SEARCH_PX, find_bodies, search_image
from deploy.image_engines import load_image_network
from models.weights import mediapipe_model
from tests.conftest import ROOT
from tests.support.real_rig import read_sets

ENGINES = [name for name in ("openvino", "onnxruntime") if importlib.util.find_spec(name)]


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    return dict(np.load(ROOT / "tests/data/mediapipe/real_rig_pose.npz", allow_pickle=False))


@pytest.fixture(scope="module")
def images(real_rig_dir: Path, recorded) -> dict[tuple[int, int], np.ndarray]:
    """By set and camera."""
    wanted = {tuple(of) for of in recorded["of"].tolist()}
    return {
        (frame_set.index, camera): frame.pixels
        for frame_set in read_sets(real_rig_dir, 1 + max(index for index, _ in wanted))
        for camera, (_, frame) in enumerate(sorted(frame_set.frames.items()))
        if (frame_set.index, camera) in wanted
    }


@pytest.mark.parametrize(
    "engine", [pytest.param(name, marks=pytest.mark.slow if name != ENGINES[0] else ()) for name in ENGINES]
)
def test_bodies_are_the_wheels(engine: str, images, recorded) -> None:
    """Pixels of images 1280 wide; measured: median 0.03, and 2 at the most, where a point's cell of the heatmap differs
    by the pictures' rounding. Points below the picture, legs, are the network's guesses, and jump."""
    detection = load_image_network(mediapipe_model("pose_detection"), (SEARCH_PX, SEARCH_PX, 3), engine)
    landmark = load_image_network(mediapipe_model("pose_landmark"), (CROP_PX, CROP_PX, 3), engine)
    found = find_bodies(detection, [search_image(image) for image in images.values()], 4)
    crops = {of: crops[0] for of, crops in zip(images, found, strict=True) if crops}
    assert set(crops) == {tuple(of) for of in recorded["of"].tolist()}
    bodies = read_bodies(landmark, list(crops.values()), [cut(crop, images[of]) for of, crop in crops.items()])
    detection.close()
    landmark.close()
    apart = []
    for of, body in zip(crops, bodies, strict=True):
        (row,) = np.flatnonzero((recorded["of"] == of).all(1))
        assert body is not None and body.presence > 0.5
        np.testing.assert_allclose(body.visibility, recorded["visibility"][row], atol=0.01)
        apart.append(np.linalg.norm(body.points_px - recorded["points"][row], axis=1))
    arms = np.array(apart)[:, :25]
    assert len(arms) == 12 and np.median(arms) < 0.1 and np.percentile(arms, 95) < 1.0 and arms.max() < 5.0


def test_a_place_moves_to_the_middle_of_its_heatmaps_peak_and_stays_where_there_is_none() -> None:
    heatmaps = np.full((3, 64, 64), -30.0)
    heatmaps[0, 20, 32], heatmaps[0, 20, 33] = 8.0, 8.0
    heatmaps[1, 40, 10] = -1.0
    places = np.array([[31.2, 21.8], [10.3, 40.4], [70.0, 3.0]]) / 64
    np.testing.assert_allclose(refined(places, heatmaps)[0] * 64, [32.5, 20.0], atol=1e-6)
    np.testing.assert_array_equal(refined(places, heatmaps)[1:], places[1:])


def test_the_crop_is_upright_around_the_hips() -> None:
    for angle in (0.0, 0.8, -2.0):
        up = np.array([np.sin(angle), -np.cos(angle)])
        crop = crop_of_points(np.array([300.0, 200.0]), np.array([300.0, 200.0]) + 100 * up)
        affine = crop.image_from_crop(CROP_PX)
        np.testing.assert_allclose(affine @ [CROP_PX / 2, CROP_PX / 2, 1], [300, 200])
        # Up in the crop, by what the circle around the body is of its square.
        above = affine @ [CROP_PX / 2, CROP_PX / 2 * (1 - 1 / 1.25), 1]
        np.testing.assert_allclose(above, np.array([300, 200]) + 100 * up)


def test_nobody_is_found_where_nobody_is(images) -> None:
    detection = load_image_network(mediapipe_model("pose_detection"), (SEARCH_PX, SEARCH_PX, 3), ENGINES[0])
    blank = np.full_like(next(iter(images.values())), 90)
    assert find_bodies(detection, [search_image(blank)], 4) == [[]]
    assert find_bodies(detection, [], 4) == []
    detection.close()
