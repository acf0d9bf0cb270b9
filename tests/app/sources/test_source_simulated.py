"""Simulated cameras: the schedule, the scripted faults and the image."""

import time

import cv2
import numpy as np
import pytest

from app.sources import make_source
from app.sources.source import FrameCorrupt, Source, SourceError, SourceLost, SourceTimeout, Stamp
from calibration.camera_source import SimulatedSource
from calibration.rig import RigCamera
from models.simulation.hands import hands_at
from models.simulation.simulated_rig import ring_rig
from tests.support.source_cases import new_image, source_of


def grab_many(source: Source, frames: int) -> list[Stamp]:
    return [source.grab(2.0) for _ in range(frames)]


def test_frames_lie_on_the_clocks_grid_so_that_cameras_are_in_phase() -> None:
    cameras = [source_of(SimulatedSource(fps=50.0, seed=seed)) for seed in (1, 2)]
    for camera in cameras:
        camera.open()
        time.sleep(0.013)
    for camera in cameras:
        for stamp in grab_many(camera, 5):
            assert stamp.capture_time_ns % 20_000_000 == 0
            assert stamp.grab_time_ns >= stamp.capture_time_ns
    shifted = source_of(SimulatedSource(fps=50.0, phase_ms=3.0))
    shifted.open()
    assert {stamp.capture_time_ns % 20_000_000 for stamp in grab_many(shifted, 5)} == {3_000_000}


def test_jitter_is_as_large_as_scripted_and_keeps_the_order() -> None:
    source = source_of(SimulatedSource(fps=500.0, jitter_ms=0.3, seed=4))
    source.open()
    times_ns = np.array([stamp.capture_time_ns for stamp in grab_many(source, 400)])
    source.close()
    off_ms = ((times_ns + 1_000_000) % 2_000_000 - 1_000_000) / 1e6
    # 400 samples give the standard deviation to 4 % (one sigma); clipping at 0.9 ms takes another 1.5 %.
    assert 0.24 < off_ms.std() < 0.36
    assert (np.diff(times_ns) > 0).all()


def test_drops_show_as_gaps_and_corrupt_frames_are_told() -> None:
    source = source_of(SimulatedSource(fps=100.0, drop=[3, 4, 7], corrupt=[5]))
    source.open()
    image = new_image()
    seen, corrupt = [], []
    for stamp in grab_one_by_one(source, until=12):
        try:
            source.retrieve(image)
            seen.append(stamp.sequence)
        except FrameCorrupt:
            corrupt.append(stamp.sequence)
    source.close()
    assert not {3, 4, 5, 7} & set(seen)
    assert corrupt in ([5], []), "a busy machine may miss the frame, as any other"
    assert seen == sorted(seen)


def grab_one_by_one(source: Source, until: int):
    while True:
        stamp = source.grab(2.0)
        if stamp.sequence >= until:
            return
        yield stamp


def test_a_seed_drops_the_same_share_and_the_same_frames() -> None:
    runs = []
    for _ in range(2):
        source = source_of(SimulatedSource(fps=1000.0, drop_rate=0.3, seed=9))
        source.open()
        runs.append({stamp.sequence for stamp in grab_one_by_one(source, until=400)})
        source.close()
    every = {number for number in range(400) if np.random.default_rng((9, number, 1)).random() >= 0.3}
    for run in runs:
        assert run <= every
    assert abs(len(every) / 400 - 0.7) < 0.07


def test_a_late_reader_misses_frames() -> None:
    source = source_of(SimulatedSource(fps=100.0))
    source.open()
    first = source.grab(1.0)
    time.sleep(0.2)
    second = source.grab(1.0)
    source.close()
    assert second.sequence - first.sequence >= 19
    assert second.capture_time_ns - first.capture_time_ns == (second.sequence - first.sequence) * 10_000_000


def test_a_stall_times_out_and_goes_on() -> None:
    source = source_of(SimulatedSource(fps=100.0, stalls=[(0.1, 1.5)]))
    before_ns = time.monotonic_ns()
    source.open()
    after_ns = time.monotonic_ns()
    timeouts, time_ns, times_ns = 0, 0, []
    while time_ns < after_ns + 1.7e9:
        try:
            time_ns = source.grab(0.05).capture_time_ns
            times_ns.append(time_ns)
        except SourceTimeout:
            timeouts += 1
    source.close()
    assert timeouts >= 3
    times = np.array(times_ns)
    # It was opened between the two times.
    assert not ((times > after_ns + 0.1e9) & (times < before_ns + 1.6e9)).any()


def test_a_disconnect_loses_the_camera_until_its_span_is_over() -> None:
    source = source_of(SimulatedSource(fps=100.0, disconnects=[(0.15, 1.5)]))
    source.open()
    opened_s = time.monotonic()
    with pytest.raises(SourceLost):
        while True:
            source.grab(0.05)
    assert time.monotonic() - opened_s > 0.14
    source.close()
    refused = 0
    while True:
        try:
            source.open()
            break
        except SourceError as error:
            assert "unplugged" in str(error)  # noqa: PT017
            refused += 1
            time.sleep(0.02)
    assert refused >= 1
    assert time.monotonic() - opened_s > 1.64
    assert source.grab(1.0).sequence > 160
    source.close()


@pytest.mark.parametrize("camera", ring_rig(4).cameras, ids=lambda camera: camera.camera_id)
def test_the_image_shows_the_hands_of_its_capture_time(camera: RigCamera) -> None:
    source = make_source(camera, ring_rig(4))
    mode = source.open()
    image = new_image(mode.width, mode.height)
    stamp = source.grab(1.0)
    source.retrieve(image)
    source.close()
    # The hands are brighter and more colourful than the background, so their silhouette is where saturation is high.
    spread = image.max(axis=2).astype(int) - image.min(axis=2)
    shown = spread > 30
    hands = hands_at(stamp.capture_time_ns / 1e9)
    pixels = np.concatenate([camera.project(joints) for joints in hands.values()])
    columns, rows = pixels.round().astype(int).T
    assert shown[rows, columns].all()
    # And only there: no further from the skeleton's hull than the drawn bones are thick.
    allowed = np.zeros(shown.shape, np.uint8)
    for joints in hands.values():
        cv2.fillConvexPoly(allowed, cv2.convexHull(camera.project(joints).round().astype(np.int32)), (1,))
    allowed = cv2.dilate(allowed, np.ones((25, 25), np.uint8))
    assert not (shown & (allowed == 0)).any()
    # At another time the hands are elsewhere.
    later = np.concatenate([camera.project(joints) for joints in hands_at(stamp.capture_time_ns / 1e9 + 2).values()])
    columns, rows = later.round().astype(int).T
    assert not shown[rows, columns].all()


def test_draws_into_a_view_that_is_not_contiguous() -> None:
    source = source_of(SimulatedSource(fps=100.0))
    source.open()
    source.grab(1.0)
    plain, wide = new_image(), np.zeros((240, 640, 3), np.uint8)
    source.retrieve(plain)
    source.retrieve(wide[:, 160:480])
    source.close()
    assert np.array_equal(plain, wide[:, 160:480])
    assert not wide[:, :160].any()
