"""USB and network cameras and files through OpenCV."""

import contextlib
import time
from pathlib import Path

import cv2
import pytest

from app.sources.opencv import OpenCvCapture
from app.sources.source import EndOfSource, Source, SourceError, SourceTimeout
from calibration.camera_source import OpenCvSource
from tests.support.source_cases import FakeDevice, new_image, number_of, read_numbers, source_of, write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "numbered.mp4", 50)


@pytest.fixture
def device(video: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    fake = FakeDevice(video)
    monkeypatch.setattr("app.sources.opencv.cv2.VideoCapture", fake)
    return fake


def on_device(tmp_path: Path, settings: OpenCvSource, width: int = 320, height: int = 240) -> OpenCvCapture:
    source = source_of(settings, width, height)
    assert isinstance(source, OpenCvCapture)
    node = tmp_path / "video0"
    node.touch()
    source._device = str(node)
    return source


def test_sets_format_before_size_before_rate_and_exposure_by_hand(tmp_path: Path, device: FakeDevice) -> None:
    settings = OpenCvSource(device=0, fourcc="MJPG", fps=60, exposure=120, gain=8)
    source = on_device(tmp_path, settings)
    mode = source.open()
    source.close()
    assert device.calls == [
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),
        (cv2.CAP_PROP_FRAME_WIDTH, 320),
        (cv2.CAP_PROP_FRAME_HEIGHT, 240),
        (cv2.CAP_PROP_FPS, 60),
        (cv2.CAP_PROP_BUFFERSIZE, 1),
        (cv2.CAP_PROP_AUTO_EXPOSURE, 1),
        (cv2.CAP_PROP_EXPOSURE, 120),
        (cv2.CAP_PROP_GAIN, 8),
    ]
    assert mode.fps == 60
    assert "MJPG" in mode.description


@pytest.mark.parametrize(
    ("settings", "key", "asked", "says"),
    [
        (OpenCvSource(device=0, fps=60), cv2.CAP_PROP_FPS, 60, "fps 60.*does 30"),
        (OpenCvSource(device=0, exposure=99), cv2.CAP_PROP_EXPOSURE, 99, "exposure 99.*has 157"),
        (OpenCvSource(device=0, gain=3), cv2.CAP_PROP_GAIN, 3, "gain 3.*has 0"),
        (
            OpenCvSource(device=0, fourcc="MJPG"),
            cv2.CAP_PROP_FOURCC,
            cv2.VideoWriter.fourcc(*"MJPG"),
            "fourcc MJPG.*does YUYV",
        ),
    ],
)
def test_what_a_driver_refuses_is_named_with_what_it_has(
    tmp_path: Path, device: FakeDevice, settings: OpenCvSource, key: int, asked: float, says: str
) -> None:
    device.refused[key] = {asked}
    source = on_device(tmp_path, settings)
    with pytest.raises(SourceError, match=says):
        source.open()
    assert device.open == 0
    device.refused.clear()
    source.open()
    assert device.open == 1
    source.close()
    assert device.open == 0


def test_a_stable_path_follows_the_camera_to_another_node(
    tmp_path: Path, device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    monkeypatch.setattr(
        "app.sources.opencv.cv2.VideoCapture", lambda name, api: opened.append(name) or device(name, api)
    )
    source = on_device(tmp_path, OpenCvSource(device=0))
    link = tmp_path / "usb-camera-index0"
    source._device = str(link)
    for node in (tmp_path / "video0", tmp_path / "video2"):
        node.touch()
        link.symlink_to(node)
        source.open()
        source.close()
        link.unlink()
    assert opened == [str(tmp_path / "video0"), str(tmp_path / "video2")]


def test_frames_have_the_drivers_time_where_it_is_on_the_monotonic_clock(tmp_path: Path, device: FakeDevice) -> None:
    for clock_ns, is_taken in (
        (lambda: time.monotonic_ns() - 20_000_000, True),
        (time.time_ns, False),
        (lambda: 0, False),
        (lambda: time.monotonic_ns() + 10**9, False),
    ):
        told: list[int] = []
        device.clock = lambda clock_ns=clock_ns, told=told: told.append(clock_ns()) or told[-1] / 1e6
        source = on_device(tmp_path, OpenCvSource(device=0))
        source.open()
        for _ in range(3):
            stamp = source.grab(3.0)
            nearest_ns = min(abs(stamp.capture_time_ns - each_ns) for each_ns in told)
            assert (nearest_ns < 1000) == is_taken
            assert (
                stamp.capture_time_ns < stamp.grab_time_ns if is_taken else stamp.capture_time_ns == stamp.grab_time_ns
            )
        source.close()


def wait_for_stall(source: Source) -> None:
    with contextlib.suppress(SourceTimeout):
        while True:
            source.grab(0.2)


def test_a_device_that_stalls_times_out_and_goes_on(tmp_path: Path, device: FakeDevice) -> None:
    source = on_device(tmp_path, OpenCvSource(device=0))
    source.open()
    read_numbers(source, 3)
    device.running.clear()
    wait_for_stall(source)
    with pytest.raises(SourceTimeout, match=r"no frame in 0.05 s"):
        source.grab(0.05)
    device.running.set()
    read_numbers(source, 3)
    source.close()


def test_closing_a_device_that_blocks_leaves_its_release_to_the_reader(tmp_path: Path, device: FakeDevice) -> None:
    source = on_device(tmp_path, OpenCvSource(device=0))
    source.open()
    device.running.clear()
    wait_for_stall(source)
    source.close()
    assert device.open == 1
    device.running.set()
    for _ in range(100):
        if device.open == 0:
            break
        time.sleep(0.02)
    assert device.open == 0


def test_a_slow_reader_gets_the_newest_frame_and_sees_the_gap(tmp_path: Path, device: FakeDevice) -> None:
    source = on_device(tmp_path, OpenCvSource(device=0))
    source.open()
    first = source.grab(3.0)
    image = new_image()
    source.retrieve(image)
    first_number = number_of(image)
    time.sleep(0.3)
    source.grab(3.0)
    second = source.grab(3.0)
    source.retrieve(image)
    assert second.sequence > first.sequence + 2
    assert (number_of(image) - first_number) % 50 == (second.sequence - first.sequence) % 50
    source.close()


def test_a_missing_device_is_named() -> None:
    with pytest.raises(SourceError, match=r"cam_0.*no video device 97.*usthand cameras"):
        source_of(OpenCvSource(device=97)).open()
    with pytest.raises(SourceError, match=r"no /dev/v4l/by-id/usb-none-index0"):
        source_of(OpenCvSource(device="/dev/v4l/by-id/usb-none-index0")).open()


def test_a_file_plays_every_frame_in_order_and_ends(video: Path) -> None:
    source = source_of(OpenCvSource(device=str(video), fps=25))
    assert source.open().fps == 25
    numbers, times_ns, sequences = [], [], []
    image = new_image()
    with pytest.raises(EndOfSource):
        while True:
            stamp = source.grab(3.0)
            source.retrieve(image)
            numbers.append(number_of(image))
            times_ns.append(stamp.capture_time_ns)
            sequences.append(stamp.sequence)
    source.close()
    # A machine that is busy elsewhere may drop frames, as with a camera; what came is what the sequence says.
    assert numbers == sequences
    assert sequences[-1] == 49
    # Never ahead of the file's rate: 49 periods of 40 ms lie between the first frame and the last.
    assert times_ns[-1] - times_ns[0] > 49 * 40e6 - 40e6


def test_a_file_drops_frames_of_a_reader_that_is_slow(video: Path) -> None:
    source = source_of(OpenCvSource(device=str(video), fps=100))
    source.open()
    first = source.grab(1.0)
    time.sleep(0.2)
    second = source.grab(1.0)
    image = new_image()
    source.retrieve(image)
    assert second.sequence - first.sequence >= 15
    assert number_of(image) == second.sequence
    source.close()


def test_files_and_streams_refuse_what_only_a_device_has(video: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"`exposure` cannot be set on the file"):
        source_of(OpenCvSource(device=str(video), exposure=5)).open()
    with pytest.raises(SourceError, match=r"`gain` cannot be set on the stream"):
        source_of(OpenCvSource(device="rtsp://127.0.0.1:9/none", gain=5)).open()
    with pytest.raises(SourceError, match=r"missing.mp4: no such video"):
        source_of(OpenCvSource(device=str(tmp_path / "missing.mp4"))).open()
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    with pytest.raises(SourceError, match=r"text.mp4: cannot be read as a video"):
        source_of(OpenCvSource(device=str(text))).open()
