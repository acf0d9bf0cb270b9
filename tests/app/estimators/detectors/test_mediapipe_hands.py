"""MediaPipe's models on this project's engines against what MediaPipe's wheel answered on a recording.

tests/data/mediapipe holds the answers; tests/tools/record_mediapipe.py wrote them.
"""

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.estimators.detection import Detection, Region, merge_duplicates
from app.estimators.detectors import mediapipe_hands
from app.estimators.detectors.hand_crop import HandCrop, crop_of_keypoints
from app.estimators.detectors.mediapipe_hands import CROP_PX, HandDetectorSettings, MediaPipeHands
from app.estimators.detectors.palms import SIDE_PX, PalmSearch
from app.estimators.multiview.estimator import MultiViewEstimator
from calibration.errors import UserError
from calibration.frames import Frame
from calibration.hand import bone_lengths
from deploy.engines.devices import has_bf16
from deploy.image_engines import load_image_network
from models.weights import mediapipe_model
from tests.conftest import ROOT
from tests.support.real_rig import read_rig, read_sets

ENGINES = [name for name in ("openvino", "onnxruntime") if importlib.util.find_spec(name)]


@pytest.fixture(scope="module")
def frames(real_rig_dir: Path) -> dict[tuple[int, int], Frame]:
    """Frames by set and camera."""
    return {
        (frame_set.index, camera): frame
        for frame_set in read_sets(real_rig_dir, 111)
        for camera, (_, frame) in enumerate(sorted(frame_set.frames.items()))
        if frame_set.index % 15 in (0, 5)
    }


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    return dict(np.load(ROOT / "tests/data/mediapipe/real_rig.npz", allow_pickle=False))


@pytest.fixture(scope="module")
def frame(frames: dict[tuple[int, int], Frame]) -> Frame:
    """A frame that shows both hands of the person, who faces the camera."""
    return frames[30, 2]


@pytest.fixture(scope="module")
def detector() -> Iterator[MediaPipeHands]:
    detector = MediaPipeHands(engine=ENGINES[0])
    yield detector
    detector.close()


def detect(detector: MediaPipeHands, frame: Frame, regions: list[Region], search: bool) -> list[Detection]:
    (found,) = detector.detect([frame], [regions], [search])
    return found


def by_side(detections: list[Detection]) -> tuple[Detection, Detection]:
    """The left and the right hand."""
    left, right = sorted(detections, key=lambda detection: detection.right_probability)
    return left, right


def cut_in_32nds(image_bgr: np.ndarray, crop: HandCrop) -> np.ndarray:
    """HandCrop.cut as OpenCV 4 does it, at places rounded to a 32nd of a pixel; OpenCV 5 does not round.

    On the same network that is up to 1.6 pixels of the crop (p99 0.5).
    """
    affine = crop.image_from_crop(CROP_PX)
    steps = np.arange(CROP_PX)[:, None]
    along, begin = np.rint(1024 * steps * affine[:, 0]), np.rint(1024 * (steps * affine[:, 1] + affine[:, 2]))
    places = np.floor((along[None] + begin[:, None] + 16) / 32) / 32
    first = np.floor(places).astype(int)
    (x, y), part = np.moveaxis(first, -1, 0), (places - first)[..., None]
    around = np.pad(image_bgr.astype(np.float32), ((1, 1), (1, 1), (0, 0)))
    rows, columns = (np.clip([v, v + 1], -1, n) + 1 for v, n in ((y, image_bgr.shape[0]), (x, image_bgr.shape[1])))
    weights = (1 - part[:, :, 0], part[:, :, 0]), (1 - part[:, :, 1], part[:, :, 1])
    mixed = sum(weights[0][i] * weights[1][j] * around[rows[j], columns[i]] for i in (0, 1) for j in (0, 1))
    return np.floor(mixed + 0.5).astype(np.uint8)


def landmarks_of(
    engine: str, frames: dict[tuple[int, int], Frame], recorded: dict[str, np.ndarray]
) -> list[np.ndarray]:
    """What an engine answers on the recorded crops, all in one batch."""
    crops = [
        cut_in_32nds(frames[tuple(of)].pixels, HandCrop(crop[:2].astype(float), float(crop[2]), float(crop[3])))
        for crop, of in zip(recorded["crop"], recorded["hand_of"], strict=True)
    ]
    network = load_image_network(mediapipe_model("hand_landmark"), (CROP_PX, CROP_PX, 3), engine)
    answers = network(np.stack([cv2.cvtColor(crop, cv2.COLOR_BGR2RGB) for crop in crops]))
    network.close()
    return answers


@pytest.mark.parametrize("engine", ENGINES)
def test_landmarks_are_the_wheels(engine: str, frames, recorded) -> None:
    """Half a pixel of the crop at the most; measured: 0.05."""
    landmarks, presence, handedness = landmarks_of(engine, frames, recorded)[:3]
    certain = recorded["presence"] > 0.5
    assert certain.sum() > 80
    apart = np.linalg.norm(landmarks[..., :2] - recorded["landmarks"], axis=-1)
    assert apart[certain].max() < 0.5
    np.testing.assert_allclose(presence, recorded["presence"], atol=0.02)
    np.testing.assert_allclose(handedness[certain], recorded["handedness"][certain], atol=0.02)


@pytest.mark.skipif(not has_bf16(), reason="this processor does not calculate in bfloat16")
def test_landmarks_in_bfloat16_are_near_the_wheels(frames, recorded) -> None:
    """Measured: median 0.5 pixels of the crop, 3.2 at the most, where a hand's own error is about 5."""
    landmarks = landmarks_of("openvino-bf16", frames, recorded)[0]
    apart = np.linalg.norm(landmarks[..., :2] - recorded["landmarks"], axis=-1)[recorded["presence"] > 0.5]
    assert np.median(apart) < 1 and apart.max() < 8


@pytest.mark.parametrize("engine", ENGINES)
def test_palms_are_the_wheels(engine: str, frames, recorded) -> None:
    places = sorted({tuple(place) for place in recorded["palm_of"]})
    network = load_image_network(mediapipe_model("palm_detection"), (SIDE_PX, SIDE_PX, 3), engine)
    found = PalmSearch(network).detect([frames[place].pixels for place in places])
    network.close()
    assert len(places) > 20
    for place, palms in zip(places, found, strict=True):
        rows = (recorded["palm_of"] == place).all(1)
        assert len(palms) == rows.sum(), place
        for palm, score, box, points in zip(
            palms, *(recorded[f"palm_{name}"][rows] for name in ("score", "box", "points")), strict=True
        ):
            assert palm.score == pytest.approx(score, abs=0.01)
            np.testing.assert_allclose(palm.box, box, atol=1.0)
            np.testing.assert_allclose(palm.points, points, atol=1.0)


def test_search_agrees_with_mediapipes_own_pipeline(detector: MediaPipeHands, frame: Frame, recorded) -> None:
    """Within a tenth of the hand: the crops differ a little, since ours is taken a second time around the landmarks."""
    ours, theirs = detect(detector, frame, [], True), recorded["solution"]
    assert len(ours) == len(theirs) == 2
    for detection in ours:
        distances = np.linalg.norm(detection.keypoints_px - theirs, axis=-1).mean(1)
        assert distances.min() < 0.1 * np.ptp(detection.keypoints_px, axis=0).max()


def test_sides_are_the_persons_own(detector: MediaPipeHands, frame: Frame) -> None:
    """The person faces the camera, so the right hand is on the left of the image."""
    left, right = by_side(detect(detector, frame, [], True))
    assert right.keypoints_px[:, 0].mean() < left.keypoints_px[:, 0].mean()
    assert left.right_probability < 0.2
    assert right.right_probability > 0.8


def test_a_region_gives_the_hand_in_it_even_where_it_is_off(detector: MediaPipeHands, frame: Frame) -> None:
    left, right = by_side(detect(detector, frame, [], True))
    size = np.ptp(left.keypoints_px, axis=0).max()
    off = Region(left.keypoints_px + [0.15 * size, -0.1 * size])
    (found,) = detect(detector, frame, [off], False)
    assert np.linalg.norm(found.keypoints_px - left.keypoints_px, axis=1).mean() < 0.05 * size
    both = detect(detector, frame, [off, Region(right.keypoints_px), Region(left.keypoints_px)], False)
    assert len(both) == 2


def test_all_views_of_a_set_at_once_are_each_alone(detector: MediaPipeHands, frames) -> None:
    of_set = [frames[30, camera] for camera in range(4)]
    regions = [[Region(each.keypoints_px)] for each in detect(detector, of_set[2], [], True)[:1]]
    asked = [[], [], regions[0], []], [True, True, False, False]
    together = detector.detect(of_set, *asked)
    assert sum(map(len, together)) >= 4 and together[3] == []
    for frame, regions_of, search, found in zip(of_set, *asked, together, strict=True):
        alone = detect(detector, frame, regions_of, search)
        assert len(found) == len(alone)
        for one, other in zip(found, alone, strict=True):
            np.testing.assert_allclose(one.keypoints_px, other.keypoints_px, atol=0.01)


def test_nothing_is_found_where_nothing_is(detector: MediaPipeHands, frame: Frame) -> None:
    corner = Region(np.random.default_rng(0).uniform(20, 90, size=(21, 2)))
    assert detect(detector, frame, [corner], False) == []
    blank = replace(frame, pixels=np.full_like(frame.pixels, 90))
    assert detect(detector, blank, [], True) == []
    assert detect(detector, frame, [], False) == []


def test_overwritten_pixels_give_nothing_and_the_other_views_all(detector: MediaPipeHands, frame: Frame) -> None:
    torn = replace(frame, intact=lambda: False)
    nothing, both = detector.detect([torn, frame], [[], []], [True, True])
    assert nothing == [] and len(both) == 2


def test_a_network_that_answers_nan_finds_no_hand(frame: Frame) -> None:
    detector = MediaPipeHands(engine=ENGINES[0])
    plain = detector._landmarks

    class Broken:
        name, outputs = plain.name, plain.outputs

        def __call__(self, images: np.ndarray) -> list[np.ndarray]:
            return [np.full_like(array, np.nan) for array in plain(images)]

        def close(self) -> None: ...

    detector._landmarks = Broken()  # pyright: ignore[reportAttributeAccessIssue]
    assert detect(detector, frame, [], True) == []


def test_presence_below_the_limit_is_no_hand(frame: Frame) -> None:
    detector = MediaPipeHands(HandDetectorSettings(least_presence=1.1), ENGINES[0])
    assert detect(detector, frame, [], True) == []


def test_the_crop_is_upright_and_holds_the_hand() -> None:
    keypoints = np.random.default_rng(2).uniform(-30, 30, size=(21, 2))
    keypoints[[0, 5, 9, 13]] = [[0, 60], [-20, -20], [0, -25], [20, -20]]
    for angle in (0.0, 1.0, 3.0, -2.0):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        crop = crop_of_keypoints(keypoints @ turn.T + [400, 300])
        for size in ((224, 224), (192, 256), (256, 192)):
            affine = np.vstack([crop.image_from_crop(*size), [0, 0, 1]])
            inside = (np.linalg.inv(affine) @ np.column_stack([keypoints @ turn.T + [400, 300], np.ones(21)]).T)[:2].T
            assert ((inside > 0) & (inside < size)).all()
            np.testing.assert_allclose(inside[9, 0], inside[0, 0], atol=1e-6)
            assert inside[9, 1] < inside[0, 1]


def test_duplicates_are_merged_and_the_best_stays() -> None:
    random = np.random.default_rng(5)
    hand = random.uniform(0, 100, size=(21, 2))
    near = Detection(hand + random.normal(scale=3, size=(21, 2)), np.ones(21), 0.9, 0.6)
    best = Detection(hand, np.ones(21), 0.9, 0.99)
    other = Detection(hand + [150, 0], np.ones(21), 0.1, 0.8)
    assert merge_duplicates([near, other, best]) == [best, other]


def test_without_any_engine_the_user_is_told_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.image_engines.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "usthand-live\[cpu\]"'):
        MediaPipeHands()
    with pytest.raises(UserError, match="unknown engine `cuda`"):
        MediaPipeHands(engine="cuda")


def test_both_hands_of_the_real_rig_are_followed(real_rig_dir: Path) -> None:
    """Seconds 1 to 7: both hands move freely. Limits lie a fifth above what was measured."""
    rig = read_rig(real_rig_dir)
    estimator = MultiViewEstimator(rig, mediapipe_hands.MediaPipeHands())
    names, blind, lengths, found, used = set(), [], {"left": [], "right": []}, 0, 0
    for frame_set in read_sets(real_rig_dir, 45):
        estimate = estimator.estimate(frame_set)
        if frame_set.index < 6:
            continue
        assert {hand.side for hand in estimate.hands} == {"left", "right"}
        found, used = found + estimate.detections, used + estimate.detections_used
        for hand in estimate.hands:
            names.add((hand.side, hand.track_id))
            blind.append(hand.leave_one_out_px)
            lengths[hand.side].append(bone_lengths(hand.joints_world_m))
        # The person faces camera 2: the right hand is on the left of its image.
        middle = {hand.side: rig["cam_2"].project(hand.joints_world_m)[:, 0].mean() for hand in estimate.hands}
        assert middle["right"] < middle["left"]
    estimator.close()
    assert len(names) == 2
    assert used > 0.96 * found
    assert np.median(np.concatenate(blind)) < 7.5
    for values in lengths.values():
        assert (np.std(values, axis=0) / np.mean(values, axis=0)).mean() < 0.08
