"""MediaPipe on real images: against MediaPipe's own pipeline, with regions, and the whole estimator on the real rig."""

import csv
import importlib
import importlib.util
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from app.estimators.detection import Detection, Region, merge_duplicates
from app.estimators.multiview import mediapipe_hands
from app.estimators.multiview.estimator import MultiViewEstimator
from app.estimators.multiview.mediapipe_hands import MediaPipeHands, square_from_keypoints
from calibration.camera import Camera
from calibration.errors import UserError
from calibration.frames import Frame, FrameSet
from calibration.hand import bone_lengths
from calibration.rig import Rig, RigCamera

needs_mediapipe = pytest.mark.skipif(
    importlib.util.find_spec("mediapipe") is None, reason=f"mediapipe is not installed: {mediapipe_hands.INSTALL}"
)


def read_rig(folder: Path) -> Rig:
    """caliscope's calibration of the recording."""
    cameras = []
    for number, entry in sorted(tomllib.loads((folder / "camera_array.toml").read_text())["cameras"].items()):
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = entry["rotation"], entry["translation"]
        lens = Camera(
            width=entry["size"][0],
            height=entry["size"][1],
            lens="pinhole5",
            matrix=np.array(entry["matrix"]),
            distortion=np.array(entry["distortions"]),
        )
        cameras.append(RigCamera(camera_id=f"cam_{number}", camera=lens, T_cam_world=T))
    return Rig(tuple(cameras))


def read_sets(folder: Path, count: int) -> Iterator[FrameSet]:
    """The first frame sets of the recording, as it grouped them."""
    videos = {f"cam_{n}": cv2.VideoCapture(str(folder / f"calibration/extrinsic/cam_{n}.mp4")) for n in range(4)}
    rows: dict[int, dict[str, int]] = {}
    with (folder / "calibration/extrinsic/timestamps.csv").open() as file:
        for row in csv.DictReader(file):
            stamp_ns = round(float(row["frame_time"]) * 1e9)
            rows.setdefault(int(row["sync_index"]), {})[f"cam_{row['cam_id']}"] = stamp_ns
    for index, stamps in enumerate([rows[key] for key in sorted(rows)][:count]):
        frames = {}
        for camera_id, stamp_ns in sorted(stamps.items()):
            ok, pixels = videos[camera_id].read()
            assert ok
            frames[camera_id] = Frame(
                camera_id=camera_id,
                sequence=index,
                capture_time_ns=stamp_ns,
                grab_time_ns=stamp_ns,
                publish_time_ns=stamp_ns,
                pixels=pixels,
            )
        yield FrameSet(index, int(np.median(list(stamps.values()))), frames, 0)


@pytest.fixture(scope="module")
def frame(real_rig_dir: Path) -> Frame:
    """A frame that shows both hands of the person, who faces the camera."""
    *_, last = read_sets(real_rig_dir, 31)
    return last.frames["cam_2"]


@pytest.fixture(scope="module")
def detector() -> Iterator[MediaPipeHands]:
    pytest.importorskip("mediapipe")
    detector = MediaPipeHands()
    yield detector
    detector.close()


def test_nothing_is_said_on_a_start_that_is_fine() -> None:
    pytest.importorskip("mediapipe")
    script = (
        "import numpy as np; from app.estimators.detection import Region; from calibration.frames import Frame;"
        "from app.estimators.multiview.mediapipe_hands import MediaPipeHands;"
        "frame = Frame(camera_id='a', sequence=0, capture_time_ns=0, grab_time_ns=0, publish_time_ns=0,"
        "pixels=np.zeros((240, 320, 3), np.uint8));"
        "region = Region(np.random.default_rng(0).uniform(50, 200, (21, 2)));"
        "hands = MediaPipeHands(); hands.detect(frame, [region], True); hands.close()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert done.stderr == ""


def test_what_else_is_said_meanwhile_is_heard(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), mediapipe_hands._quiet_start():
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\nE0000 no such model\n")
        raise RuntimeError
    assert capfd.readouterr().err == "E0000 no such model\n"


def by_side(detections: list[Detection]) -> tuple[Detection, Detection]:
    """The left and the right hand."""
    left, right = sorted(detections, key=lambda detection: detection.right_probability)
    return left, right


@needs_mediapipe
def test_search_agrees_with_mediapipes_own_pipeline(detector: MediaPipeHands, frame: Frame) -> None:
    """Within a tenth of the hand: the crops differ a little, since ours is taken a second time around the landmarks."""
    solution: Any = importlib.import_module("mediapipe.python.solutions.hands")
    with solution.Hands(static_image_mode=True, max_num_hands=2) as hands:
        result = hands.process(cv2.cvtColor(frame.pixels, cv2.COLOR_BGR2RGB))
    size = np.array([frame.pixels.shape[1], frame.pixels.shape[0]])
    theirs = [np.array([[p.x, p.y] for p in hand.landmark]) * size for hand in result.multi_hand_landmarks]
    ours = detector.detect(frame, [], True)
    assert len(ours) == len(theirs) == 2
    for detection in ours:
        distances = [np.linalg.norm(detection.keypoints_px - other, axis=1).mean() for other in theirs]
        assert min(distances) < 0.1 * np.ptp(detection.keypoints_px, axis=0).max()


@needs_mediapipe
def test_sides_are_the_persons_own(detector: MediaPipeHands, frame: Frame) -> None:
    """The person faces the camera, so the right hand is on the left of the image."""
    left, right = by_side(detector.detect(frame, [], True))
    assert right.keypoints_px[:, 0].mean() < left.keypoints_px[:, 0].mean()
    assert left.right_probability < 0.2
    assert right.right_probability > 0.8


@needs_mediapipe
def test_a_region_gives_the_hand_in_it_even_where_it_is_off(detector: MediaPipeHands, frame: Frame) -> None:
    left, right = by_side(detector.detect(frame, [], True))
    size = np.ptp(left.keypoints_px, axis=0).max()
    off = Region(left.keypoints_px + [0.15 * size, -0.1 * size])
    (found,) = detector.detect(frame, [off], False)
    assert np.linalg.norm(found.keypoints_px - left.keypoints_px, axis=1).mean() < 0.05 * size
    both = detector.detect(frame, [off, Region(right.keypoints_px), Region(left.keypoints_px)], False)
    assert len(both) == 2


@needs_mediapipe
def test_nothing_is_found_where_nothing_is(detector: MediaPipeHands, frame: Frame) -> None:
    corner = Region(np.random.default_rng(0).uniform(20, 90, size=(21, 2)))
    assert detector.detect(frame, [corner], False) == []
    blank = replace(frame, pixels=np.full_like(frame.pixels, 90))
    assert detector.detect(blank, [], True) == []
    assert detector.detect(frame, [], False) == []


@needs_mediapipe
def test_overwritten_pixels_give_nothing(detector: MediaPipeHands, frame: Frame) -> None:
    torn = replace(frame, intact=lambda: False)
    assert detector.detect(torn, [], True) == []


def test_the_crop_is_upright_and_holds_the_hand() -> None:
    keypoints = np.random.default_rng(2).uniform(-30, 30, size=(21, 2))
    keypoints[[0, 5, 9, 13]] = [[0, 60], [-20, -20], [0, -25], [20, -20]]
    for angle in (0.0, 1.0, 3.0, -2.0):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        square = square_from_keypoints(keypoints @ turn.T + [400, 300])
        affine = np.vstack([square.image_from_crop, [0, 0, 1]])
        crop = (np.linalg.inv(affine) @ np.column_stack([keypoints @ turn.T + [400, 300], np.ones(21)]).T)[:2].T
        assert ((crop > 0) & (crop < 224)).all()
        np.testing.assert_allclose(crop[9, 0], crop[0, 0], atol=1e-6)
        assert crop[9, 1] < crop[0, 1]


def test_duplicates_are_merged_and_the_best_stays() -> None:
    random = np.random.default_rng(5)
    hand = random.uniform(0, 100, size=(21, 2))
    near = Detection(hand + random.normal(scale=3, size=(21, 2)), np.ones(21), 0.9, 0.6)
    best = Detection(hand, np.ones(21), 0.9, 0.99)
    other = Detection(hand + [150, 0], np.ones(21), 0.1, 0.8)
    assert merge_duplicates([near, other, best]) == [best, other]


def test_without_mediapipe_the_user_is_told_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mediapipe_hands.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "usthand-live\[mediapipe\]"'):
        MediaPipeHands()


@needs_mediapipe
def test_both_hands_of_the_real_rig_are_followed(real_rig_dir: Path) -> None:
    """Seconds 1 to 7: both hands move freely. Limits lie a fifth above what was measured."""
    rig = read_rig(real_rig_dir)
    estimator = MultiViewEstimator(rig, MediaPipeHands())
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
